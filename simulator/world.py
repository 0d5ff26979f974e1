"""The hidden truth of a simulation, drawn from one seed: people, issuers, addresses, events and their demand."""

from dataclasses import dataclass
from datetime import datetime
from random import Random

from ibook.clock import to_us
from simulator.catalogue import DAY_US, Event, Ticket, draw_events
from simulator.draws import Weighted
from simulator.ids import Ids
from simulator.people import Household, People


@dataclass(frozen=True, slots=True)
class WorldSize:
    """How big a world is. Households are drawn when first met, so a large town costs nothing."""

    households: int = 30_000
    events: int = 40
    seats: float = 1.0
    """Scales every capacity."""
    regulars: float = 0.1
    """Share of the households that buy often …"""
    regular_visits: float = 0.4
    """… and the share of visits that is theirs alone."""


class World:
    """A town with its ticket shop. The same seed and day give the same world, for history and realtime alike.

    Times in it (starts of events, ages of accounts) hang on the day of `as_of`, not on its hour.
    """

    def __init__(self, seed: int, as_of: datetime, size: WorldSize | None = None) -> None:
        self.seed = seed
        self.size = size or WorldSize()
        today_us = to_us(as_of) // DAY_US * DAY_US
        self.ids = Ids(f"world/{seed}")
        self.people = People(self.ids, seed, today_us)
        self.events = draw_events(
            self.ids, Random(f"{seed}/events"), n=self.size.events, today_us=today_us, seats=self.size.seats
        )
        self.by_id = {event.event_id: event for event in self.events}
        self._by_popularity = Weighted((event, event.popularity) for event in self.events)
        self._by_cheapness = Weighted(
            (event, event.popularity / self.cheapest_ticket(event).list_price_minor ** 2) for event in self.events
        )
        self._tickets = {
            event.event_id: Weighted((ticket, ticket.share) for ticket in event.tickets) for event in self.events
        }

    def household(self, rng: Random) -> Household:
        """A household that visits the shop now; regulars come more often."""
        n = self.size.households
        if rng.random() < self.size.regular_visits:
            n = max(1, int(n * self.size.regulars))
        return self.people.household(rng.randrange(n))

    def event(self, rng: Random) -> Event:
        """An event somebody looks at, by popularity."""
        return self._by_popularity.draw(rng)

    def cheap_event(self, rng: Random) -> Event:
        """An event looked at by somebody who wants to spend little."""
        return self._by_cheapness.draw(rng)

    def ticket(self, rng: Random, event: Event) -> Ticket:
        """A ticket type of the event, by the share of visitors who look at it."""
        return self._tickets[event.event_id].draw(rng)

    def cheapest_ticket(self, event: Event) -> Ticket:
        """The ticket type of the lowest list price."""
        return min(event.tickets, key=lambda ticket: ticket.list_price_minor)
