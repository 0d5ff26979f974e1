"""Served verdicts and `entity-updates` against the archive and the source topics of one platform."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ibook.codec import decode
from ibook.completeness import Completeness, Pairs
from ibook.edges.archive import Archive, archive_to_the_end
from ibook.edges.bulk import Lying, Place, Span, committed, read_bulk, spans
from ibook.edges.freshness import percentiles_ms
from ibook.edges.kafka_admin import list_topics
from ibook.entities import EntityUpdate, Source, is_future, source_message, source_slot, update_of
from ibook.errors import ConfigurationError, InvalidMessage
from ibook.features import FEATURE_NAMES
from ibook.parity import Parity, Values
from ibook.settings import Settings
from ibook.topics import ENTITY_UPDATES, FEATURE_SOURCES, FRAUD_EVIDENCE, TICKET_PURCHASES

FEATURE_GROUP = "activity-to-entities"
WAIT_SECONDS = 60.0
"""Longest we wait for workers that run to finish what the topics hold."""
COMPARED = tuple(topic.name for topic in FEATURE_SOURCES if not topic.compacted)
"""Compacted topics forget messages that were sent on: they can't be compared."""


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """What the comparison came to."""

    values: Values
    pairs: Pairs
    updates_waiting: int
    """Source messages that `activity-to-entities` has not finished: nothing is expected of them yet."""
    live: bool
    """Whether the workers run: then nothing may be left waiting."""
    seconds: float

    @property
    def sound(self) -> bool:
        """Every value equal, every update there, none too many; and something was compared at all."""
        stuck = self.live and self.updates_waiting
        differs = self.values.mismatches or self.pairs.missing or self.pairs.extra
        return bool(self.values.values_checked) and not (differs or stuck)

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        values, pairs = self.values, self.pairs
        return {
            "features": len(FEATURE_NAMES),
            "verdicts": values.verdicts,
            "values_checked": values.values_checked,
            "mismatches": values.mismatches,
            "updates_missing": pairs.missing,
            "updates_extra": pairs.extra,
            "mismatches_by_feature": dict(values.mismatches_by_feature),
            "staleness_ms": percentiles_ms(values.staleness_s),
            "staleness_all_ms": percentiles_ms(values.staleness_all_s),
            "missed_ms": {entity: percentiles_ms(found) for entity, found in values.missed_s.items()},
            "miscounted_by_entity": dict(values.miscounted_by_entity),
            "verdicts_of_other_features": values.verdicts_of_other_features,
            "updates_expected": pairs.expected,
            "updates_repeated": pairs.repeated,
            "updates_waiting": self.updates_waiting,
            "missing_by_entity": dict(pairs.missing_by_entity),
            "extra_by_entity": dict(pairs.extra_by_entity),
            "examples": self.examples(),
            "seconds": round(self.seconds, 1),
        }

    def examples(self) -> list[str]:
        """One sentence for each feature or entity that disagrees."""
        shown = [
            f"{name}: transaction {each.transaction_id} ({each.entity} {each.key}) was served {each.recorded:g}, "
            f"the log gives {each.recomputed:g}."
            for name, each in self.values.examples.items()
        ]
        said = [*self.values.miscounted.values(), *self.pairs.examples.values()]
        return [*shown, *(f"{sentence}." for sentence in said)]


def check_parity(settings: Settings, *, live: bool, say: Callable[[str], None] = lambda sentence: None) -> ParityReport:
    """Recompute, compare and count, up to where the topics end now.

    `live`: the workers run, and are waited for; otherwise what is left is archived here. Raises BrokerUnavailable,
    ConfigurationError.
    """
    began = time.monotonic()
    partitions = list_topics(settings).get(ENTITY_UPDATES.name, 0)
    held = spans(settings, COMPARED)
    sent = _sent(settings, held, live=live)
    archived(settings, live=live)
    archive = Archive(settings.data_dir / "archive")
    parity, completeness = Parity(), Completeness(partitions)
    say("Reading what was served.")
    for evidence in archive.evidence():
        parity.take(evidence)
    furthest = {p: offset + 1 for p, offset in parity.furthest().items()}
    if live:  # verdicts go on while we read, and may have read states of updates that are not archived yet
        _wait_for_archive(settings, {ENTITY_UPDATES.name: furthest})
    say("Reading the source topics.")
    _expect(settings, held, completeness, parity)
    say("Folding the log.")
    _fold(archive, partitions, parity, completeness)
    below = {source_slot(*place): offset for place, offset in sent.items()}
    waiting = sum(max(0, span.end - max(span.first, sent[place])) for place, span in held.items())
    return ParityReport(
        values=parity.values, pairs=completeness.compare(below), updates_waiting=waiting, live=live,
        seconds=time.monotonic() - began,
    )  # fmt: skip


def _sent(settings: Settings, held: Mapping[Place, Span], *, live: bool) -> dict[Place, int]:
    """Up to where each source partition has been sent on; workers that run are given the time to finish."""
    deadline = time.monotonic() + (WAIT_SECONDS if live else 0)
    while True:
        sent = committed(settings, FEATURE_GROUP, held)
        if all(sent[place] >= span.end for place, span in held.items()) or time.monotonic() >= deadline:
            return sent
        time.sleep(0.3)


def archived(settings: Settings, *, live: bool) -> None:
    """See to it that all updates and evidence that the topics hold now are in the archive.

    `live`: a sink runs and is waited for. Raises BrokerUnavailable, ConfigurationError.
    """
    if not live:
        archive_to_the_end(settings)
        return
    wanted: dict[str, dict[int, int]] = {}
    for (topic, partition), span in spans(settings, [ENTITY_UPDATES.name, FRAUD_EVIDENCE.name]).items():
        if span.first < span.end:
            wanted.setdefault(topic, {})[partition] = span.end
    _wait_for_archive(settings, wanted)


def _wait_for_archive(settings: Settings, wanted: Mapping[str, Mapping[int, int]]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while behind := _behind(settings, wanted):
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"The archive is {behind} records behind and does not follow: does `updates-to-archive` run?"
            )
        time.sleep(0.3)


def _behind(settings: Settings, wanted: Mapping[str, Mapping[int, int]]) -> int:
    behind = 0
    for topic, ends in wanted.items():
        reached = Archive(settings.data_dir / "archive").next_offsets(topic)
        behind += sum(max(0, end - reached.get(partition, 0)) for partition, end in ends.items())
    return behind


def _expect(settings: Settings, held: Mapping[Place, Span], completeness: Completeness, parity: Parity) -> None:
    """The updates that the source topics ask for."""
    for (topic, partition), span in held.items():
        completeness.open(source_slot(topic, partition), *span)
    for topic, lying in read_bulk(settings, held):
        update = update_from(topic, lying)
        if update is not None:
            completeness.expect(update)
            if topic == TICKET_PURCHASES.name:
                parity.purchases.seen(update)


def update_from(topic: str, lying: Lying) -> EntityUpdate | None:
    """The update that a source message gives; None when it can't be read, or claims to come from the future."""
    try:
        message: Source = decode(lying.value, source_message(topic))
    except InvalidMessage:
        return None
    if is_future(message, lying.broker_ms * 1000):
        return None
    return update_of(message, source_slot(topic, lying.partition), lying.offset, lying.broker_ms)


def _fold(archive: Archive, partitions: int, parity: Parity, completeness: Completeness) -> None:
    ends = archive.next_offsets(ENTITY_UPDATES.name)
    for partition in range(partitions):
        recomputation = parity.partition(partition)
        for logged in archive.updates(partition=partition):
            recomputation.feed(logged.offset, logged.update)
            completeness.sent(partition, logged.update)
        recomputation.finish(ends.get(partition, 0))
