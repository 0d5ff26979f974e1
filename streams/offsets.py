"""Where a group stands, asked of the broker: blocking, for start-up and rebalances only."""

from collections.abc import Iterable

from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition
from faust.types import TP

from ibook.edges.kafka import extent
from ibook.settings import Settings

TIMEOUT_SECONDS = 10.0


def committed_offsets(settings: Settings, group: str, tps: Iterable[TP]) -> dict[TP, int]:
    """The next offset each partition would be read from: committed, or the earliest there is."""
    asked = [TopicPartition(tp.topic, tp.partition) for tp in tps]
    if not asked:
        return {}
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        found: dict[TP, int] = {}
        for each in consumer.committed(asked, timeout=TIMEOUT_SECONDS):
            offset = each.offset
            if offset == OFFSET_INVALID or offset < 0:
                offset, _ = extent(consumer, each, TIMEOUT_SECONDS)
            found[TP(each.topic, each.partition)] = offset
        return found
    finally:
        consumer.close()
