"""What is on sale: events with their ticket types, capacities and hidden demand."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from ibook import messages as m
from ibook.clock import from_us
from simulator.demand import Demand
from simulator.ids import Ids

Category = Literal["sports", "concerts", "family", "cultural"]
DAY_US = 86_400_000_000
CURRENCY = "EUR"
ELASTICITIES = (-2.0, -0.3)
"""Range the own-price elasticity at list price is drawn from: studies of sport and culture differ this much."""
PROBABILITIES = (0.4, 0.7)
"""Range of P(buy | shown the list price). Assumed: nobody publishes it; it sets prices shown per purchase near 2."""
CATEGORIES: dict[Category, tuple[int, int, tuple[str, ...]]] = {
    "sports": (2000, 8000, ("City Derby", "Cup Night", "Harbour Marathon Gala", "Ice Final", "Handball Masters")),
    "concerts": (3000, 11000, ("Northern Lights Tour", "Brass in the Yard", "Electric Quay", "Unplugged", "Big Band")),
    "family": (900, 3500, ("Circus Lumen", "Dinosaurs Live", "Puppet Parade", "Ice Fairy Tales", "Magic Morning")),
    "cultural": (1200, 6000, ("Winter Opera", "Chamber Evening", "Open Stage", "Museum Night", "New Ballet")),
}  # fmt: skip
"""Lowest and highest standard price in minor units, and names."""
TICKET_TYPES = (("reduced", 0.65, 0.30), ("standard", 1.0, 0.52), ("premium", 1.8, 0.18))
"""Name, price relative to standard, share of the buyers who look at it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket type and the demand it meets. `share` of the event's visitors look at it."""

    name: str
    list_price_minor: int
    floor_minor: int
    cap_minor: int
    share: float
    demand: Demand


@dataclass(frozen=True, slots=True)
class Event:
    """Something tickets are sold for. `popularity` is its weight among all events (hidden)."""

    event_id: str
    name: str
    category: Category
    promoter_id: str
    venue: str
    capacity: int
    remaining: int
    """Seats unsold when the simulation begins."""
    on_sale_us: int
    starts_us: int
    popularity: float
    tickets: tuple[Ticket, ...]

    def listing(self, message_id: str, at_us: int) -> m.EventListed:
        """The public part, as the shop announces it."""
        kinds = [
            m.TicketType(name=t.name, list_price_minor=t.list_price_minor, floor_minor=t.floor_minor,
                         cap_minor=t.cap_minor)
            for t in self.tickets
        ]  # fmt: skip
        return m.EventListed(
            message_id=message_id, occurred_at=from_us(at_us), event_id=self.event_id, name=self.name,
            category=self.category, promoter_id=self.promoter_id, venue=self.venue, capacity=self.capacity,
            on_sale_at=from_us(self.on_sale_us), starts_at=from_us(self.starts_us), currency=CURRENCY,
            ticket_types=kinds,
        )  # fmt: skip


def draw_events(ids: Ids, rng: Random, *, n: int, today_us: int, seats: float = 1.0) -> tuple[Event, ...]:
    """A catalogue of `n` events that start within four months of `today_us`; `seats` scales every capacity."""
    promoters = [ids.of("promoter", index) for index in range(max(1, n // 4))]
    return tuple(_draw_event(ids, rng, index, promoters, today_us, seats) for index in range(n))


def _draw_event(ids: Ids, rng: Random, index: int, promoters: list[str], today_us: int, seats: float) -> Event:
    category = list(CATEGORIES)[index % len(CATEGORIES)]
    low, high, names = CATEGORIES[category]
    popularity = rng.paretovariate(1.6)
    capacity = max(1, int((6_000 + 4_000 * min(popularity, 12.0)) * rng.uniform(0.8, 1.2) * seats))
    days_to_start = min(120.0, 1.5 + rng.expovariate(1 / 25))
    base = rng.randrange(low, high, 100)
    return Event(
        event_id=ids.of("event", index),
        name=f"{names[index // len(CATEGORIES) % len(names)]} {index // (len(CATEGORIES) * len(names)) + 1}",
        category=category, promoter_id=rng.choice(promoters), venue=f"Hall {rng.randrange(1, 13)}",
        capacity=capacity, remaining=max(1, int(capacity * rng.uniform(0.6, 1.0))),
        on_sale_us=today_us - int(rng.uniform(2, 60) * DAY_US), starts_us=today_us + int(days_to_start * DAY_US),
        popularity=popularity, tickets=tuple(_draw_ticket(rng, base, *kind) for kind in TICKET_TYPES),
    )  # fmt: skip


def _draw_ticket(rng: Random, base_minor: int, name: str, factor: float, share: float) -> Ticket:
    price = max(500, round(base_minor * factor / 50) * 50)
    demand = Demand.at_list(price, probability=rng.uniform(*PROBABILITIES), elasticity=rng.uniform(*ELASTICITIES))
    return Ticket(name, price, round(price * 0.6), round(price * 1.6), share, demand)
