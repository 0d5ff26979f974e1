"""What is on sale: events with venue, promoter, start and prices, and what is hidden of them: appeal and demand.

The calendar hangs on the seed alone: a world of another day, or with more events, has the same events at the same
times.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from random import Random
from typing import Literal

from ibook import messages as m
from ibook.clock import from_us
from simulator.attention import (
    BURST,
    DAY_US,
    HOT_BURST,
    HOT_RISE,
    HOUR_US,
    RISE,
    Appeal,
)
from simulator.demand import Segment, Taste, draw_tastes
from simulator.draws import Weighted
from simulator.ids import Ids
from simulator.rivals import Rival, draw_rival
from simulator.venues import VENUES, Venue

__all__ = ["CURRENCY", "DAY_US", "Category", "Event", "Ticket", "draw_events"]

Category = Literal["sports", "concerts", "family", "cultural"]
CURRENCY = "EUR"
CATEGORIES: dict[Category, tuple[int, int, tuple[str, ...], tuple[float, ...]]] = {
    "sports": (2000, 8000, ("City Derby", "Cup Night", "Harbour Marathon Gala", "Ice Final", "Handball Masters"),
               (15.5, 18.0, 20.5)),
    "concerts": (3000, 11000, ("Northern Lights Tour", "Brass in the Yard", "Electric Quay", "Unplugged", "Big Band"),
                 (19.0, 20.0, 21.0)),
    "family": (900, 3500, ("Circus Lumen", "Dinosaurs Live", "Puppet Parade", "Ice Fairy Tales", "Magic Morning"),
               (11.0, 14.0, 16.5)),
    "cultural": (1200, 6000, ("Winter Opera", "Chamber Evening", "Open Stage", "Museum Night", "New Ballet"),
                 (18.0, 19.5)),
}  # fmt: skip
"""Lowest and highest standard price in minor units, names, and hours of the day (UTC) at which they start."""
TICKET_TYPES = (("reduced", 0.65, 0.30), ("standard", 1.0, 0.52), ("premium", 1.8, 0.18))
"""Name, price relative to standard, share of the visitors who look at it."""
FLOOR, CAP = 0.6, 1.6
"""Lowest and highest price allowed, relative to list price."""
N_PROMOTERS = 30
HOT = 0.1
"""Share of the events that more people want than there are seats. Assumed."""
APPETITE, HOT_APPETITE = (0.3, 1.0), (1.3, 3.0)
"""Tickets wanted per seat. Assumed."""
LEAD_DAYS = (20, 120)
"""From the opening of sales to the start: 18 days from sale to start on average, as Eventbrite saw, need about 70."""
BURST_HOURS, HOT_BURST_HOURS = (8.0, 36.0), (0.2, 0.7)
"""Time constant of the decay after the opening."""
ANNOUNCED_DAYS = 7
"""An event is listed so long before its sales open."""
OPENING_HOUR = 10
WEEKEND = 0.4
"""Share of the events moved to the Saturday of their week."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket type and the tastes it meets. `share` of the event's visitors look at it."""

    name: str
    list_price_minor: int
    floor_minor: int
    cap_minor: int
    share: float
    tastes: Mapping[Segment, Taste]


@dataclass(frozen=True, slots=True)
class Event:
    """Something tickets are sold for. `appeal`, the tickets' tastes and `rival` are hidden."""

    event_id: str
    name: str
    category: Category
    promoter_id: str
    venue: str
    capacity: int
    remaining: int
    """Seats unsold when the simulation begins."""
    announced_us: int
    on_sale_us: int
    starts_us: int
    appeal: Appeal
    rival: Rival
    tickets: tuple[Ticket, ...]

    @property
    def popularity(self) -> float:
        """Tickets wanted over its whole life."""
        return self.appeal.tickets

    def unsold(self, at_us: int) -> int:
        """Seats one would expect to be left at an instant."""
        return max(0, self.capacity - int(self.appeal.wanted(at_us)))

    def as_of(self, at_us: int) -> "Event":
        """The same event with the seats that are left at an instant."""
        return replace(self, remaining=self.unsold(at_us))

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


def draw_events(
    ids: Ids, seed: int, *, n: int, first_day: int, last_day: int, now_us: int, seats: float = 1.0
) -> tuple[Event, ...]:
    """The `n` events between two days since the epoch, in the order of their start; `seats` scales every capacity.

    Every day has places for events, some taken before others: more events take more places, and move none.
    """
    days = range(first_day, last_day)
    places = [(day, place) for day in days for place in range(ceil(n / len(days)) + 1)]
    ranked = sorted(places, key=lambda at: at[1] + Random(f"{seed}/rank/{at[0]}/{at[1]}").random())
    events = [
        _draw_event(ids, Random(f"{seed}/event/{day}/{place}"), day, place, now_us, seats) for day, place in ranked[:n]
    ]
    return tuple(sorted(events, key=lambda event: (event.starts_us, event.event_id)))


def _draw_event(ids: Ids, rng: Random, day: int, place: int, now_us: int, seats: float) -> Event:
    category = rng.choice(list(CATEGORIES))
    low, high, names, hours = CATEGORIES[category]
    venue = _draw_venue(rng, category)
    starts_us = _start_day(rng, day) * DAY_US + int(rng.choice(hours) * HOUR_US)
    lead_days = rng.randint(*LEAD_DAYS)
    on_sale_us = _opening_day(starts_us // DAY_US - lead_days) * DAY_US + OPENING_HOUR * HOUR_US
    capacity = max(1, int(venue.seats * rng.uniform(0.85, 1.0) * seats))
    appeal = _draw_appeal(rng, capacity, on_sale_us, starts_us)
    base, name = rng.randrange(low, high, 100), rng.choice(names)
    event = Event(
        event_id=ids.of("event", day, place), name=f"{name} {rng.randint(1, 99)}", category=category,
        promoter_id=ids.of("promoter", rng.randrange(N_PROMOTERS)), venue=venue.name, capacity=capacity,
        remaining=0, announced_us=on_sale_us - ANNOUNCED_DAYS * DAY_US, on_sale_us=on_sale_us, starts_us=starts_us,
        appeal=appeal, rival=draw_rival(rng), tickets=tuple(_draw_ticket(rng, base, *kind) for kind in TICKET_TYPES),
    )  # fmt: skip
    return event.as_of(now_us)


def _draw_venue(rng: Random, category: Category) -> Venue:
    return Weighted((venue, 1.0) for venue in VENUES if category in venue.categories).draw(rng)


def _draw_appeal(rng: Random, capacity: int, on_sale_us: int, starts_us: int) -> Appeal:
    hot = rng.random() < HOT
    appetite, hours = rng.uniform(*(HOT_APPETITE if hot else APPETITE)), (HOT_BURST_HOURS if hot else BURST_HOURS)
    return Appeal(
        tickets=capacity * appetite, seats=capacity, on_sale_us=on_sale_us, starts_us=starts_us,
        burst=HOT_BURST if hot else BURST, burst_us=rng.uniform(*hours) * HOUR_US, rise=HOT_RISE if hot else RISE,
    )  # fmt: skip


def _start_day(rng: Random, day: int) -> int:
    """Day 0 of the epoch was a Thursday, so day 2 a Saturday."""
    return day - (day - 2) % 7 + (7 if (day - 2) % 7 > 3 else 0) if rng.random() < WEEKEND else day


def _opening_day(day: int) -> int:
    """Sales open on working days."""
    weekday = (day + 3) % 7  # Monday is 0
    return day - max(0, weekday - 4)


def _draw_ticket(rng: Random, base_minor: int, name: str, factor: float, share: float) -> Ticket:
    price = max(500, round(base_minor * factor / 50) * 50)
    return Ticket(name, price, round(price * FLOOR), round(price * CAP), share, draw_tastes(rng))
