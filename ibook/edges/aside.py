"""Work beside the work that counts: in a thread of its own, waited for a little while, and left alone after that."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

PAUSE_SECONDS = 1.0
"""After work that came late none is begun for so long, so that slow work takes little of anybody's time."""

Result = TypeVar("Result")


class Aside(Generic[Result]):
    """One piece of work at a time; any thread may begin it and wait."""

    def __init__(self, name: str, seconds: float) -> None:
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._at_work: Future[Result] | None = None
        self._paused_until = 0.0
        self._beginning = threading.Lock()

    def begin(self, work: Callable[[], Result]) -> "Future[Result] | None":
        """Begin it; None when other work is not done yet, or came late a moment ago."""
        with self._beginning:
            if time.monotonic() < self._paused_until or not (self._at_work is None or self._at_work.done()):
                return None
            self._at_work = self._thread.submit(work)
            return self._at_work

    def result(self, begun: "Future[Result]") -> Result:
        """What came of it. Raises TimeoutError when it takes longer than the bound, or whatever the work raised."""
        try:
            return begun.result(self._seconds)
        except TimeoutError:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise
