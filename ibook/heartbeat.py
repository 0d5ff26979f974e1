"""How fresh the online store is: the age of the feature workers' progress, not of an entity's last message.

A card quiet for three days is not stale. Each partition of `entity-updates` has a heartbeat row, written after every
state that it vouches for.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from ibook.entities import Watermark, source_slot
from ibook.topics import FEATURE_SOURCES


class Heartbeat(Struct, frozen=True, array_like=True):
    """Everything up to `positions`, as old as `broker_us` in broker time, can be read in the online store."""

    broker_us: int
    positions: dict[int, int]
    """Source slot -> offset."""
    updates_offset: int = -1
    """Of the newest record of the partition of `entity-updates` whose states were pushed before this was written."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Heartbeat)


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """The row's value."""
    return _encoder.encode(heartbeat)


def decode_heartbeat(payload: bytes) -> Heartbeat:
    """Read a row's value. Raises msgspec.DecodeError."""
    return _decoder.decode(payload)


def expected_sources(partitions: int) -> frozenset[int]:
    """The source slots a heartbeat must know of before it says anything."""
    return frozenset(source_slot(topic.name, p) for topic in FEATURE_SOURCES for p in range(partitions))


class Watermarks:
    """The newest watermark of every source partition, as one partition of `entity-updates` has heard of them."""

    def __init__(self, expected: frozenset[int]) -> None:
        self._expected = expected
        self._marks: dict[int, Watermark] = {}

    def hear(self, marks: Iterable[Watermark]) -> None:
        """Take in watermarks; one that is behind what was heard before (a redelivery) changes nothing."""
        for mark in marks:
            known = self._marks.get(mark.source)
            if known is None or (mark.offset, mark.broker_us) > (known.offset, known.broker_us):
                self._marks[mark.source] = mark

    def heartbeat(self, updates_offset: int = -1) -> Heartbeat | None:
        """What the marks add up to, or None while a source partition has not been heard of."""
        if not self._expected <= self._marks.keys():
            return None
        marks = [self._marks[source] for source in sorted(self._expected)]
        positions = {mark.source: mark.offset for mark in marks}
        return Heartbeat(min(mark.broker_us for mark in marks), positions, updates_offset)


def oldest(heartbeats: Sequence[Heartbeat | None]) -> int | None:
    """Broker time of the oldest heartbeat in microseconds, or None when one is missing."""
    known = [each.broker_us for each in heartbeats if each is not None]
    return min(known) if known and len(known) == len(heartbeats) else None


def offset_of(heartbeats: Sequence[Heartbeat | None], source: int) -> int:
    """The offset of a source that every heartbeat has reached; -1 when one does not know it."""
    positions: list[Mapping[int, int]] = [each.positions if each else {} for each in heartbeats]
    return min((each.get(source, -1) for each in positions), default=-1)
