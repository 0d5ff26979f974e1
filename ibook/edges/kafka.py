"""Kafka as more than one package needs it: a safe producer, and readers of broadcast topics."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from ibook.errors import BrokerUnavailable, ConfigurationError
from ibook.settings import Settings

ANSWER_SECONDS = 5.0
"""Longest we wait for one answer of a broker."""
DELIVERY_SECONDS = 30.0
"""Longest a produced message waits for its acknowledgement before its delivery fails."""
NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_TAIL = -2000
"""librdkafka's logical offset of a partition's end; so many less are so many messages before it."""
NEW_PARTITIONS_SECONDS = 30.0
"""How often a broadcast reader looks for partitions that were added."""


# ------------------------------------------------------------------------------------------------------------ producer
def producer(settings: Settings, options: Mapping[str, Any] | None = None) -> Producer:
    """A producer that loses nothing silently and partitions keys like Java's and Faust's do (murmur2).

    `options` are librdkafka's and overrule ours. Deliveries fail after DELIVERY_SECONDS without an acknowledgement; a
    full queue makes `produce` raise BufferError.
    """
    configuration = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "partitioner": "murmur2_random",
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 2,
        "compression.type": "lz4",
        "delivery.timeout.ms": int(DELIVERY_SECONDS * 1000),
        "log_level": 2,  # what goes wrong is told by the deliveries
    }
    return Producer({**configuration, **(options or {})})


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message to publish; without a partition its key decides."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int = -1
    headers: tuple[tuple[str, bytes], ...] = ()


def publish(client: Producer, messages: Iterable[Outgoing]) -> int:
    """Publish all of them and wait for every acknowledgement; returns how many there were.

    Raises BrokerUnavailable when one was not acknowledged within DELIVERY_SECONDS.
    """
    failed: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    count = 0
    for message in messages:
        _produce(client, message, on_delivery)
        count += 1
    unanswered = client.flush(DELIVERY_SECONDS + 1)
    if failed or unanswered:
        reason = failed[0].str() if failed else "no answer"
        raise BrokerUnavailable(f"{len(failed) + unanswered} of {count} messages did not reach Kafka: {reason}.")
    return count


def _produce(client: Producer, message: Outgoing, on_delivery: Callable[[KafkaError | None, Message], None]) -> None:
    deadline = time.monotonic() + DELIVERY_SECONDS
    while True:
        try:
            client.produce(
                message.topic,
                message.value,
                message.key,
                partition=message.partition,
                headers=list(message.headers),
                on_delivery=on_delivery,
            )
        except BufferError as error:  # the queue is full: let deliveries drain it
            if time.monotonic() > deadline:
                raise BrokerUnavailable("Kafka accepts nothing: the producer's queue stays full.") from error
            client.poll(0.1)
        else:
            client.poll(0)
            return


# ------------------------------------------------------------------------------------------------------------- offsets
def extent(consumer: Consumer, place: TopicPartition, seconds: float = ANSWER_SECONDS) -> tuple[int, int]:
    """The first offset a partition holds, and the one after its last.

    A broker that has just started, or a topic that was just made, may have no leader for a moment: it is waited for.
    Raises KafkaException when there is no answer within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            low, high = consumer.get_watermark_offsets(place, timeout=seconds)
            return int(low), int(high)
        except KafkaException as error:
            if error.args[0].code() not in NO_LEADER_YET or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


# ----------------------------------------------------------------------------------------------------- broadcast reader
@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A message as it lies in its partition. `timestamp_ms` is the broker's time, in milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class BroadcastReader:
    """Reads all partitions of a few topics from their beginning, in no group: every process sees everything.

    First `load()`, then `poll_new()` for ever. One thread at a time. Also a context manager.
    """

    def __init__(self, settings: Settings, *topics: str, tail: int | None = None) -> None:
        """With `tail`, the last so many messages of each partition and what follows, not all from the beginning."""
        self._begin = OFFSET_BEGINNING if tail is None else _TAIL - tail
        self._bootstrap = settings.kafka_bootstrap
        self._topics = topics
        self._looked_at = 0.0
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                "group.id": "broadcast",  # asked for by the client; nothing is committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )

    def load(self, timeout_seconds: float = 60.0) -> list[Record]:
        """Everything up to the end of every partition as it is now.

        Raises BrokerUnavailable when no broker answers or the end is not reached in time, ConfigurationError when a
        topic does not exist.
        """
        deadline = time.monotonic() + timeout_seconds
        awaited = set(self._assign_new_partitions())
        records: list[Record] = []
        while awaited:
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"Kafka on {self._bootstrap} did not deliver {', '.join(self._topics)} in time."
                )
            for message in self._consumer.consume(10_000, timeout=0.1):
                error = message.error()
                if error is None:
                    records.append(record_of(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    awaited.discard((str(message.topic()), int(message.partition() or 0)))
        return records

    def poll_new(self, timeout_seconds: float = 0.0, limit: int = 10_000) -> list[Record]:
        """What came since the last call; waits at most `timeout_seconds` for the first of it.

        Empty also while Kafka is away: the client reconnects by itself and continues where it was.
        """
        if time.monotonic() - self._looked_at > NEW_PARTITIONS_SECONDS:
            self._look_for_partitions()
        deadline = time.monotonic() + timeout_seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            first = self._consumer.consume(1, timeout=left)
            records = [record_of(message) for message in first if message.error() is None]
            if records:
                more = self._consumer.consume(limit - 1, timeout=0) if limit > 1 else []
                return records + [record_of(message) for message in more if message.error() is None]
            if not left:
                return []

    def close(self) -> None:
        """Leave; the reader can't be used afterwards."""
        self._consumer.close()

    def __enter__(self) -> Self:
        """The reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _look_for_partitions(self) -> None:
        try:
            self._assign_new_partitions(timeout_seconds=1.0)
        except BrokerUnavailable:
            self._looked_at = time.monotonic()  # away: what we have goes on, we look again later

    def _assign_new_partitions(self, timeout_seconds: float | None = None) -> list[tuple[str, int]]:
        known = {(one.topic, one.partition) for one in self._consumer.assignment()}
        wait = ANSWER_SECONDS if timeout_seconds is None else timeout_seconds
        new = [one for name in self._topics for one in self._partitions(name, wait) if one not in known]
        if new:
            self._consumer.incremental_assign([TopicPartition(topic, number, self._begin) for topic, number in new])
        self._looked_at = time.monotonic()
        return new

    def _partitions(self, topic: str, timeout_seconds: float) -> list[tuple[str, int]]:
        try:
            found = self._consumer.list_topics(topic, timeout=timeout_seconds).topics[topic]
        except KafkaException as error:
            raise BrokerUnavailable(f"No Kafka broker answers on {self._bootstrap}.") from error
        if not found.partitions:
            raise ConfigurationError(f"The topic {topic} does not exist: run `ibook topics apply`.")
        return [(topic, number) for number in sorted(found.partitions)]


def record_of(message: Message) -> Record:
    """A message as it lies in its partition."""
    return Record(
        topic=str(message.topic()),
        partition=int(message.partition() or 0),
        offset=int(message.offset() or 0),
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=headers_of(message),
    )


_HEADERS = methodcaller("headers")
"""Where a name can't be decoded the client returns half a list beside its error. Called like this the interpreter looks
at both, and raises SystemError; its fast path for a plain method call would hand the half list over."""


def headers_of(message: Message) -> tuple[tuple[str, bytes], ...]:
    """A message's headers; none when one of their names is not UTF-8, which the client can't read past."""
    try:
        headers: Any = _HEADERS(message) or ()
    except SystemError:
        return ()
    return tuple((name, value if isinstance(value, bytes) else b"") for name, value in headers)
