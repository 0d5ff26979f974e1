"""Settings to a Faust app with our safe defaults: what every worker shares.

Topics are made by `ibook topics apply`, never by Faust; values are bytes, decoded by us; the web server is off.
"""

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import faust
import structlog
from faust.types import TP, AppT, EventT, StreamT, TopicT
from yarl import URL

from ibook.errors import ConfigurationError, OwnCodeFails
from ibook.settings import Settings
from streams.connections import mend_connections
from streams.fetching import RELAXED, Patience, patient_transport

log = structlog.get_logger()

Event = EventT[bytes]
Stream = StreamT[bytes]

TICK_SECONDS = 0.2
COMMIT_SESSIONS = 2.0
"""Sessions a commit may take while a broker listens."""


def create_app(name: str, settings: Settings, patience: Patience = RELAXED) -> faust.App:
    """A Faust app for one kind of worker: its group is `name`, its tables lie under the data folder.

    Static membership (`worker_name` must be unique among the workers of a kind) lets a restarted worker take its
    partitions back without waiting for the session to expire.
    """
    datadir = settings.data_dir.absolute() / "tables" / f"{name}-{settings.worker_name}"
    datadir.mkdir(parents=True, exist_ok=True)
    _take_alone(datadir, name, settings.worker_name)
    brokers = [URL(f"aiokafka://{address}") for address in settings.kafka_bootstrap.split(",")]
    app = faust.App(
        name,
        broker=brokers,
        store="rocksdb://",
        datadir=str(datadir),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_commit_interval=0.5,
        broker_commit_every=1000,
        stream_buffer_maxsize=1024,
        stream_wait_empty=False,
        producer_acks=-1,
        producer_linger=0.002,
        producer_max_batch_size=1 << 20,
        producer_max_request_size=1 << 20,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=min(3.0, settings.session_timeout_seconds / 3),
        broker_request_timeout=30.0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{name}-{settings.worker_name}",
    )
    mend_connections()
    app.transport = patient_transport(app, brokers, patience)
    keep_no_statistics(app)
    quiesce_after_rebalance(app)
    Watchdog.attach(app, settings.session_timeout_seconds / 2)
    leave_when_commits_hang(app, COMMIT_SESSIONS * settings.session_timeout_seconds, settings.kafka_bootstrap)
    return app


def keep_no_statistics(app: faust.App) -> None:
    """Take out Faust's monitor: its counters are for its web server, which is off, and cost on every message."""

    async def _take_out() -> None:
        app.sensors.remove(app.monitor)

    app.task(_take_out)


def _take_alone(datadir: Path, name: str, worker_name: str) -> None:
    """Refuse to be the second worker of this name here: both would believe they hold the same partitions."""
    lock = os.open(datadir / "lock", os.O_RDWR | os.O_CREAT, 0o600)  # stays open, and held, as long as the process
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigurationError(
            f"A {name} worker named {worker_name!r} runs on {datadir} already: give this one another IBOOK_WORKER_NAME."
        ) from error


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

    every(app, 1.0, _look)


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


def raw_topic(app: AppT, *names: str) -> TopicT:
    """Topics whose keys and values are the bytes that came; a missing value is an empty message, not an error."""
    return app.topic(*names, key_serializer="raw", value_serializer="raw", allow_empty=True)


def quiesce_after_rebalance(app: faust.App) -> None:
    """Stop fetching between recovery and the seek to the committed offsets.

    Recovery resumes the stream's partitions before it seeks; what was fetched in between is dropped or handled
    twice (faust-streaming/faust, issue 596).
    """

    @app.on_rebalance_complete.connect(weak=False)
    async def _quiesce(sender: AppT, **_: object) -> None:
        app.consumer.stop_flow()
        await app.consumer.wait_for_stopped_flow()  # type: ignore[attr-defined]
        mark_ready()


def mark_ready() -> None:
    """Tell the supervisor that this worker has its partitions."""
    path = os.environ.get("IBOOK_READY_FILE")
    if path:
        Path(path).touch()


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


def assigned_partitions(app: AppT, topic: str) -> set[int]:
    """The partitions of a topic this worker holds now."""
    return {tp.partition for tp in app.consumer.assignment() if tp.topic == topic}


async def is_at_end(app: AppT, tp: TP, done: int) -> bool:
    """Whether everything a partition holds was read and is done, up to and including the offset `done`.

    The last offset need not be a message: a transaction ends with a marker that only moves the consumer's position.
    """
    end = cast("int | None", app.consumer.highwater(tp))  # None until the first answer of the broker
    if end is None or done + 1 >= end:
        return end is not None
    read = app.consumer._read_offset.get(tp)  # type: ignore[attr-defined]
    return (read is None or done >= read) and (await app.consumer.position(tp) or 0) >= end


def generation(app: AppT) -> int:
    """Number of the current assignment: events of an earlier one are delivered again."""
    return int(app.consumer_generation_id)
