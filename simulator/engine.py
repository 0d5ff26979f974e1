"""A small discrete-event engine: behaviours are generators that wait, ask and go on.

A behaviour yields seconds to wait, or a function that is handed `resume` and calls it with the answer later.
The engine has one thread and no clock of its own: history moves it through virtual time, realtime through the wall
clock's.
"""

from collections.abc import Callable, Generator
from functools import partial
from heapq import heappop, heappush
from typing import Any

Resume = Callable[[Any], None]
Await = Callable[[Resume], None]
Pause = float | Await
Process = Generator[Pause, Any, None]
Timer = Callable[[], None]

SECOND_US = 1_000_000


class Engine:
    """Runs behaviours and timers in the order of their due times; ties in the order they were asked for."""

    def __init__(self, start_us: int) -> None:
        self.now_us = start_us
        """Event time of the running step, in microseconds since the epoch."""
        self._agenda: list[tuple[int, int, Timer]] = []
        self._asked = 0

    @property
    def next_due_us(self) -> int | None:
        """When the next step is due; None when there is none."""
        return self._agenda[0][0] if self._agenda else None

    def at(self, due_us: int, timer: Timer) -> None:
        """Call `timer` at an instant."""
        self._asked += 1
        heappush(self._agenda, (due_us, self._asked, timer))

    def after(self, seconds: float, timer: Timer) -> None:
        """Call `timer` so many seconds from now."""
        self.at(self.now_us + int(seconds * SECOND_US), timer)

    def start(self, process: Process, *, delay: float = 0.0) -> None:
        """Let a behaviour begin after `delay` seconds."""
        self.after(delay, partial(self._step, process, None))

    def run_next(self, now_us: int | None = None) -> None:
        """Run the next step, at its own due time or at `now_us` where the wall clock rules."""
        due_us, _, timer = heappop(self._agenda)
        self.advance_to(due_us if now_us is None else now_us)
        timer()

    def run_some(self, end_us: int, n: int) -> bool:
        """Run at most `n` steps that are due by `end_us`, each at its due time; False when no more are due by then."""
        for _ in range(n):
            if not self._agenda or self._agenda[0][0] > end_us:
                return False
            due_us, _, timer = heappop(self._agenda)
            if due_us > self.now_us:
                self.now_us = due_us
            timer()
        return True

    def advance_to(self, now_us: int) -> None:
        """Let time pass without a step; time never goes back."""
        self.now_us = max(now_us, self.now_us)

    def move_to(self, now_us: int) -> None:
        """Lift the whole agenda from the present time to another."""
        by_us = now_us - self.now_us
        self.now_us = now_us
        self._agenda = [(due_us + by_us, asked, timer) for due_us, asked, timer in self._agenda]

    def run_until(self, end_us: int) -> None:
        """Run every step due up to and including `end_us`, each at its due time."""
        while self._agenda and self._agenda[0][0] <= end_us:
            self.run_next()
        self.advance_to(end_us)

    def _step(self, process: Process, answer: Any) -> None:
        try:
            pause = process.send(answer)
        except StopIteration:
            return
        if callable(pause):
            pause(partial(self._step, process))
        else:
            self._asked += 1
            timer: Timer = partial(self._step, process, None)
            heappush(self._agenda, (self.now_us + int(pause * SECOND_US), self._asked, timer))
