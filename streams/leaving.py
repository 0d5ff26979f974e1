"""When a worker has to leave: what it holds can't be trusted, or it would look alive and do nothing for ever.

The supervisor starts it again; what was not acknowledged is delivered again.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import faust
import structlog
from faust.types import AppT

from ibook.errors import OwnCodeFails

log = structlog.get_logger()

TICK_SECONDS = 0.2
LOOK_SECONDS = 1.0
"""Between two looks at a commit."""
CLIENT_SECONDS = 1.0
"""Between two looks at the Kafka client."""


def leave(reason: str, **facts: object) -> None:
    """End the process at once, without the commits a softer exit would make on its way out."""
    log.error("leaving", reason=reason, **facts)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


async def or_leave(work: Coroutine[Any, Any, None]) -> None:
    """Run the body of an agent or task; an exception nobody foresaw ends the process.

    Whatever was at work stays unacknowledged and is delivered again. An agent that merely raised would lose its
    event or make shutdown hang.
    """
    try:
        await work
    except OwnCodeFails as error:
        leave(str(error))
    except Exception as error:  # anything: a bug must neither lose an event nor pass in silence
        log.exception("unexpected error")
        leave("unexpected error", error=repr(error))


def every(app: faust.App, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again while the app runs, `seconds` apart."""

    async def _loop() -> None:
        while not app.should_stop:
            await work()
            await asyncio.sleep(seconds)

    async def _task() -> None:
        await or_leave(_loop())

    app.task(_task)


def since_boot() -> float:
    """Seconds on a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Watchdog:
    """Notices that this process stood still for so long that its partitions may have moved.

    A frozen worker that wakes would overwrite its successor's state. Asked before every write, and by its own
    ticker; it leaves the process rather than raise, since nothing it holds can be trusted.
    """

    def __init__(self, limit_seconds: float, monotonic: Callable[[], float] = since_boot) -> None:
        self._limit = limit_seconds
        self._monotonic = monotonic
        self._last: float | None = None

    @classmethod
    def attach(cls, app: faust.App, limit_seconds: float) -> "Watchdog":
        """Watch an app while it runs; `watchdog_of(app)` finds it again."""
        watchdog = cls(limit_seconds)
        app.conf.ibook_watchdog = watchdog

        async def _tick() -> None:
            watchdog.tick()

        every(app, TICK_SECONDS, _tick)
        return watchdog

    def tick(self) -> None:
        """The event loop is alive."""
        self.check()
        self._last = self._monotonic()

    def check(self) -> None:
        """Leave the process when the last tick is too long ago."""
        if self._last is not None and self.stood_still() > self._limit:
            leave("the process stood still longer than half its session", seconds=round(self.stood_still(), 1))

    def stood_still(self) -> float:
        """Seconds since the last tick; 0 before the first."""
        return 0.0 if self._last is None else self._monotonic() - self._last


def watchdog_of(app: AppT) -> Watchdog:
    """The watchdog that `create_app` attached."""
    watchdog: Watchdog = app.conf.ibook_watchdog
    return watchdog


def leave_when_commits_hang(app: faust.App, limit_seconds: float, bootstrap: str) -> None:
    """Leave when one commit takes longer than this though a broker listens: aiokafka would try for ever.

    Faust fetches nothing more meanwhile, so the worker would look alive and do nothing. What it did is durable, and
    is recognised when it is delivered again. While no broker listens, waiting is right: a worker that starts anew
    would wait as well, and longer each time.
    """
    hanging: tuple[object, float] | None = None

    async def _look() -> None:
        nonlocal hanging
        commit = app.consumer._commit_fut  # type: ignore[attr-defined]
        if commit is None or hanging is None or commit is not hanging[0] or not await broker_listens(bootstrap):
            hanging = None if commit is None else (commit, since_boot())
        elif since_boot() - hanging[1] > limit_seconds:
            leave("a commit does not end", seconds=round(since_boot() - hanging[1], 1))

    every(app, LOOK_SECONDS, _look)


async def broker_listens(bootstrap: str) -> bool:
    """Whether one of these brokers, `host:port` separated by commas, takes a connection within a second."""
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            async with asyncio.timeout(1.0):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError, ValueError):
            continue
        writer.close()
        return True
    return False


def leave_when_the_client_ends(app: AppT) -> threading.Thread:
    """Leave when a background task of aiokafka has ended, or waits for somebody to look at its error.

    Without the one that keeps the group's membership, or the one that keeps the brokers' addresses, nothing is ever
    fetched again, and Faust looks at neither. One way there: a client that starts while its only broker stands still
    is told of no broker at all, and asserts that there is one. That is before Faust begins an app's own tasks, so a
    thread looks.
    """

    def _look() -> None:
        while not app.should_stop:
            if ended := what_ended(app):
                leave("a part of the Kafka client has ended", part=ended)
            time.sleep(CLIENT_SECONDS)

    thread = threading.Thread(target=_look, name="kafka-client", daemon=True)
    thread.start()
    return thread


def what_ended(app: Any) -> str:
    """The parts of the app's Kafka clients that will never work again; empty while all do."""
    consumer = _within(app, "_consumer", "_thread", "_consumer")
    coordinator = _within(consumer, "_coordinator")
    parts = {
        "membership of the group": _within(coordinator, "_coordination_task"),
        "brokers of the consumer": _within(consumer, "_client", "_sync_task"),
        "brokers of the producer": _within(app, "_producer", "_producer", "client", "_sync_task"),
    }
    ended = [part for part, task in parts.items() if task is not None and task.done()]
    error = _within(coordinator, "_pending_exception")
    return ", ".join(ended if error is None else [*ended, repr(error)])


def _within(holder: Any, *names: str) -> Any:
    """An attribute of an attribute; None when one of them is not there yet."""
    for name in names:
        holder = getattr(holder, name, None)
    return holder
