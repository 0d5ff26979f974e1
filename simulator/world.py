"""The hidden truth of a simulation, drawn from one seed: people, issuers, addresses, events and their demand."""

from bisect import bisect
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from random import Random

import numpy as np
from numpy.typing import NDArray

from ibook.clock import to_us
from simulator.attention import Attention
from simulator.catalogue import DAY_US, Category, Event, Ticket, draw_events
from simulator.demand import SEGMENTS, Demand, Segment
from simulator.draws import Weighted
from simulator.ids import Ids
from simulator.people import Household, People

LOOK_AHEAD_DAYS, LOOK_BACK_DAYS = 120, 4
"""A world knows the events that start so long after its day, and before it."""
INTERESTS: dict[Segment, dict[Category, float]] = {
    "fans": {"sports": 1.5, "concerts": 1.4, "family": 0.3, "cultural": 0.6},
    "families": {"sports": 0.9, "concerts": 0.5, "family": 2.2, "cultural": 0.7},
    "tourists": {"sports": 0.7, "concerts": 1.0, "family": 0.7, "cultural": 1.7},
    "bargain_hunters": {"sports": 1.0, "concerts": 1.0, "family": 1.0, "cultural": 1.0},
}
"""How much more or less of an event's attention comes from a segment. Assumed."""
SHARES: dict[Segment, float] = {"fans": 0.43, "families": 0.21, "tourists": 0.17, "bargain_hunters": 0.19}
"""Share of each segment among visitors, as households are drawn."""
TRIES = 30


@dataclass(frozen=True, slots=True)
class WorldSize:
    """How big a world is. Households are drawn when first met, so a large town costs nothing."""

    households: int = 30_000
    events: int = 120
    seats: float = 1.0
    """Scales every capacity, and with it the tickets wanted."""
    regulars: float = 0.1
    """Share of the households that buy often …"""
    regular_visits: float = 0.4
    """… and the share of visits that is theirs alone."""
    past_days: int = LOOK_BACK_DAYS
    """How long before its day the first of its events start; a long history needs those that are over by now."""


class World:
    """A town with its ticket shop. The same seed and day give the same world, for history and realtime alike.

    Ages of accounts hang on the day of `as_of`, not on its hour; the calendar of events hangs on the seed alone. What
    is looked at, and by whom, follows the clock: a run works on a copy that knows its own (`at_work`).
    """

    def __init__(self, seed: int, as_of: datetime, size: WorldSize | None = None) -> None:
        self.seed = seed
        self.size = size or WorldSize()
        today = to_us(as_of) // DAY_US
        self.ids = Ids(f"world/{seed}")
        self.people = People(self.ids, seed, today * DAY_US)
        self.events = draw_events(
            self.ids, seed, n=self.size.events, first_day=today - self.size.past_days,
            last_day=today + LOOK_AHEAD_DAYS, now_us=today * DAY_US, seats=self.size.seats,
        )  # fmt: skip
        self.by_id = {event.event_id: event for event in self.events}
        self._index = {event.event_id: index for index, event in enumerate(self.events)}
        self._tickets = {
            event.event_id: Weighted((ticket, ticket.share) for ticket in event.tickets) for event in self.events
        }
        self._tastes = self._whose_taste()
        as_of_us = to_us(as_of)
        self._begin(lambda: as_of_us, lambda _: None)

    def at_work(self, now: Callable[[], int], note: Callable[[str], None]) -> "World":
        """The same world under a clock of its own, for one run; `note` is told, in words, what is changed in it."""
        world = copy(self)
        world._begin(now, note)
        return world

    def _begin(self, now: Callable[[], int], note: Callable[[str], None]) -> None:
        self._now, self._note = now, note
        self.attention = Attention([event.appeal for event in self.events])
        self._willing = 1.0
        self._good_until, self._attended = -1, np.zeros(0)
        self._ladders: dict[str, list[float]] = {}
        self._curves_of, self._curves = -1, dict[tuple[str, str, Segment], Demand]()

    # ------------------------------------------------------------------------------------------------- who comes
    def household(self, rng: Random) -> Household:
        """A household that visits the shop now; regulars come more often, and nobody before the account was opened."""
        for _ in range(TRIES):
            n = self.size.households
            if rng.random() < self.size.regular_visits:
                n = max(1, int(n * self.size.regulars))
            household = self.people.household(rng.randrange(n))
            if household.opened_us <= self._now():
                return household
        return self.people.newcomer(rng, f"late/{rng.getrandbits(64)}", self._now())

    # ------------------------------------------------------------------------------------------ what is looked at
    def event(self, rng: Random, segment: Segment | None = None) -> Event:
        """An event somebody looks at now, by the attention it gets, from a segment or from all."""
        return self._draw(rng, segment or "all")

    def cheap_event(self, rng: Random) -> Event:
        """An event looked at by somebody who wants to spend little."""
        return self._draw(rng, "cheap")

    def ticket(self, rng: Random, event: Event) -> Ticket:
        """A ticket type of the event, by the share of visitors who look at it."""
        return self._tickets[event.event_id].draw(rng)

    def cheapest_ticket(self, event: Event) -> Ticket:
        """The ticket type of the lowest list price."""
        return min(event.tickets, key=lambda ticket: ticket.list_price_minor)

    def demand(self, event: Event, ticket: Ticket, segment: Segment) -> Demand:
        """What a segment answers today to the prices of a ticket type."""
        day = self._now() // DAY_US
        if day != self._curves_of:
            self._curves_of, self._curves = day, {}
        key = event.event_id, ticket.name, segment
        curve = self._curves.get(key)
        if curve is None:
            curve = self._curves[key] = self._curve(event, ticket, segment, day)
        return curve

    def mean_demand(self, event: Event, ticket: Ticket) -> Demand:
        """The logit curve with the mean visitor's P(buy) and elasticity at list price now, beside no competitor.

        The elasticity of a mixture is the mean of its parts' elasticities, weighted by what each part buys.
        """
        days = (event.starts_us - self._now()) / DAY_US
        shares = [SHARES[segment] * INTERESTS[segment][event.category] for segment in SEGMENTS]
        answers = [ticket.tastes[segment].on(days) for segment in SEGMENTS]
        buying = [share * probability for share, (probability, _) in zip(shares, answers, strict=True)]
        elasticity = sum(bought * each for bought, (_, each) in zip(buying, answers, strict=True)) / sum(buying)
        return Demand.at_list(
            ticket.list_price_minor, probability=sum(buying) / sum(shares), elasticity=elasticity
        ).scaled(self._willing)

    # --------------------------------------------------------------------------------------------- what is changed
    def focus(self, event_id: str, factor: float) -> None:
        """From now on an event gets `factor` times the attention; noted. Raises KeyError for an unknown event."""
        self.attention.multiply(self._index[event_id], factor)
        self._good_until = -1
        self._note(f"attention to {self.by_id[event_id].name} ({event_id}) x {factor:g}")

    def sold_out(self, event_id: str, is_sold_out: bool) -> None:
        """From now on nobody looks at an event that has no seats, or people do again."""
        self.attention.sold_out(self._index[event_id], is_sold_out)
        self._good_until = -1

    def shift_demand(self, factor: float) -> None:
        """From now on every buyer is willing to pay `factor` times as much; noted. Raises ValueError below 0."""
        if factor <= 0:
            raise ValueError(f"willingness to pay can't be {factor} times what it was")
        self._willing *= factor
        self._curves_of = -1
        self._note(f"willingness to pay x {factor:g}")

    # -------------------------------------------------------------------------------------------------- details
    def _curve(self, event: Event, ticket: Ticket, segment: Segment, day: int) -> Demand:
        days = (event.starts_us - day * DAY_US) / DAY_US
        curve = ticket.tastes[segment].demand(ticket.list_price_minor, days).scaled(self._willing)
        return curve.beside(event.rival.price_minor(ticket.list_price_minor, day))

    def _draw(self, rng: Random, taste: str) -> Event:
        now_us = self._now()
        if now_us >= self._good_until:
            self._attended = self.attention.at(now_us)
            self._good_until, self._ladders = self.attention.good_until(now_us), {}
        ladder = self._ladders.get(taste)
        if ladder is None:
            ladder = self._ladders[taste] = np.cumsum(self._attended * self._tastes[taste]).tolist()
        return self.events[bisect(ladder, rng.random() * ladder[-1], 0, len(ladder) - 1)]

    def _whose_taste(self) -> dict[str, NDArray[np.float64]]:
        """Per group of visitors, what each event's attention is multiplied with; shape (n_events,)."""
        cheapest = np.array([float(self.cheapest_ticket(event).list_price_minor) for event in self.events])
        tastes = {"all": np.ones(len(self.events)), "cheap": (cheapest / 1000) ** -2.0}
        for segment in SEGMENTS:
            tastes[segment] = np.array([INTERESTS[segment][event.category] for event in self.events])
        return tastes
