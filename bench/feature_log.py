"""A shop's messages as `entity-updates` and as a changelog, written straight into Kafka for the feature bench."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ibook import entities
from ibook.clock import SystemClock, to_us
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.entities import EntityName, EntityUpdate, EntityUpdates, Watermark
from ibook.messages import Message
from ibook.partitioning import partition_of
from ibook.settings import Settings
from ibook.topics import ENTITY_UPDATES, FEATURE_SOURCES
from simulator.history import generate

CHANGELOG = "entities-to-features-states-changelog"
BATCH_MESSAGES = 1000
"""Messages that `activity_to_entities` groups at once, under load."""
RECORD_UPDATES = 200


def shop_updates(seed: int, purchases: int, partitions: int) -> list[EntityUpdate]:
    """An hour of a shop up to now, in the simulator's mix, as updates of all entities each message touches."""
    sources = {topic.name for topic in FEATURE_SOURCES}
    offsets: Counter[int] = Counter()
    updates = []
    for topic, key, message in generate(seed, datetime.now(UTC), 1.0, purchases):
        if topic in sources:
            slot = entities.source_slot(topic, partition_of(key, partitions))
            updates.append(_update(message, slot, offsets[slot]))
            offsets[slot] += 1
    return updates


def _update(message: Message, slot: int, offset: int) -> EntityUpdate:
    return entities.update_of(message, slot, offset, to_us(message.occurred_at) // 1000)  # type: ignore[arg-type]


def count_of(updates: Iterable[EntityUpdate]) -> int:
    """Updates of one entity each: what a fold counts."""
    return sum(len(update.entities) for update in updates)


def by_partition(updates: Sequence[EntityUpdate], partitions: int) -> dict[int, list[EntityUpdate]]:
    """Each partition's updates, for the entities that live there."""
    found: dict[int, list[EntityUpdate]] = {}
    for update in updates:
        homes: dict[int, list[EntityName]] = {}
        for entity in update.entities:
            homes.setdefault(partition_of(f"{entity}:{update.fact.ids[entity]}", partitions), []).append(entity)
        for partition, names in homes.items():
            found.setdefault(partition, []).append(
                EntityUpdate(update.source, update.offset, update.broker_ms, names, update.fact)
            )
    return found


def preload_updates(settings: Settings, updates: Sequence[EntityUpdate]) -> None:
    """Write the updates to `entity-updates`, grouped as its worker groups them, and then that they are complete."""
    for start in range(0, len(updates), BATCH_MESSAGES):
        groups = by_partition(updates[start : start + BATCH_MESSAGES], settings.partitions)
        publish_records(settings, groups)
    now_us = to_us(SystemClock().now())
    marks = [
        Watermark(entities.source_slot(topic.name, p), 1 << 40, now_us)
        for topic in FEATURE_SOURCES
        for p in range(settings.partitions)
    ]
    payload = entities.pack(EntityUpdates([], marks))
    publish(
        producer(settings),
        [Outgoing(topic=ENTITY_UPDATES.name, value=payload, partition=p) for p in range(settings.partitions)],
    )


def publish_records(settings: Settings, groups: dict[int, list[EntityUpdate]]) -> None:
    """Write each partition's updates, 200 to a record."""
    publish(
        producer(settings),
        [
            Outgoing(topic=ENTITY_UPDATES.name, value=entities.pack(EntityUpdates(part, [])), partition=partition)
            for partition, group in groups.items()
            for start in range(0, len(group), RECORD_UPDATES)
            for part in [group[start : start + RECORD_UPDATES]]
        ],
    )


def preload_changelog(settings: Settings, values: Sequence[bytes], count: int) -> None:
    """Write `count` states of as many cards to the changelog; their values are some of `values`."""
    client = producer(settings, {"linger.ms": 20, "queue.buffering.max.messages": 500_000})
    for number in range(count):
        while True:
            try:
                client.produce(
                    CHANGELOG, values[number % len(values)], f"card:bench-{number}".encode(),
                    partition=number % settings.partitions,
                )  # fmt: skip
                break
            except BufferError:
                client.poll(0.1)
        if number % 1000 == 0:
            client.poll(0)
    client.flush(60)
