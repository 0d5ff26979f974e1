"""How much an event is looked at, over its life: a burst when sales open, a plateau, and a rise before it starts.

Half of what an ordinary event sells it sells in its last week; a hot one is all but gone within the hour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from simulator.engine import SECOND_US

HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US
RISE_DAYS = 2.5
"""The last weeks' interest grows by e in so many days: with RISE, 57 % of an ordinary event's sales fall into its last
week (Eventbrite, US music, early 2024) and 40 % into its last three days (TicketLeap)."""
BURST, PLATEAU, RISE = 0.10, 0.325, 0.575
"""Shares of an ordinary event's sales. Only the last is measured by anybody; the others are assumed."""
HOT_BURST, HOT_PLATEAU, HOT_RISE = 0.85, 0.06, 0.09
"""The same of a hot event. Assumed; a stadium's big on-sale is over within about an hour."""
SLOW_REFRESH_US, FAST_REFRESH_US = 1800 * SECOND_US, 60 * SECOND_US
"""How long weights are good for; the shorter one while some burst decays within hours."""
FAST_DECAY_US = 2 * HOUR_US
LATECOMERS = 1.3
"""An event fills a shop until so many tickets per seat were wanted: some look at others', or leave without. Assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appeal:
    """An event's attention, as the tickets people would take home per second were there no end of seats.

    `tickets` are those of its whole life. Of them the share `burst` comes with the opening and decays with the time
    constant `burst_us`, the share `rise` grows towards the start with RISE_DAYS, and the rest is even.
    """

    tickets: float
    seats: int
    on_sale_us: int
    starts_us: int
    burst: float
    burst_us: float
    rise: float

    def wanted(self, at_us: int) -> float:
        """Tickets wanted up to an instant: 0 before the opening, `tickets` at the start."""
        life = self.starts_us - self.on_sale_us
        age = min(life, max(0, at_us - self.on_sale_us))
        rise_us = RISE_DAYS * DAY_US
        burst = (1 - exp(-age / self.burst_us)) / (1 - exp(-life / self.burst_us))
        rise = (exp((age - life) / rise_us) - exp(-life / rise_us)) / (1 - exp(-life / rise_us))
        return self.tickets * (self.burst * burst + self.rise * rise + (1 - self.burst - self.rise) * age / life)

    @property
    def sells_out_us(self) -> int:
        """When its seats are gone, if it sells as it is wanted: to the second; its start when they never are."""
        return self.reached_us(self.seats)

    def reached_us(self, tickets: float) -> int:
        """When so many were wanted, to the second; its start when so many never are."""
        low, high = self.on_sale_us, self.starts_us
        if self.wanted(high) <= tickets:
            return high
        while high - low > SECOND_US:
            middle = (low + high) // 2
            low, high = (low, middle) if self.wanted(middle) >= tickets else (middle, high)
        return high


class Attention:
    """The attention all events get, with what turns up or down beside their lives."""

    def __init__(self, appeals: Sequence[Appeal]) -> None:
        self._on_sale = np.array([appeal.on_sale_us for appeal in appeals], dtype=np.int64)
        self._starts = np.array([appeal.starts_us for appeal in appeals], dtype=np.int64)
        gone = [appeal.reached_us(LATECOMERS * appeal.seats) for appeal in appeals]
        self._gone = np.array(gone, dtype=np.int64)
        self._burst_us = np.array([appeal.burst_us for appeal in appeals])
        life = (self._starts - self._on_sale).astype(float)
        tickets = np.array([appeal.tickets for appeal in appeals])
        burst = np.array([appeal.burst for appeal in appeals])
        rise = np.array([appeal.rise for appeal in appeals])
        self._rise_us = RISE_DAYS * DAY_US
        # tickets per second at the top of the burst, on the plateau, and at the top of the rise
        self._burst = SECOND_US * tickets * burst / (self._burst_us * -np.expm1(-life / self._burst_us))
        self._plateau = SECOND_US * tickets * (1 - burst - rise) / life
        self._rise = SECOND_US * tickets * rise / (self._rise_us * -np.expm1(-life / self._rise_us))
        self._factor = np.ones(len(appeals))
        self._sold_out = np.zeros(len(appeals), dtype=bool)
        self._turns = np.unique(np.concatenate([self._on_sale, self._starts]))

    def multiply(self, index: int, factor: float) -> None:
        """From now on one event gets so many times the attention."""
        self._factor[index] *= factor

    def sold_out(self, index: int, is_sold_out: bool) -> None:
        """From now on nobody looks at an event, or people do again."""
        self._sold_out[index] = is_sold_out

    def at(self, now_us: int) -> NDArray[np.float64]:
        """Tickets per second that each event would sell now; shape (n_events,)."""
        age = now_us - self._on_sale
        left = self._starts - now_us
        is_open = (age >= 0) & (left > 0) & ~self._sold_out
        burst = self._burst * np.exp(-np.maximum(age, 0) / self._burst_us)
        rise = self._rise * np.exp(-np.maximum(left, 0) / self._rise_us)
        weights: NDArray[np.float64] = np.where(is_open, (burst + rise + self._plateau) * self._factor, 0.0)
        return weights

    def good_until(self, now_us: int) -> int:
        """Until when what `at` says of this instant is near enough; never past an opening or a start."""
        age = now_us - self._on_sale
        decaying = (age >= 0) & (age < 5 * self._burst_us) & (self._burst_us < FAST_DECAY_US)
        until = now_us + (FAST_REFRESH_US if decaying.any() else SLOW_REFRESH_US)
        turn = int(np.searchsorted(self._turns, now_us, side="right"))
        return min(until, int(self._turns[turn])) if turn < len(self._turns) else until

    def over(self, instants: NDArray[np.int64]) -> NDArray[np.float64]:
        """Tickets per second of all events together, at each of these instants, which ascend.

        Each event counts until its seats would be gone, were everybody served who wants one, and a little longer.
        """
        total = np.zeros(len(instants))
        for index in range(len(self._on_sale)):
            first, last = np.searchsorted(instants, (self._on_sale[index], self._gone[index]))
            life = instants[first:last]
            burst = self._burst[index] * np.exp((self._on_sale[index] - life) / self._burst_us[index])
            rise = self._rise[index] * np.exp((life - self._starts[index]) / self._rise_us)
            total[first:last] += (burst + rise + self._plateau[index]) * self._factor[index]
        return total
