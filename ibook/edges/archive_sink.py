"""From `entity-updates` and `fraud-evidence` into the archive: one process, no group.

Where to go on is read from the archive itself (`archive_files.next_offsets`); Kafka's commits play no part. A record is
in a file before anything says so, so after a kill at any point each row is there once.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from ibook import metrics
from ibook.edges.archive_files import DATASETS, next_offsets
from ibook.edges.archive_writer import ArchiveWriter, Limits
from ibook.edges.kafka import ANSWER_SECONDS, NEW_PARTITIONS_SECONDS, extent
from ibook.errors import BrokerUnavailable, ConfigurationError
from ibook.settings import Settings

log = structlog.get_logger()

AT_ONCE = 1000
WAIT_SECONDS = 0.2
SILENCE_SECONDS = 30.0
"""Longest that `to_the_end` waits for Kafka to deliver something."""
LAG_SECONDS = 1.0


class ArchiveSink:
    """Reads both topics into the archive of a data folder. One thread at a time; a context manager."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        """Raises ConfigurationError when another sink has the folder, or it can't be written."""
        self._settings = settings
        self._folder = settings.data_dir.absolute() / "archive"
        try:
            self._lock = _lock(self._folder)
            self._writer = ArchiveWriter(self._folder, limits)
        except OSError as error:
            raise ConfigurationError(f"The archive in {self._folder} can't be written: {error.strerror}.") from error
        self._consumer = _consumer(settings)
        self._awaited: set[tuple[str, int]] = set()
        """Partitions whose end was not seen yet."""
        self._looked_at = self._measured_at = 0.0

    def __enter__(self) -> Self:
        """The sink itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write nothing more, and let others have the folder."""
        self._consumer.close()
        os.close(self._lock)

    def assign(self) -> None:
        """Go on where the archive ends. Raises BrokerUnavailable; ConfigurationError when the topics are other ones."""
        self._compare_topics()
        self._assign_new_partitions()

    def run(self, stopped: Callable[[], bool]) -> None:
        """Archive until told to stop, then write what is in memory. Raises ConfigurationError."""
        try:
            while not stopped():
                self.step()
        finally:
            if not self._writer.flush():
                log.error(f"{self._writer.trouble} What is not archived stays in Kafka.")

    def step(self) -> None:
        """Read a little, write what is due."""
        if self._writer.full:
            self._writer.flush_due()
            if self._writer.full:  # it can't be written: what we do not read, Kafka keeps
                time.sleep(WAIT_SECONDS)
                return
        for message in self._consumer.consume(AT_ONCE, timeout=WAIT_SECONDS):
            self._take(message)
        self._writer.flush_due()
        now = time.monotonic()
        if now - self._measured_at >= LAG_SECONDS:
            self._measure_lag()
        if now - self._looked_at >= NEW_PARTITIONS_SECONDS:
            self._look_for_partitions()

    def to_the_end(self) -> int:
        """Archive what there is, and return how many rows that was.

        Raises BrokerUnavailable when Kafka falls silent before its end, ConfigurationError when nothing can be written.
        """
        deadline = time.monotonic() + SILENCE_SECONDS
        while self._awaited:
            before = self._progress()
            self.step()
            if self._progress() != before:
                deadline = time.monotonic() + SILENCE_SECONDS
            if self._writer.trouble:
                raise ConfigurationError(self._writer.trouble)
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"Kafka on {self._settings.kafka_bootstrap} delivers nothing more to archive.")
        if not self._writer.flush():
            raise ConfigurationError(self._writer.trouble)
        return self._writer.rows_written

    def _progress(self) -> tuple[int, int]:
        return len(self._awaited), sum(self._writer.next_offset(topic, number) for topic, number in self._assigned())

    def _assigned(self) -> list[tuple[str, int]]:
        return [(one.topic, one.partition) for one in self._consumer.assignment()]

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            topic, number, offset = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
            self._writer.take(topic, number, offset, message.timestamp()[1], _bytes(message.value()))
        elif error.code() == KafkaError._PARTITION_EOF:
            topic, number = str(message.topic()), int(message.partition() or 0)
            self._writer.reached(topic, number, int(message.offset() or 0))
            self._awaited.discard((topic, number))
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._fell_out(str(message.topic()), int(message.partition() or 0))
        elif error.fatal():
            raise BrokerUnavailable(f"the archive can't read from Kafka: {error.str()}.")
        # Anything else passes: the client reconnects by itself and goes on where it was.

    # ------------------------------------------------------------------------------------------------- where to go on
    def _compare_topics(self) -> None:
        """Raises ConfigurationError when a topic is not the one that was archived here before."""
        found = _topic_ids(self._settings)
        for topic, identity in found.items():
            if self._writer.topic_ids.setdefault(topic, identity) != identity:
                raise ConfigurationError(
                    f"The topic {topic} is not the one whose archive is in {self._folder}: move that folder away."
                )

    def _assign_new_partitions(self) -> None:
        """Raises BrokerUnavailable, ConfigurationError. All is asked before anything is fetched: answers would wait."""
        known, found = set(self._assigned()), self._list_topics()
        starts: list[TopicPartition] = []
        lost: set[tuple[str, int]] = set()
        for topic in DATASETS:
            if not found.get(topic):
                raise ConfigurationError(f"The topic {topic} does not exist: run `ibook topics apply`.")
            archived = next_offsets(self._folder, topic)
            for number in found[topic]:
                if (topic, number) in known or self._writer.holds(topic, number):
                    continue  # what it holds was read before Kafka dropped the rest: it must be in a file first
                following = max(archived.get(number, 0), self._writer.next_offset(topic, number))
                start = self._start(topic, number, following)
                starts.append(TopicPartition(topic, number, start))
                if start > following:
                    lost.add((topic, number))
        for one in starts:
            self._writer.begin(one.topic, one.partition, one.offset, lost=(one.topic, one.partition) in lost)
            self._awaited.add((one.topic, one.partition))
        if starts:
            self._consumer.incremental_assign(starts)
        self._looked_at = time.monotonic()

    def _list_topics(self) -> dict[str, list[int]]:
        try:
            topics = self._consumer.list_topics(timeout=ANSWER_SECONDS).topics
        except KafkaException as error:
            raise BrokerUnavailable(f"No Kafka broker answers on {self._settings.kafka_bootstrap}.") from error
        return {name: list(topic.partitions) for name, topic in topics.items()}

    def _look_for_partitions(self) -> None:
        try:
            self._assign_new_partitions()
        except BrokerUnavailable:
            self._looked_at = time.monotonic()  # away: what we have goes on, we look again later

    def _start(self, topic: str, number: int, following: int) -> int:
        """The first offset that is not archived, or the first there still is."""
        low, high = self._watermarks(topic, number)
        deadline = time.monotonic() + ANSWER_SECONDS
        while following > high:  # a new leader may not know yet how far it has got
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{topic}:{number} ends at offset {high}, its archive in {self._folder} at {following}: "
                    "that is another Kafka's, or Kafka lost data; move the folder away."
                )
            time.sleep(WAIT_SECONDS)
            low, high = self._watermarks(topic, number)
        if low > following:
            metrics.ARCHIVE_GAP.labels(topic).inc(low - following)
            log.error("kafka dropped records before they were archived", topic=topic, partition=number,
                      first=following, last=low - 1)  # fmt: skip
        return max(low, following)

    def _fell_out(self, topic: str, number: int) -> None:
        """The next offset is not there any more: write what we have, then go on at the first there still is."""
        self._writer.flush()
        self._consumer.incremental_unassign([TopicPartition(topic, number)])
        self._looked_at = 0.0  # it is found again as if it were new

    def _watermarks(self, topic: str, number: int) -> tuple[int, int]:
        try:
            return extent(self._consumer, TopicPartition(topic, number))
        except KafkaException as error:
            raise BrokerUnavailable(f"{topic}:{number} can't be read: {error}.") from error

    def _measure_lag(self) -> None:
        behind = dict.fromkeys(DATASETS, 0)
        for topic, number in self._assigned():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True)
            behind[topic] += max(0, high - self._writer.first_unwritten(topic, number))
        for topic, records in behind.items():
            metrics.ARCHIVE_LAG.labels(topic).set(records)
        self._measured_at = time.monotonic()


def archive_to_the_end(settings: Settings) -> int:
    """Archive what is left in Kafka and return how many rows that was; for commands on a platform without a sink.

    Raises BrokerUnavailable, and ConfigurationError with one sentence: another sink is at work, the disk is full.
    """
    with ArchiveSink(settings) as sink:
        sink.assign()
        return sink.to_the_end()


def _lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConfigurationError(f"The archive in {folder} is being written by another process.") from error
    return lock


def _topic_ids(settings: Settings) -> dict[str, str]:
    """The broker's own names of the topics; a topic that does not exist is left out."""
    client = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 0})
    answers = client.describe_topics(TopicCollection(list(DATASETS)), request_timeout=ANSWER_SECONDS)
    found: dict[str, str] = {}
    for topic, answer in answers.items():
        try:
            found[topic] = str(answer.result().topic_id)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise BrokerUnavailable(f"No Kafka broker answers on {settings.kafka_bootstrap}.") from error
    return found


def _consumer(settings: Settings) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": "updates-to-archive",  # asked for by the client; nothing is committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 32 << 10,
            "fetch.min.bytes": 64 << 10,  # many records per answer: nobody waits for us
            "fetch.wait.max.ms": 200,
            "log_level": 0,
        }
    )


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
