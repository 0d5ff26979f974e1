"""When purchases are due, on an absolute schedule, and the crowd that has somebody ready for each."""

from collections import deque
from collections.abc import Callable, Iterator
from math import pi, sin, sqrt
from random import Random

from simulator.engine import SECOND_US, Engine, Process, Resume

HOUR_US = 3600 * SECOND_US
_STEP_US = 60 * SECOND_US


def steady(start_us: int, per_second: float, rng: Random) -> Iterator[int]:
    """Instants at a constant rate: one somewhere in each interval, so the count is never off by more than one."""
    number = 0
    while True:
        yield start_us + int((number + rng.random()) / per_second * SECOND_US)
        number += 1


def daily(start_us: int, end_us: int, n: int, rng: Random) -> Iterator[int]:
    """`n` instants in [start, end) that follow the day: busiest in the early evening UTC, quiet at night."""
    steps = range(start_us, end_us, _STEP_US)
    total = sum(_busyness(at_us) for at_us in steps)
    done, number, due = 0.0, 0, rng.random() / n
    for at_us in steps:
        share = _busyness(at_us) / total
        while number < n and due < done + share:
            yield at_us + int((due - done) / share * min(_STEP_US, end_us - at_us))
            number += 1
            due = max(due, (number + rng.random()) / n)
        done += share


def _busyness(at_us: int) -> float:
    return 1 + 0.6 * sin(2 * pi * (at_us / HOUR_US - 12) / 24)


class Crowd:
    """Lets visitors in so that payments follow a schedule.

    Visits begin at the rate of purchases divided by purchases per visit, corrected a little by how many stand at the
    door. A punctual crowd pays exactly when a purchase is due; one that finds nobody at the door is owed, and passes
    as soon as somebody comes. Without punctuality everybody pays when ready, and only the number follows.
    """

    gain = 0.1
    """Correction per missing visitor, relative to the wanted queue; higher ones swing with the length of a visit."""

    def __init__(
        self, engine: Engine, arrivals: Callable[[], list[tuple[float, Process]]], slots: Iterator[int], *,
        per_second: float, opens_us: int, punctual: bool,
    ) -> None:  # fmt: skip
        self._punctual = punctual
        self._engine, self._arrivals, self._slots, self._opens_us = engine, arrivals, slots, opens_us
        self._wanted = max(3.0, per_second + 3 * sqrt(per_second))
        self._queue: deque[Resume] = deque()
        self._came, self._left = 12.0, 20.0  # as if 20 visits had led to 12 payments
        self._credit = 0.0
        self._open = True
        self.owed = 0
        """Purchases behind the schedule because nobody was ready; ahead of it when negative."""

    def begin(self) -> None:
        """Start letting visitors in; payments begin at `opens_us`."""
        self._next_slot()

    def stop(self) -> None:
        """Nobody comes in or pays any more."""
        self._open = False
        self._queue.clear()

    def door(self, resume: Resume) -> None:
        """To be yielded by a visitor who is about to pay."""
        self._came += 1
        if not self._open:
            return
        if self.owed > 0 or not self._punctual:
            self.owed -= 1
            resume(None)
        else:
            self._queue.append(resume)

    def _next_slot(self) -> None:
        due_us = next(self._slots, None)
        if due_us is not None:
            self._engine.at(due_us, self._slot)

    def _slot(self) -> None:
        if not self._open:
            return
        if self._engine.now_us >= self._opens_us:
            if self._queue:
                self._queue.popleft()(None)
            else:
                self.owed += 1
        self._let_in()
        self._next_slot()

    def _let_in(self) -> None:
        missing = (self._wanted - len(self._queue) + self.owed) / self._wanted
        self._credit += self._left / self._came * min(2.0, max(0.0, 1 + self.gain * missing))
        while self._credit >= 1:
            for delay, visit in self._arrivals():
                self._credit -= 1
                self._engine.start(self._counted(visit), delay=delay)

    def _counted(self, visit: Process) -> Process:
        yield from visit
        self._left += 1
        if self._left > 1000:  # forget, so that changed prices show
            self._left /= 2
            self._came /= 2
