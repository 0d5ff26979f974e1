"""Stretches of the log, read as they lie there: bounded, blocking, in no group."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ibook.errors import BrokerUnavailable

SILENT_SECONDS = 10.0
"""Longest we wait for the next message, or for one answer."""
AT_ONCE = 10_000
LINGER_SECONDS = 0.05
"""`consume` waits for all it was asked for or its timeout, so the timeout is what a short read costs."""


class Stretch(NamedTuple):
    """Offsets `[start, end)` of a partition."""

    topic: str
    partition: int
    start: int
    end: int


def log_reader(bootstrap: str, *, uncommitted: bool = False, options: Mapping[str, Any] | None = None) -> Consumer:
    """A consumer for the functions below; close it.

    `uncommitted` reads what open and aborted transactions hold too; `options` are librdkafka's, ours overrule them.
    """
    return Consumer(
        {
            **(options or {}),
            "bootstrap.servers": bootstrap,
            "group.id": "log",  # asked for by the client; nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted" if uncommitted else "read_committed",
            "log_level": 0,
        }
    )


def offset_at(consumer: Consumer, topic: str, partition: int, broker_ms: int, end: int) -> int:
    """The first offset whose broker time is not before `broker_ms`; `end` when all are. Raises KafkaException."""
    asked = [TopicPartition(topic, partition, max(0, broker_ms))]
    found = consumer.offsets_for_times(asked, timeout=SILENT_SECONDS)[0]
    if found.error is not None:
        raise KafkaException(found.error)
    return found.offset if found.offset >= 0 else end


def read(consumer: Consumer, stretches: Iterable[Stretch]) -> Iterator[Message]:
    """The messages of some stretches, in order within each; what the log no longer holds is left out.

    Raises KafkaException, and BrokerUnavailable when nothing comes for SILENT_SECONDS.
    """
    missing = {(one.topic, one.partition): one for one in stretches if one.start < one.end}
    if not missing:
        return
    consumer.assign([TopicPartition(topic, partition, one.start) for (topic, partition), one in missing.items()])
    heard = time.monotonic()
    while missing:
        messages = consumer.consume(AT_ONCE, LINGER_SECONDS)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENT_SECONDS:
            place = next(iter(missing.values()))
            raise BrokerUnavailable(f"{place.topic}:{place.partition} stays silent before offset {place.end}.")
        for message in messages:
            place_of, offset = _place(message), message.offset() or 0
            stretch, is_end = missing.get(place_of), _is_end(message)
            if stretch is None:
                continue
            if not is_end and offset < stretch.end:
                yield message
            if (offset if is_end else offset + 1) >= stretch.end:
                del missing[place_of]
                consumer.incremental_unassign([TopicPartition(*place_of)])


def _place(message: Message) -> tuple[str, int]:
    return str(message.topic()), int(message.partition() or 0)


def _is_end(message: Message) -> bool:
    """Whether this says that a partition's end, for now, is reached: at its offset. Raises KafkaException."""
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    return error is not None
