"""Does `entity-updates` hold each message of the source topics, for each entity it touches, and nothing else?

One byte per source message says for which of the eight entities an update is due, another for which one was sent.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ibook.entities import ENTITIES, EntityName, EntityUpdate, source_of
from ibook.partitioning import partition_of

_BIT: dict[EntityName, int] = {entity: 1 << index for index, entity in enumerate(ENTITIES)}


@dataclass
class Pairs:
    """(entity, message) pairs that `entity-updates` lacks, or should not have."""

    expected: int = 0
    missing_by_entity: Counter[str] = field(default_factory=Counter)
    extra_by_entity: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    """Sent twice, as after a kill: folding skips the second."""
    examples: dict[str, str] = field(default_factory=dict)
    """The first of each kind and entity, in words."""

    @property
    def missing(self) -> int:
        """Pairs that were never sent."""
        return self.missing_by_entity.total()

    @property
    def extra(self) -> int:
        """Pairs that no source message asks for, and those sent to another partition than their entity's."""
        return self.extra_by_entity.total()


class _Source:
    """One source partition, from its first kept offset up to, not including, `end`."""

    def __init__(self, first: int, end: int) -> None:
        self.first = first
        self.expected: NDArray[np.uint8] = np.zeros(max(0, end - first), np.uint8)
        self.sent = np.zeros_like(self.expected)


class Completeness:
    """Compares what is due with what was sent. Source partitions that are not `open`ed are left out."""

    def __init__(self, n_partitions: int) -> None:
        self._n_partitions = n_partitions
        self._sources: dict[int, _Source] = {}
        self._pairs = Pairs()

    def open(self, source: int, first: int, end: int) -> None:
        """A source partition holds the offsets from `first` up to, not including, `end`."""
        self._sources[source] = _Source(first, end)

    def expect(self, update: EntityUpdate) -> None:
        """A source message gives this update; one that can't be read, or lies in the future, gives none."""
        source = self._sources[update.source]
        source.expected[update.offset - source.first] = _mask(update.entities)

    def sent(self, partition: int, update: EntityUpdate) -> None:
        """`entity-updates` holds this update in this partition."""
        source = self._sources.get(update.source)
        if source is None or not 0 <= update.offset - source.first < len(source.sent):
            return
        place = update.offset - source.first
        for entity in update.entities:
            if partition_of(f"{entity}:{update.fact.ids[entity]}", self._n_partitions) != partition:
                self._extra(entity, f"{entity} {update.fact.ids[entity]} has an update in partition {partition}")
                continue
            bit = _BIT[entity]
            if source.sent[place] & bit:
                self._pairs.repeated += 1
            source.sent[place] |= bit

    def compare(self, sent_below: dict[int, int]) -> Pairs:
        """What is missing below the offset up to which each source was sent, and what is there and not due."""
        for slot, source in sorted(self._sources.items()):
            due = source.expected.copy()
            due[max(0, sent_below.get(slot, 0) - source.first) :] = 0
            for entity, bit in _BIT.items():
                self._pairs.expected += int(np.count_nonzero(due & bit))
                missing = np.flatnonzero(due & ~source.sent & bit)
                extra = np.flatnonzero(source.sent & ~source.expected & bit)
                if len(missing):
                    self._pairs.missing_by_entity[entity] += len(missing)
                    sentence = f"no update of its {entity} for {_named(slot, source.first + int(missing[0]))}"
                    self._pairs.examples.setdefault(f"missing {entity}", sentence)
                for place in extra:
                    self._extra(entity, f"{_named(slot, source.first + int(place))} asks for no update of a {entity}")
        return self._pairs

    def _extra(self, entity: EntityName, sentence: str) -> None:
        self._pairs.extra_by_entity[entity] += 1
        self._pairs.examples.setdefault(f"extra {entity}", sentence)


def _mask(entities: list[EntityName]) -> int:
    return sum(_BIT[entity] for entity in entities)


def _named(slot: int, offset: int) -> str:
    topic, partition = source_of(slot)
    return f"{topic}:{partition} at offset {offset}"
