"""The engine at wall-clock pace: steps when they are due, and answers from other threads as they come."""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import RLock
from typing import Protocol

from ibook.clock import Clock, to_us
from simulator.engine import SECOND_US, Engine, Timer

MAX_STEPS = 200
"""Steps in one turn: other threads may look at the simulation between turns."""
LONGEST_WAIT_SECONDS = 0.05


class Waiting(Protocol):
    """Where other threads leave what the engine's thread shall do."""

    def put(self, timer: Timer) -> None:
        """Leave something to do; called from any thread."""
        ...

    def wait(self, seconds: float) -> Timer | None:
        """The next thing to do; None when nothing came within `seconds`."""
        ...


class Inbox:
    """A queue that is waited on in real time."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Timer] = SimpleQueue()

    def put(self, timer: Timer) -> None:
        """Leave something to do; called from any thread."""
        self._queue.put(timer)

    def wait(self, seconds: float) -> Timer | None:
        """The next thing to do; None when nothing came within `seconds`."""
        try:
            return self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()
        except Empty:
            return None


class Loop:
    """Runs an engine by a clock. Every step happens at the clock's time, and how late that is is known."""

    def __init__(self, engine: Engine, clock: Clock, inbox: Waiting, idle: Callable[[], None]) -> None:
        self._engine, self._clock, self._inbox, self._idle = engine, clock, inbox, idle
        self.lock = RLock()
        """Held while the simulation changes."""
        self.lag_seconds = 0.0
        """How late the simulation is; 0 while it keeps up."""
        self.worst_lag_seconds = 0.0
        self._due_us: int | None = None

    @property
    def late_us(self) -> int | None:
        """How long ago the step that is running was due; None for what no schedule asked for, such as an answer."""
        return None if self._due_us is None else to_us(self._clock.now()) - self._due_us

    def turn(self) -> None:
        """Take answers, then do what is due; waits for the first answer until something is due.

        Answers go first: who is late must not lose patience with an answer that is there.
        """
        due_us = self._engine.next_due_us
        seconds = LONGEST_WAIT_SECONDS if due_us is None else (due_us - to_us(self._clock.now())) / SECOND_US
        self._take_answers(min(seconds, LONGEST_WAIT_SECONDS))
        with self.lock:
            self._run_due()
        self._idle()

    def _run_due(self) -> None:
        for _ in range(MAX_STEPS):
            due_us, now_us = self._engine.next_due_us, to_us(self._clock.now())
            if due_us is None or due_us > now_us:
                self.lag_seconds = 0.0
                return
            self.lag_seconds = (now_us - due_us) / SECOND_US
            self.worst_lag_seconds = max(self.worst_lag_seconds, self.lag_seconds)
            self._due_us = due_us
            self._engine.run_next(now_us)
            self._due_us = None

    def _take_answers(self, seconds: float) -> None:
        for number in range(MAX_STEPS):
            answer = self._inbox.wait(0.0 if number else seconds)
            if answer is None:
                return
            with self.lock:
                self._engine.advance_to(to_us(self._clock.now()))
                answer()
