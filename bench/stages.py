"""Where the time of a loop goes: microseconds of processor time per purchase and stage."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any


class Stages:
    """A stopwatch with named stages. What runs inside another stage counts for itself alone."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what runs inside."""
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def watch(self, owner: type, method: str, stage: str) -> None:
        """Count every call of a method, of all objects of the class, from now on."""
        inner: Callable[..., Any] = getattr(owner, method)

        @wraps(inner)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.stage(stage):
                return inner(*arguments, **named)

        setattr(owner, method, timed)

    def microseconds(self, count: int) -> dict[str, float]:
        """Per purchase, of so many, in the order in which the stages were first entered."""
        return {name: round(seconds / count * 1e6, 1) for name, seconds in self._seconds.items()}

    def _charge(self) -> None:
        now = time.thread_time()
        if self._running:
            self._seconds[self._running[-1]] += now - self._since
        self._since = now
