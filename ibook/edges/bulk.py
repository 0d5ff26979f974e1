"""Whole topics, read once from their first kept message to a fixed end: for what is compared, counted or rebuilt."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ibook.edges.kafka import ANSWER_SECONDS, extent
from ibook.errors import BrokerUnavailable, ConfigurationError
from ibook.settings import Settings

SILENT_SECONDS = 30.0
"""Longest we wait for the next message below the end."""
Place = tuple[str, int]
"""Topic and partition."""


class Span(NamedTuple):
    """What a partition holds: offsets from `first` up to, not including, `end`."""

    first: int
    end: int


class Lying(NamedTuple):
    """A message as it lies in its topic."""

    partition: int
    offset: int
    broker_ms: int
    key: bytes | None
    value: bytes | None


def spans(settings: Settings, topics: Iterable[str]) -> dict[Place, Span]:
    """What each partition of the topics holds now. Raises BrokerUnavailable, ConfigurationError for no such topic."""
    with _consumer(settings, "bulk") as consumer:
        found = consumer.list_topics(timeout=ANSWER_SECONDS).topics
        held = {}
        for topic in topics:
            if topic not in found:
                raise ConfigurationError(f"The topic {topic} does not exist: run `ibook topics apply`.")
            for partition in found[topic].partitions:
                place = TopicPartition(topic, partition)
                held[topic, partition] = Span(*extent(consumer, place))
        return held


def committed(settings: Settings, group: str, places: Iterable[Place]) -> dict[Place, int]:
    """The first offset that a group has not finished in each place; 0 where it has finished nothing."""
    with _consumer(settings, group) as consumer:
        asked = [TopicPartition(*place) for place in places]
        answered = consumer.committed(asked, timeout=ANSWER_SECONDS) if asked else []
        return {(each.topic, each.partition): max(0, each.offset) for each in answered}


def read_bulk(settings: Settings, held: Mapping[Place, Span]) -> Iterator[tuple[str, Lying]]:
    """Every message of these spans with its topic, in order within a partition. Raises BrokerUnavailable."""
    left = {place: span for place, span in held.items() if span.first < span.end}
    with _consumer(settings, "bulk") as consumer:
        consumer.assign([TopicPartition(*place, span.first) for place, span in left.items()])
        deadline = time.monotonic() + SILENT_SECONDS
        while left:
            # `consume` waits for all it was asked for, or its timeout: so the timeout is what the end costs.
            for message in consumer.consume(10_000, timeout=0.1):
                deadline = time.monotonic() + SILENT_SECONDS
                place, offset = (str(message.topic()), message.partition() or 0), message.offset() or 0
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is not None or offset + 1 >= held[place].end:  # compaction may have taken what lay at the end
                    left.pop(place, None)
                if error is None and offset < held[place].end:
                    lying = Lying(place[1], offset, message.timestamp()[1], message.key(), message.value())
                    yield place[0], lying
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"Kafka on {settings.kafka_bootstrap} does not deliver {sorted(left)}.")


@contextmanager
def _consumer(settings: Settings, group: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        yield consumer
    except KafkaException as error:
        raise BrokerUnavailable(f"Kafka on {settings.kafka_bootstrap} does not answer: {error}.") from error
    finally:
        consumer.close()
