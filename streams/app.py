"""Settings to a Faust app with our safe defaults: what every worker shares.

Topics are made by `ibook topics apply`, never by Faust; values are bytes, decoded by us; the web server is off.
"""

import fcntl
import os
from pathlib import Path
from typing import cast

import faust
import structlog
from faust.types import TP, AppT, EventT, StreamT, TopicT
from yarl import URL

from ibook.errors import ConfigurationError
from ibook.settings import Settings
from streams.connections import mend_connections
from streams.fetching import RELAXED_SECONDS, patient_transport
from streams.header_names import read_odd_header_names
from streams.leaving import Watchdog, leave_when_commits_hang

log = structlog.get_logger()

Event = EventT[bytes]
Stream = StreamT[bytes]

COMMIT_SESSIONS = 2.0
"""Sessions a commit may take while a broker listens."""


def create_app(name: str, settings: Settings, pause_seconds: float = RELAXED_SECONDS) -> faust.App:
    """A Faust app for one kind of worker: its group is `name`, its tables lie under the data folder.

    Static membership (`worker_name` must be unique among the workers of a kind) lets a restarted worker take its
    partitions back without waiting for the session to expire. Between two fetches it pauses for `pause_seconds`.
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
    read_odd_header_names()
    app.transport = patient_transport(app, brokers, pause_seconds)
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
