"""Window states: a pyramid of tiles that folds facts in event time and answers for any instant.

A state holds tiles of growing hop: the last minute in seconds, the last day in tiles of twenty minutes. A tile moves
to the next level when it is older than that level's horizon, judged by the latest event time the state has seen; which
tile a fact lands in therefore depends on the set of facts, not on their order. The tail of a window is rounded up to
one hop, at most 1/60 of the window.

Everything here is pure, event time only, and integer: the same facts give the same bytes on any machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec import Struct

from ibook.entities import EntityUpdate, Fact

SECOND = 1_000_000
HOPS_S = (1, 10, 60, 1200, 43200)
"""Hop of each level in seconds; each divides the next."""
WINDOWS_OF_LEVEL_S = (60, 600, 3600, 86400, 30 * 86400)
"""Longest window each level serves: 60 hops, so that a window's tail is rounded by at most 1/60 of it."""
HORIZONS_S = (90, 780, 4800, 36 * 3600, 31 * 86400)
"""How old a tile of each level may grow: the longest window plus room for purchases that arrive late.

Each is a multiple of the next level's hop, so that a level ends where a tile of the next one does.
"""

_NEXT_HOPS_S = (*HOPS_S[1:], HOPS_S[-1])
_CUTOFF_STEP_US = HOPS_S[1] * SECOND

Operation = Literal["count", "sum", "max", "distinct", "last", "first_time", "last_time"]
FoldResult = Literal["folded", "redelivered", "repeated"]
RECENT_MESSAGES = 32
DISTINCT_CAP = 32
"""Distinct values kept per tile; from so many on the smallest hashes stay (a KMV sketch, independent of order)."""


@dataclass(frozen=True)
class Measure:
    """What a state keeps: an operation over facts of some kinds.

    `field` is a number of the fact for sum, max and last, an id for distinct. `longest_s` is the longest window
    that asks for it: older tiles drop it. Last, first_time and last_time are kept for life, outside the tiles.
    """

    operation: Operation
    kinds: frozenset[str]
    field: str = ""
    longest_s: int = 0


# gc=False on the structs below: they hold no cycles, and the collector need not visit tens of thousands of them.
class Tile(Struct, array_like=True, gc=False):
    """What happened in `[start, start + hop of level)`, seconds since the epoch."""

    start: int
    level: int
    numbers: dict[int, int]
    """Measure index -> count, sum or maximum."""
    sets: dict[int, list[int]]
    """Measure index -> sorted 32-bit hashes."""


class WindowState(Struct, array_like=True, gc=False):
    """All that is known of one entity, up to a position in every source."""

    layout: int
    """Fingerprint of the measures; a state of another layout is never misread."""
    stamp_us: int = 0
    """Event timestamp of the online store's row: strictly increasing, the same on every replay."""
    latest_us: int = 0
    """Latest event time folded."""
    updates_offset: int = -1
    """Offset in `entity-updates` up to which this state is the fold."""
    positions: dict[int, int] = {}
    """Source slot -> last folded offset."""
    times_us: dict[int, int] = {}
    """Measure index -> first or last time its kinds happened; kept for life."""
    last_value: dict[int, tuple[int, str, int]] = {}
    """Measure index -> (time, message id, value) of the latest fact: ties break by message id."""
    tiles: list[Tile] = []
    """Oldest first; older tiles are never finer than younger ones."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(WindowState)


def encode_state(state: WindowState) -> bytes:
    """The state as bytes; folding the same log gives the same bytes."""
    return _encoder.encode(state)


def decode_state(payload: bytes) -> WindowState:
    """Read what `encode_state` wrote. Raises msgspec.DecodeError."""
    return _decoder.decode(payload)


class StoredState(Struct, array_like=True, gc=False):
    """What a worker keeps of an entity: its state, and what catches the shop's own repeats."""

    state: WindowState
    recent: list[int] = []
    """Hashes of the latest message ids, oldest first; never pushed."""


_stored_decoder = msgspec.msgpack.Decoder(StoredState)


def encode_stored(stored: StoredState) -> bytes:
    """The stored state as bytes."""
    return _encoder.encode(stored)


def decode_stored(payload: bytes) -> StoredState:
    """Read what `encode_stored` wrote. Raises msgspec.DecodeError."""
    return _stored_decoder.decode(payload)


def level_of(window_s: int) -> int:
    """The finest level that serves a window of so many seconds.

    >>> [level_of(w) for w in (60, 600, 3600, 86400)]
    [0, 1, 2, 3]
    """
    for level, longest in enumerate(WINDOWS_OF_LEVEL_S):
        if window_s <= longest:
            return level
    raise ValueError(f"windows are at most {WINDOWS_OF_LEVEL_S[-1]} s, not {window_s}")


class Layout:
    """The measures of one entity, and the folding of facts into its states."""

    def __init__(self, measures: Sequence[Measure], *, shortest_s: int) -> None:
        """`shortest_s` is the shortest window anybody asks for: no tile is finer than it needs."""
        self.measures = tuple(measures)
        self.first_level = level_of(shortest_s)
        described = [(x.operation, sorted(x.kinds), x.field, x.longest_s) for x in measures]
        identity = repr((described, self.first_level))
        self.fingerprint = int.from_bytes(blake2b(identity.encode(), digest_size=4).digest(), "big")
        self._by_kind: dict[str, list[tuple[int, Measure]]] = {}
        for index, measure in enumerate(measures):
            for kind in sorted(measure.kinds):
                self._by_kind.setdefault(kind, []).append((index, measure))
        windows = [measure.longest_s for measure in measures if measure.longest_s]
        self.last_level = max((level_of(window) for window in windows), default=0)
        self._max_level = [level_of(x.longest_s) if x.longest_s else -1 for x in measures]

    def empty(self) -> WindowState:
        """The state of an entity nothing is known of."""
        return WindowState(
            self.fingerprint, positions={}, times_us={}, last_value={}, tiles=[],
        )  # fmt: skip

    def fold_stored(self, stored: StoredState, update: EntityUpdate) -> FoldResult:
        """Fold an update in place unless it was seen: at this position, or as a message the shop sent twice."""
        state = stored.state
        if update.offset <= state.positions.get(update.source, -1):
            return "redelivered"
        known = hash64(f"{update.fact.kind}:{update.fact.message_id}")  # a shop may reuse an order's id for its payment
        if known in stored.recent:
            self.skip(state, update)
            return "repeated"
        stored.recent = [*stored.recent[1 - RECENT_MESSAGES :], known]
        self.fold(state, update)
        return "folded"

    def fold(self, state: WindowState, update: EntityUpdate) -> bool:
        """Fold an update into a state, in place. False when the state had it already (a redelivery)."""
        if update.offset <= state.positions.get(update.source, -1):
            return False
        state.positions[update.source] = update.offset
        state.stamp_us = max(state.stamp_us + 1, update.fact.occurred_us)
        self._fold_fact(state, update.fact)
        return True

    def skip(self, state: WindowState, update: EntityUpdate) -> None:
        """Move past an update without counting it: its message was counted at another position."""
        state.positions[update.source] = max(state.positions.get(update.source, -1), update.offset)
        state.stamp_us += 1

    def _fold_fact(self, state: WindowState, fact: Fact) -> None:
        measures = self._by_kind.get(fact.kind)
        if not measures:
            return
        us = fact.occurred_us
        for index, measure in measures:
            if measure.operation == "first_time":
                state.times_us[index] = min(us, state.times_us.get(index, us))
            elif measure.operation == "last_time":
                state.times_us[index] = max(us, state.times_us.get(index, us))
            elif measure.operation == "last":
                candidate = (us, fact.message_id, fact.numbers[measure.field])
                state.last_value[index] = max(candidate, state.last_value.get(index, candidate))
        if us > state.latest_us:
            moved = us // _CUTOFF_STEP_US != state.latest_us // _CUTOFF_STEP_US
            state.latest_us = us
            if moved and state.tiles:
                self._age(state)
        level = self._level_for(state, us // SECOND)
        counted = [(index, measure) for index, measure in measures if self._max_level[index] >= level]
        if counted:
            tile = _find_or_insert(state.tiles, us // SECOND // HOPS_S[level] * HOPS_S[level], level)
            for index, measure in counted:
                _add(tile, index, measure, fact)

    def _level_for(self, state: WindowState, second: int) -> int:
        """The level whose tiles hold this event time; past `last_level` when every window has gone by."""
        for level, cutoff in enumerate(_cutoffs(state.latest_us // _CUTOFF_STEP_US)):
            if second >= cutoff:
                return max(level, self.first_level)
        return len(HOPS_S)

    def _age(self, state: WindowState) -> None:
        """Move tiles that are older than their level's horizon to the next level, or out."""
        cutoffs = _cutoffs(state.latest_us // _CUTOFF_STEP_US)
        kept: list[Tile] = []
        for tile in state.tiles:
            self._settle(tile, cutoffs)
            if tile.level > self.last_level:
                continue
            if kept and kept[-1].start == tile.start and kept[-1].level == tile.level:
                self._merge(kept[-1], tile)
            elif tile.numbers or tile.sets:
                kept.append(tile)
        state.tiles = kept

    def _settle(self, tile: Tile, cutoffs: Sequence[int]) -> None:
        """Raise a tile to the level its age belongs to, dropping what no longer window asks for."""
        while tile.level <= self.last_level and tile.start < cutoffs[tile.level]:
            tile.level += 1
            tile.numbers = {i: v for i, v in tile.numbers.items() if self._max_level[i] >= tile.level}
            tile.sets = {i: v for i, v in tile.sets.items() if self._max_level[i] >= tile.level}
        if tile.level <= self.last_level:
            tile.start = tile.start // HOPS_S[tile.level] * HOPS_S[tile.level]

    def _merge(self, into: Tile, tile: Tile) -> None:
        for index, value in tile.numbers.items():
            into.numbers[index] = _combine(self.measures[index], into.numbers.get(index), value)
        for index, hashes in tile.sets.items():
            into.sets[index] = sorted({*into.sets.get(index, ()), *hashes})[:DISTINCT_CAP]


@lru_cache(maxsize=4096)
def _cutoffs(step: int) -> tuple[int, ...]:
    """Start of the oldest tile each level keeps, in seconds, aligned to the next level's hop.

    `step` is the latest event time in steps of `_CUTOFF_STEP_US`: between two steps no cutoff moves.
    """
    latest_s = step * HOPS_S[1]
    return tuple(latest_s // hop * hop - horizon for hop, horizon in zip(_NEXT_HOPS_S, HORIZONS_S, strict=True))


def _combine(measure: Measure, old: int | None, new: int) -> int:
    if old is None:
        return new
    return max(old, new) if measure.operation == "max" else old + new


def _find_or_insert(tiles: list[Tile], start: int, level: int) -> Tile:
    position = len(tiles)
    while position and tiles[position - 1].start > start:
        position -= 1
    if position and tiles[position - 1].start == start and tiles[position - 1].level == level:
        return tiles[position - 1]
    tile = Tile(start, level, {}, {})
    tiles.insert(position, tile)
    return tile


def _add(tile: Tile, index: int, measure: Measure, fact: Fact) -> None:
    if measure.operation == "distinct":
        value = fact.ids.get(measure.field)
        if value is not None:
            hashes = tile.sets.setdefault(index, [])
            hashed = hash32(value)
            if hashed not in hashes:
                tile.sets[index] = sorted([*hashes, hashed])[:DISTINCT_CAP]
    elif measure.operation == "count":
        tile.numbers[index] = tile.numbers.get(index, 0) + 1
    elif measure.operation in ("sum", "max"):
        tile.numbers[index] = _combine(measure, tile.numbers.get(index), fact.numbers[measure.field])


def hash32(value: str) -> int:
    """A fixed 32-bit hash: the same on any machine, unlike Python's own."""
    return int.from_bytes(blake2b(value.encode(), digest_size=4).digest(), "big")


def hash64(value: str) -> int:
    """A fixed 64-bit hash: two of our recent message ids never meet in it by chance."""
    return int.from_bytes(blake2b(value.encode(), digest_size=8).digest(), "big")
