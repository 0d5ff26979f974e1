"""Activity, purchases, outcomes, labels, inventory -> one update per entity touched, in the entity's own partition."""

import asyncio
from collections import Counter
from collections.abc import Container, Mapping, Sequence

import faust
import msgspec
import structlog
from faust.types import TP, AppT

from ibook import entities, metrics
from ibook.clock import Clock, SystemClock, to_us
from ibook.codec import decode
from ibook.entities import EntityName, EntityUpdate, EntityUpdates, Watermark
from ibook.errors import InvalidMessage
from ibook.failing import OwnFailures
from ibook.letters import UNHANDLED
from ibook.partitioning import partition_of
from ibook.settings import Settings
from ibook.topics import BY_NAME, ENTITY_UPDATES, FEATURE_SOURCES
from streams.app import Event, Stream, create_app, is_at_end, raw_topic
from streams.batches import acknowledge, each_batch
from streams.dead_letters import publish_dead_letters, unhandled
from streams.fetching import GATHERING_SECONDS
from streams.leaving import TICK_SECONDS, every
from streams.offsets import committed_offsets
from streams.publish import Record, publish_all

log = structlog.get_logger()

NAME = "activity-to-entities"
SOURCES = tuple(topic.name for topic in FEATURE_SOURCES)
UPDATES_PER_RECORD = 200
"""An update is a few hundred bytes, and with the longest ids we accept some 3 KiB: a record fits a batch."""
LINGER_SECONDS = 0.01
"""What one fetch brought is a batch: it takes some milliseconds until all of it is handed over."""


class Progress:
    """How far each source partition has been sent: what the heartbeats downstream are made of."""

    def __init__(self) -> None:
        self._sent: dict[TP, tuple[int, int]] = {}

    def assign(self, sent: Mapping[TP, int]) -> None:
        """The partitions held now, each with the offset below which all had been sent before.

        What was sent since `forget` counts: the first messages may come before the broker has said where we stand.
        """
        self._sent = {tp: max((offset - 1, 0), self._sent.get(tp, (-1, 0))) for tp, offset in sent.items()}

    def forget(self) -> None:
        """Partitions move: others may have gone further when they come back."""
        self._sent = {}

    def advance(self, tp: TP, offset: int, broker_us: int) -> None:
        """Everything of a partition up to `offset`, which the broker took at `broker_us`, has been sent."""
        self._sent[tp] = (offset, broker_us)

    def sent(self) -> dict[TP, int]:
        """The offset each partition has been sent up to."""
        return {tp: offset for tp, (offset, _) in self._sent.items()}

    def watermarks(self, at_end: Container[TP], now_us: int) -> list[Watermark]:
        """One watermark per partition that has got anywhere; one whose end has been sent is as fresh as now."""
        return [
            Watermark(entities.source_slot(tp.topic, tp.partition), offset, now_us if tp in at_end else broker_us)
            for tp, (offset, broker_us) in self._sent.items()
            if tp in at_end or broker_us > 0
        ]


def updates_by_partition(
    events: Sequence[Event], partitions: int, failures: OwnFailures
) -> tuple[dict[int, list[EntityUpdate]], list[tuple[Event, InvalidMessage]]]:
    """The updates of a batch grouped by target partition, in order, and what could not be read.

    Raises OwnCodeFails when our own code fails on one message after another; a lone one is dead-lettered, `unhandled`.
    """
    groups: dict[int, list[EntityUpdate]] = {}
    rejected: list[tuple[Event, InvalidMessage]] = []
    for event in events:
        try:
            update = _update(event)
            homes = _homes(update, partitions)
        except InvalidMessage as error:
            rejected.append((event, error))
            continue
        except Exception as error:  # a bug, and no reason to count nothing else
            rejected.append((event, unhandled(event, error, failures)))
            continue
        failures.worked()
        for partition, names in homes.items():
            groups.setdefault(partition, []).append(msgspec.structs.replace(update, entities=names))
    return groups, rejected


def _homes(update: EntityUpdate, partitions: int) -> dict[int, list[EntityName]]:
    """The entities of an update by the partition that holds their state."""
    homes: dict[int, list[EntityName]] = {}
    for entity in update.entities:
        homes.setdefault(partition_of(f"{entity}:{update.fact.ids[entity]}", partitions), []).append(entity)
    return homes


def _update(event: Event) -> EntityUpdate:
    message = event.message
    decoded: entities.Source = decode(message.value, entities.source_message(message.topic))
    if entities.is_future(decoded, int(message.timestamp * 1_000_000)):
        metrics.UPDATES_SKIPPED.labels("future").inc()
        raise InvalidMessage("future", f"occurred_at {decoded.occurred_at.isoformat()} is ahead of the broker's clock")
    slot = entities.source_slot(message.topic, message.partition)
    return entities.update_of(decoded, slot, message.offset, int(message.timestamp * 1000))


def _records(groups: Mapping[int, list[EntityUpdate]]) -> dict[int, list[Record]]:
    return {
        partition: [
            Record(None, entities.pack(EntityUpdates(updates[start : start + UPDATES_PER_RECORD], [])))
            for start in range(0, len(updates), UPDATES_PER_RECORD)
        ]
        for partition, updates in groups.items()
    }


async def send_batch(
    app: AppT, events: Sequence[Event], progress: Progress, partitions: int, clock: Clock, failures: OwnFailures
) -> None:
    """Send the updates of a batch, dead-letter what is ours to dead-letter, acknowledge. Raises OwnCodeFails."""
    groups, rejected = updates_by_partition(events, partitions, failures)
    await publish_all(app, ENTITY_UPDATES.name, _records(groups))
    ours = [
        (event, error)
        for event, error in rejected
        if error.reason == UNHANDLED or BY_NAME[event.message.topic].dead_letters_by == "features"
    ]
    await publish_dead_letters(app, ours, clock=clock)
    for event in events:
        progress.advance(event.message.tp, event.message.offset, int(event.message.timestamp * 1_000_000))
    acknowledge(events)
    sent = Counter(entity for updates in groups.values() for update in updates for entity in update.entities)
    for entity, count in sent.items():
        metrics.UPDATES_SENT.labels(entity).inc(count)


def create(settings: Settings, clock: Clock | None = None) -> faust.App:
    """The worker's Faust app."""
    clock = clock or SystemClock()
    app = create_app(NAME, settings, GATHERING_SECONDS)
    progress = Progress()
    sending = asyncio.Lock()
    failures = OwnFailures(settings.own_failures, settings.own_failure_share)

    @app.on_partitions_revoked.connect(weak=False)
    async def _hand_over(sender: AppT, revoked: set[TP], **_: object) -> None:
        async with sending:
            progress.forget()

    @app.on_partitions_assigned.connect(weak=False)
    async def _start_from_committed(sender: AppT, assigned: set[TP], **_: object) -> None:
        ours = {tp for tp in assigned if tp.topic in SOURCES}
        progress.assign(await asyncio.to_thread(committed_offsets, settings, NAME, ours))

    async def _handle(batch: list[Event]) -> None:
        async with sending:
            await send_batch(app, batch, progress, settings.partitions, clock, failures)

    @app.agent(raw_topic(app, *SOURCES), concurrency=1)
    async def activity_to_entities(stream: Stream) -> None:
        await each_batch(stream, _handle, limit=1000, linger_seconds=LINGER_SECONDS)

    async def _send_watermarks() -> None:
        async with sending:
            at_end = {tp for tp, done in progress.sent().items() if await is_at_end(app, tp, done)}
            marks = progress.watermarks(at_end, to_us(clock.now()))
            if marks:
                record = Record(None, entities.pack(EntityUpdates([], marks)))
                everywhere = {partition: [record] for partition in range(settings.partitions)}
                await publish_all(app, ENTITY_UPDATES.name, everywhere)

    every(app, TICK_SECONDS, _send_watermarks)
    return app
