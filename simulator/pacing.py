"""When purchases are due, on an absolute schedule, and the crowd that has somebody ready for each."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from random import Random

import numpy as np
from numpy.typing import NDArray

from simulator.attention import DAY_US, HOUR_US
from simulator.engine import SECOND_US, Engine, Process, Resume

Arrivals = Callable[[bool], list[tuple[float, Process]]]
"""Draws the next visits, hasty ones on demand: seconds until each begins, and the visit."""
SECONDS_TO_DOOR = 16.0
"""Mean length of a visit before the first payment, or without one; measured, and what is wrong in it is learned."""
STEP_US = 60 * SECOND_US
"""How finely busyness is looked at."""
DAY_SWING, SEASON_SWING = 0.6, 0.2
"""How much busier than on average it is in the early evening, and in the season. Assumed."""
BUSIEST_DAY = 335
"""1 December: tickets are presents. Days since 1 January 1970."""
WEEK = (0.95, 0.93, 0.97, 1.05, 1.2, 1.05, 0.85)
"""Monday to Sunday: people plan on Fridays. Assumed."""
_CHUNK = 4096


def steady(start_us: int, per_second: float, rng: Random) -> Iterator[int]:
    """Instants at a constant rate: one somewhere in each interval, so the count is never off by more than one."""
    number = 0
    while True:
        yield start_us + int((number + rng.random()) / per_second * SECOND_US)
        number += 1


def following(
    start_us: int, end_us: int, weights: NDArray[np.float64], n: int, rng: Random
) -> Iterator[int]:  # fmt: skip
    """`n` instants in [start, end), one in each n-th of what is due by then.

    `weights` says how much that is per step of STEP_US from the start on; shape as of `middles`. Raises ValueError when
    nothing is due at any time.
    """
    due = np.concatenate([[0.0], np.cumsum(weights)])
    if not due[-1] > 0:
        raise ValueError("no instant has any weight")
    edges = np.minimum(start_us + STEP_US * np.arange(len(due), dtype=np.int64), end_us).astype(np.float64)
    for first in range(0, n, _CHUNK):
        drawn = [number + rng.random() for number in range(first, min(n, first + _CHUNK))]
        yield from np.interp(np.array(drawn) * (due[-1] / n), due, edges).astype(np.int64).tolist()


def middles(start_us: int, end_us: int) -> NDArray[np.int64]:
    """The middle of every step of [start, end)."""
    return np.arange(start_us + STEP_US // 2, end_us + STEP_US // 2, STEP_US, dtype=np.int64)


def busyness(at_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """How busy a shop is at these instants, by the hour, the day of the week and the season; 1 on average."""
    hours, days = at_us / HOUR_US, at_us // DAY_US
    by_hour = 1 + DAY_SWING * np.sin(2 * np.pi * (hours - 12) / 24)
    by_season = 1 + SEASON_SWING * np.cos(2 * np.pi * (days - BUSIEST_DAY) / 365.2425)
    busy: NDArray[np.float64] = by_hour * np.array(WEEK)[(days + 3) % 7] * by_season
    return busy


@dataclass(slots=True)
class _Experience:
    """What visits come to, as a running mean; the first values stand for visits as they usually are."""

    payments: float = 66.0
    visits: float = 100.0
    on_the_way: int = 0
    """Visits that have neither come to the door nor left."""

    @property
    def payments_per_visit(self) -> float:
        return max(0.02, self.payments / self.visits)

    @property
    def payments_coming(self) -> float:
        return self.on_the_way * self.payments_per_visit

    def arrived_or_left(self) -> None:
        self.on_the_way -= 1
        self.visits += 1
        if self.visits > 600:  # forget, so that changed prices show
            self.visits, self.payments = self.visits / 2, self.payments / 2


class Crowd:
    """Lets visitors in so that payments follow a schedule.

    A punctual crowd pays exactly when a purchase is due, out of a short queue at the door; a purchase that finds
    nobody there is owed, and passes as soon as somebody comes. Otherwise everybody pays when ready, and only the
    number follows the schedule.

    Visits begin at the rate of purchases divided by payments per visit. Who is on the way already counts as so many
    payments to come; what is missing or too much is made up within seconds, what is missing for long within a minute.
    When the queue gets very short, visitors in a hurry come in: they know what they want and are at the door at once.
    """

    correction_seconds = 3.0
    """How fast a shortage is made up: as those on their way are counted, quick does not mean swinging."""
    learning_seconds = 30.0
    """How fast the estimate of those on their way is corrected by the queue; slower than a visit, or it swings."""

    def __init__(
        self, engine: Engine, slots: Iterator[int], *, per_second: float, opens_us: int, punctual: bool
    ) -> None:
        self._engine, self._slots, self._opens_us = engine, slots, opens_us
        self._punctual = punctual
        self.expect(per_second)
        self._queue: deque[Resume] = deque()
        self._seen = _Experience()
        self._error = 0.0
        self._seen_hasty = _Experience()
        self._credit = 0.0
        self._schedule = 0
        self._taken, self._gave_away = 0, False
        self._open = True
        self.owed = 0
        """Purchases behind the schedule because nobody was ready; ahead of it when negative."""

    def begin(self, arrivals: Arrivals) -> None:
        """Start letting visitors in; payments begin at `opens_us`."""
        self._arrivals = arrivals
        self._next_slot()

    def follow(self, slots: Iterator[int]) -> None:
        """Go over to another schedule, owing nothing from the old one; who waits in vain goes home."""
        self._slots, self.owed, self._error = slots, 0, 0.0
        while len(self._queue) > self._wanted:
            self._queue.pop()
        self._schedule += 1
        self._next_slot()

    def expect(self, per_second: float) -> None:
        """Payments are due at this rate from now on, about; as many visitors are on their way soon."""
        self._per_second = per_second
        self._wanted = max(3.0, per_second + 3 * sqrt(per_second)) if self._punctual else 0.0

    def stop(self) -> None:
        """Nobody comes in or pays any more."""
        self._open = False
        self._queue.clear()

    def make_room(self) -> None:
        """Somebody else's purchase takes the place of one that is due; at most every second one is given away."""
        self._taken += 1

    def door(self, resume: Resume) -> None:
        """To be yielded by a visitor who is about to pay."""
        if not self._open:
            return
        if self.owed > 0 or not self._punctual:
            self.owed -= 1
            resume(None)
        else:
            self._queue.append(resume)

    def missed(self) -> None:
        """Who was let through the door did not pay after all: somebody else's turn."""
        if self._open:
            self._engine.after(0.0, self._pay_next)

    def _next_slot(self) -> None:
        due_us = next(self._slots, None)
        if due_us is not None:
            schedule = self._schedule
            self._engine.at(due_us, lambda: self._slot(schedule))

    def _slot(self, schedule: int) -> None:
        if not self._open or schedule != self._schedule:
            return
        self._next_slot()
        self._gave_away = self._taken > 0 and not self._gave_away
        if self._gave_away:
            self._taken -= 1
            return
        if self._engine.now_us >= self._opens_us:
            self._pay_next()
        self._let_in()

    def _pay_next(self) -> None:
        if self._queue:
            self._queue.popleft()(None)
        else:
            self.owed += 1
        self._let_in_hasty()

    def _let_in(self) -> None:
        """Called once per purchase due: one payment's worth of visits, more or less by what is missing."""
        seen, rate = self._seen, self._per_second
        short = self._wanted - len(self._queue) + self.owed
        self._error += min(self._wanted, max(-self._wanted, short)) / max(30.0, rate * self.learning_seconds)
        missing = short + rate * SECONDS_TO_DOOR - seen.payments_coming + self._error
        within = max(3.0, rate * self.correction_seconds)
        self._credit += min(4.0, max(0.0, 1 + missing / within)) / seen.payments_per_visit
        while self._credit >= 1:
            for delay, visit in self._arrivals(False):
                self._credit -= 1
                seen.on_the_way += 1
                self._engine.start(self._watched(visit, seen), delay=delay)

    def _let_in_hasty(self) -> None:
        if not self._punctual:
            return
        seen = self._seen_hasty
        while len(self._queue) - self.owed + seen.payments_coming < self._wanted / 4:
            for delay, visit in self._arrivals(True):
                seen.on_the_way += 1
                self._engine.start(self._watched(visit, seen), delay=delay)

    def _watched(self, visit: Process, seen: _Experience) -> Process:
        """The visit itself, noting in `seen` when it comes to the door, or leaves without."""
        arrived, answer = False, None
        while True:
            try:
                pause = visit.send(answer)
            except StopIteration:
                break
            if pause == self.door:
                seen.payments += 1
                if not arrived:
                    seen.arrived_or_left()
                arrived = True
            answer = yield pause
        if not arrived:
            seen.arrived_or_left()
