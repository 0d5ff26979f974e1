"""Everybody who will look at one event, drawn before any price is: when, at which ticket type, with which luck.

The hidden demand is the simulator's (`World.demand`), asked once per day, ticket type and segment for every price of a
menu. A visitor buys when their luck is below P(buy) at the price shown, so all policies meet the same people.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ibook.messages import EventListed
from simulator.attention import DAY_US
from simulator.catalogue import Event
from simulator.demand import SEGMENTS
from simulator.scene import PARTY_SIZES
from simulator.world import INTERESTS, SHARES, World, WorldSize

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scenario = Literal["default", "stationary", "shift", "flat", "even", "fading"]
"""How demand stands still, is shifted halfway or does not mind prices; or sales that come evenly, or fade from their
opening on, instead of as the simulator has it."""
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
MENU = tuple(round(0.6 + 0.05 * step, 2) for step in range(21))
"""Prices anybody may ask, as multiples of the list price: floor to cap."""
AT_LIST = MENU.index(1.0)
SHIFTS = (0.75, 1.35)
"""What willingness to pay is multiplied with halfway, in turn."""
FADES = 4.0
"""Sales that fade fall to 1/e so many times between opening and start."""
GRID_POINTS = 4000


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """The visitors of one event in the order they come; arrays of shape ``(n,)`` where nothing else is said."""

    event: Event
    seed: int
    listing: EventListed
    times: Floats
    """Seconds since the epoch."""
    ticket: Ints
    segment: Ints
    party: Ints
    luck: Floats
    regime: Ints
    """Which of the tables of chances holds: 1 after a shift of demand."""
    first_day: int
    chances: Floats
    """P(buy), shape ``(n_regimes, n_days, n_types, n_segments, n_prices)``."""
    rivals: Ints
    """What a competitor asks, shape ``(n_days, n_types)``."""

    @cached_property
    def prices(self) -> Ints:
        """The menu in minor units, shape ``(n_types, n_prices)``."""
        return np.array([[round(t.list_price_minor * each) for each in MENU] for t in self.event.tickets])

    @cached_property
    def day(self) -> Ints:
        """Days since the first."""
        days = (self.times // 86_400).astype(np.int64) - self.first_day
        return np.clip(days, 0, self.chances.shape[1] - 1)

    def buys(self, which: slice, menu: Ints) -> NDArray[np.bool_]:
        """Who of these buys at the price shown, an index into the menu for each."""
        chance = self.chances[self.regime[which], self.day[which], self.ticket[which], self.segment[which], menu]
        return self.luck[which] < chance

    @property
    def seats(self) -> int:
        """Seats there are."""
        return self.event.capacity

    @property
    def n(self) -> int:
        """Visitors, and so offers while there are seats."""
        return len(self.times)


def crowds(seed: int, n_events: int, *, seats: float, scenario: Scenario) -> Iterator[Crowd]:
    """The crowds of some events of a world, in the order their sales open."""
    world = World(seed, AS_OF, WorldSize(seats=seats))
    rng = np.random.default_rng([seed, 1])
    drawn = [world.events[int(index)] for index in rng.choice(len(world.events), size=n_events, replace=False)]
    for event in sorted(drawn, key=lambda event: event.on_sale_us):
        yield draw(world, event, seed, scenario)


def draw(world: World, event: Event, seed: int, scenario: Scenario) -> Crowd:
    """Everybody who will look at an event."""
    rng = np.random.default_rng([seed, int.from_bytes(event.event_id.encode()[-6:])])
    first_day, last_day = event.on_sale_us // DAY_US, event.starts_us // DAY_US
    tables, rivals = _tables(world, event, range(first_day, last_day + 1), seed, scenario)
    segments = _shares([SHARES[one] * INTERESTS[one][event.category] for one in SEGMENTS])
    types = _shares([ticket.share for ticket in event.tickets])
    sizes = PARTY_SIZES[event.category]
    parties = _shares(sizes.weights)
    wants = float(types @ tables[0, 0, :, :, AT_LIST] @ segments) * float(parties @ np.array(sizes.choices))
    n = rng.poisson(event.appeal.tickets / wants)
    return Crowd(
        event=event, seed=seed, listing=event.listing("listing", event.on_sale_us),
        times=_arrivals(event, n, rng, scenario),
        ticket=rng.choice(len(types), size=n, p=types), segment=rng.choice(len(segments), size=n, p=segments),
        party=rng.choice(np.array(sizes.choices), size=n, p=parties), luck=rng.random(n),
        regime=(np.arange(n) >= n / 2).astype(np.int64) * (len(tables) - 1), first_day=first_day, chances=tables,
        rivals=rivals,
    )  # fmt: skip


def _shares(weights: Sequence[float]) -> Floats:
    values = np.array(weights, dtype=np.float64)
    return np.asarray(values / values.sum(), dtype=np.float64)


def _arrivals(event: Event, n: int, rng: np.random.Generator, scenario: Scenario) -> Floats:
    """Instants in seconds since the epoch, ascending: as the event's appeal has it, or as the scenario does."""
    life = event.starts_us - event.on_sale_us
    if scenario in ("even", "fading"):
        fades = FADES if scenario == "fading" else 1e-6
        at = -np.log1p(rng.random(n) * np.expm1(-fades)) / fades
        return np.sort(event.on_sale_us + life * at) / 1e6
    grid = event.on_sale_us + np.unique(np.concatenate([
        np.geomspace(1e6, life, GRID_POINTS // 2), np.linspace(0, life, GRID_POINTS // 2),
    ]).astype(np.int64))  # fmt: skip
    wanted = np.array([event.appeal.wanted(int(at)) for at in grid]) / event.appeal.tickets
    return np.sort(np.interp(rng.random(n), wanted, grid / 1e6))


def _tables(world: World, event: Event, days: range, seed: int, scenario: Scenario) -> tuple[Floats, Ints]:
    frozen = days.start if scenario in ("stationary", "shift", "flat") else None
    factors = (1.0, SHIFTS[seed % 2]) if scenario == "shift" else (1.0,)
    tables = np.array([_table(world, event, days, frozen, factor) for factor in factors])
    if scenario == "flat":
        tables = np.minimum(0.98, tables[..., [AT_LIST]] / np.array(MENU))
    rivals = [
        [event.rival.price_minor(ticket.list_price_minor, frozen or day) for ticket in event.tickets] for day in days
    ]
    return tables, np.array(rivals)


def _table(world: World, event: Event, days: range, frozen: int | None, factor: float) -> Floats:
    """P(buy) per day, ticket type, segment and price of the menu."""
    clock = [0]
    at_work = world.at_work(lambda: clock[0], lambda _: None)
    if factor != 1.0:
        at_work.shift_demand(factor)

    def of_day(day: int) -> list[list[list[float]]]:
        clock[0] = day * DAY_US
        return [
            [
                [at_work.demand(event, ticket, segment).probability(round(ticket.list_price_minor * each))
                 for each in MENU] for segment in SEGMENTS
            ] for ticket in event.tickets
        ]  # fmt: skip

    if frozen is not None:
        return np.array([of_day(frozen)] * len(days))
    return np.array([of_day(day) for day in days])
