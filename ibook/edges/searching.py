"""Messages of one transaction, looked for in the log and the archive within a budget of time."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self
from zlib import crc32

import msgspec
import pyarrow.parquet as pq
from confluent_kafka import KafkaException, Message, TopicPartition

from ibook.edges.archive import archive_of
from ibook.edges.archive_schema import UNREADABLE, decode_evidence
from ibook.edges.kafka import Record, extent, headers_of, record_of
from ibook.edges.log import Stretch, log_reader, offset_at, read
from ibook.errors import BrokerUnavailable
from ibook.messages import VerdictEvidence
from ibook.settings import Settings
from ibook.story import Place
from ibook.topics import FRAUD_EVIDENCE, TICKET_PURCHASES

WINDOWS = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 7 * 24, 31 * 24))
"""How far back a purchase is looked for, the newest first."""
LOOK_AT_CLOCK = 1_000
"""Messages between two looks at the clock."""

Wanted = Callable[[Message], bool]


class Looked(NamedTuple):
    """What was found, and how far it was looked."""

    records: list[Record]
    what: str
    """Topic and time span, or what else was looked at."""
    looked_at: int
    """Messages."""
    is_complete: bool
    """False when time ran out."""

    def and_also(self, more: "Looked") -> "Looked":
        """This and what was found elsewhere in the same span."""
        return Looked([*self.records, *more.records], self.what, self.looked_at + more.looked_at,
                      self.is_complete and more.is_complete)  # fmt: skip

    def __str__(self) -> str:
        return f"{self.what} ({self.looked_at:,} messages{'' if self.is_complete else ', not all: time ran out'})"


class Search:
    """Looks for one transaction's messages until `seconds` are over. One thread at a time; a context manager.

    Methods raise BrokerUnavailable when Kafka does not answer.
    """

    def __init__(self, settings: Settings, transaction_id: str, seconds: float) -> None:
        self._bootstrap = settings.kafka_bootstrap
        self._id = transaction_id.encode()
        self._quoted = msgspec.json.encode(transaction_id)
        self._deadline = time.monotonic() + seconds
        self._consumer = log_reader(settings.kafka_bootstrap)

    def __enter__(self) -> Self:
        """The search itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the reader."""
        self._consumer.close()

    @property
    def time_left(self) -> bool:
        """Whether there is any."""
        return time.monotonic() < self._deadline

    def names_it(self, message: Message) -> bool:
        """Whether a message is about the transaction: by key, by header, or anywhere in its text."""
        if message.key() == self._id or self._quoted in (message.value() or b""):
            return True
        return any(value == self._id for _, value in headers_of(message))

    def look(
        self, topic: str, since: datetime | None = None, until: datetime | None = None, *,
        partitions: Sequence[int] | None = None, before: int = 0, most: int | None = None, wanted: Wanted | None = None,
    ) -> Looked:  # fmt: skip
        """What `wanted` (by default `names_it`) finds in a span of broker time.

        From `before` messages earlier on in each partition, and at most `most` messages of each.
        """
        wanted = wanted or self.names_it
        found, count, is_complete = list[Record](), 0, True
        try:
            stretches = self._stretches(topic, since, until, partitions, before, most)
            for message in read(self._consumer, stretches):
                count += 1
                if wanted(message):
                    found.append(record_of(message))
                if count % LOOK_AT_CLOCK == 0 and not self.time_left:
                    is_complete = False
                    break
        except KafkaException as error:
            raise BrokerUnavailable(f"{topic} can't be read: {error}.") from error
        found.sort(key=lambda record: (record.timestamp_ms, record.partition, record.offset))
        return Looked(found, f"{topic} {_span(since, until)}", count, is_complete)

    def _stretches(
        self, topic: str, since: datetime | None, until: datetime | None, partitions: Sequence[int] | None,
        before: int, most: int | None,
    ) -> list[Stretch]:  # fmt: skip
        if partitions is None:
            partitions = sorted(self._consumer.list_topics(topic, timeout=5.0).topics[topic].partitions)
        stretches = []
        for partition in partitions:
            low, high = extent(self._consumer, TopicPartition(topic, partition))
            start = low if since is None else self._offset(topic, partition, since, high)
            end = high if until is None else self._offset(topic, partition, until, high)
            start = max(low, start - before)
            stretches.append(Stretch(topic, partition, start, end if most is None else min(end, start + before + most)))
        return stretches

    def _offset(self, topic: str, partition: int, at: datetime, end: int) -> int:
        return offset_at(self._consumer, topic, partition, int(at.timestamp() * 1000), end)


def broker_time(record: Record) -> datetime:
    """When the broker took a message."""
    return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)


def _span(since: datetime | None, until: datetime | None) -> str:
    begin = "from its beginning" if since is None else f"since {since:%Y-%m-%d %H:%M:%S}"
    return begin if until is None else f"{begin} until {until:%Y-%m-%d %H:%M:%S}"


def likely_partitions(key: str, settings: Settings) -> list[int]:
    """Where publishers put a key: Java's way (murmur2), or librdkafka's own (CRC32).

    >>> likely_partitions("t-1", Settings(partitions=4))
    [2, 3]
    """
    from aiokafka.partitioner import murmur2

    raw, count = key.encode(), settings.partitions
    return sorted({(murmur2(raw) & 0x7FFFFFFF) % count, crc32(raw) % count})


# ----------------------------------------------------------------------------------------------- where to begin
class Found(NamedTuple):
    """Where the story begins."""

    at: datetime | None
    """When the purchase came, or was decided; None when only other topics may tell."""
    evidence: tuple[Place, VerdictEvidence] | None
    """When the archive has it."""
    looked: list[str]


def locate(settings: Settings, search: Search, transaction_id: str, now: datetime) -> Found:
    """When the purchase was made: looked for in the last hour, then in the archive, then further back."""
    looked: list[str] = []
    until: datetime | None = None
    for window in WINDOWS:
        since = now - window
        recent = search.look(TICKET_PURCHASES.name, since, until)
        looked.append(str(recent))
        if recent.records:
            return Found(broker_time(recent.records[0]), None, looked)
        if until is None and (archived := _archived(settings, search, transaction_id, looked)) is not None:
            return Found(archived[1].occurred_at, archived, looked)
        if not search.time_left:
            break
        until = since
    return Found(None, None, looked)


def _archived(
    settings: Settings, search: Search, transaction_id: str, looked: list[str]
) -> tuple[Place, VerdictEvidence] | None:
    """The evidence from the archive, newest files first."""
    files = sorted(archive_of(settings).files(FRAUD_EVIDENCE.name), key=lambda path: path.parts[-2:], reverse=True)
    for count, path in enumerate(files):
        if not search.time_left:
            looked.append(f"{count} of {len(files)} files of the archive of evidence, then time ran out")
            return None
        try:
            rows = pq.read_table(
                path, columns=["partition", "offset", "payload"], filters=[("transaction_id", "=", transaction_id)],
                partitioning=None,
            )  # fmt: skip
            for row in rows.to_pylist():
                place = Place(FRAUD_EVIDENCE.name, row["partition"], row["offset"], None)
                return place, decode_evidence(row["payload"])
        except (FileNotFoundError, *UNREADABLE):  # merged into another file since, or of an older declaration
            continue
    looked.append(f"the archive of evidence ({len(files):,} files)")
    return None
