"""Window states: a pyramid of tiles that folds facts in event time and answers for any instant.

A state holds tiles of growing hop: the last minute in seconds, the last day in tiles of twenty minutes. A tile moves
to the next level when it is older than that level's horizon, judged by the latest event time the state has seen; which
tile a fact lands in therefore depends on the set of facts, not on their order. The last level is one tile for life.
The tail of a window is rounded up to one hop.

Everything here is pure, event time only, and integer: the same facts give the same bytes on any machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from ibook.entities import EntityUpdate, Fact

Value = TypeVar("Value")

SECOND = 1_000_000
DAY_S = 86400
LIFETIME = 1 << 40
"""A window in seconds, longer than any other: all that ever happened."""

Operation = Literal["count", "sum", "sum_squares", "min", "max", "distinct", "last", "last_time", "first_time"]
FoldResult = Literal["folded", "late", "redelivered", "repeated"]
RECENT_MESSAGES = 32
CUTOFFS_KEPT = 4096
MAX_SUM = (1 << 63) - 1
"""Sums stay here when they get so large, rather than fail to be encoded."""


@dataclass(frozen=True)
class Resolution:
    """Per level: hop of its tiles, longest window it serves, and how old its tiles grow; all in seconds.

    A horizon is the longest window plus room for what arrives late, and a multiple of the next level's hop, so that a
    level ends where a tile of the next one does. Each hop divides the next. States carry the name: other numbers need
    another name.
    """

    name: str
    hops_s: tuple[int, ...]
    windows_s: tuple[int, ...]
    horizons_s: tuple[int, ...]
    distinct_cap: int
    """Distinct values kept per tile; from so many on the smallest hashes stay (a theta sketch, free of order)."""

    def level_of(self, window_s: int) -> int:
        """The finest level that serves a window of so many seconds; the level for life above all others.

        >>> [FINE.level_of(window) for window in (5, 60, 600, 3600, 86400, LIFETIME)]
        [0, 0, 1, 2, 3, 5]
        """
        if window_s >= LIFETIME:
            return len(self.hops_s)
        longest = len(self.hops_s) - 1
        return next((level for level, served_s in enumerate(self.windows_s) if window_s <= served_s), longest)

    def hop_of(self, window_s: int) -> int:
        """By how many seconds a window's tail may be rounded; 0 for life."""
        level = self.level_of(window_s)
        return self.hops_s[level] if level < len(self.hops_s) else 0


_WINDOWS_S = (60, 600, 3600, DAY_S, 30 * DAY_S)
FINE = Resolution(
    "fine", (1, 10, 60, 1200, DAY_S // 2), _WINDOWS_S, (90, 780, 4800, 36 * 3600, 33 * DAY_S), distinct_cap=32
)  # fmt: skip
"""Hops of 1/60 of the window."""
COARSE = Resolution(
    "coarse", (5, 60, 300, 3600, DAY_S), _WINDOWS_S, (120, 900, 7200, 2 * DAY_S, 33 * DAY_S), distinct_cap=16
)  # fmt: skip
"""Hops of 1/10 to 1/30 of the window, and smaller sets: for entities so busy that every tile is filled."""


@dataclass(frozen=True)
class Where:
    """A condition on a number or an id of a fact; one that lacks it does not meet it."""

    field: str
    is_: Literal["<=", ">=", "=="]
    value: int | str

    def holds(self, fact: Fact) -> bool:
        """Whether the fact meets the condition."""
        found: int | str | None = fact.numbers.get(self.field, fact.ids.get(self.field))
        if found is None or isinstance(found, str) != isinstance(self.value, str):
            return False
        if self.is_ == "==":
            return found == self.value
        return found <= self.value if self.is_ == "<=" else found >= self.value  # type: ignore[operator]


@dataclass(frozen=True)
class Measure:
    """What a state keeps: an operation over facts of some kinds.

    `field` is a number of the fact for sums, extremes and last, an id for distinct. `longest_s` is the longest window
    that asks for it: older tiles drop it. `first_time` is kept for life, outside the tiles.
    """

    operation: Operation
    kinds: frozenset[str]
    field: str = ""
    where: tuple[Where, ...] = ()
    longest_s: int = 0

    @property
    def id(self) -> int:
        """What it measures, as 32 bits that no other declaration changes; its windows are not part of it."""
        described = (self.operation, sorted(self.kinds), self.field, [(w.field, w.is_, w.value) for w in self.where])
        return hash32(repr(described))


class Last(NamedTuple):
    """The value of the latest fact; ties break by the hash of the message id."""

    occurred_us: int
    message_hash: int
    value: int


# gc=False on the structs below: they hold no cycles, and the collector need not visit tens of thousands of them.
class Tile(Struct, array_like=True, gc=False):
    """What happened in `[start, start + hop of level)`, seconds since the epoch; the tile for life starts at 0."""

    start: int
    level: int
    numbers: dict[int, int]
    """Measure index -> count, sum, extreme, or last time."""
    sets: dict[int, list[int]]
    """Measure index -> sorted 32-bit hashes."""
    lasts: dict[int, Last]


class WindowState(Struct, array_like=True, gc=False):
    """All that is known of one entity, up to a position in every source."""

    layout: int
    """Fingerprint of the layout; a state of another layout is translated, never misread."""
    measures: dict[int, int]
    """Id of each measure, in the order of its index -> longest window it was kept for."""
    resolution: str
    stamp_us: int = 0
    """Event timestamp of the online store's row: strictly increasing, the same on every replay."""
    latest_us: int = 0
    """Latest event time folded."""
    updates_offset: int = -1
    """Offset in `entity-updates` up to which this state is the fold."""
    positions: dict[int, int] = {}
    """Source slot -> last folded offset."""
    first_us: dict[int, int] = {}
    """Measure index -> when its kinds first happened."""
    since_us: dict[int, int] = {}
    """Measure index -> event time from which on it is complete; absent when it always was."""
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


def encode_both(stored: StoredState) -> tuple[bytes, bytes]:
    """`encode_state` of the state alone, and `encode_stored`, for the price of one: the first lies in the second."""
    state = _encoder.encode(stored.state)
    return state, _ARRAY_OF_TWO + state + _encoder.encode(stored.recent)


class StateHead(Struct, array_like=True, frozen=True):
    """The beginning of a state, read without the rest."""

    layout: int
    measures: msgspec.Raw
    resolution: str
    stamp_us: int
    latest_us: int


_ARRAY_OF_TWO = b"\x92"
_parts_decoder = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw])
_head_decoder = msgspec.msgpack.Decoder(StateHead)


def state_in(stored: bytes) -> tuple[bytes, StateHead]:
    """The encoded state that lies in an encoded stored state, and its head; nothing else is decoded.

    Raises msgspec.DecodeError.
    """
    state = bytes(_parts_decoder.decode(stored)[0])
    return state, _head_decoder.decode(state)


class Layout:
    """The measures of one entity, and the folding of facts into its states."""

    def __init__(self, measures: Sequence[Measure], *, shortest_s: int, resolution: Resolution = FINE) -> None:
        """`shortest_s` is the shortest window anybody asks for: no tile is finer than it needs."""
        self.measures = tuple(measures)
        self.resolution = resolution
        self.first_level = resolution.level_of(shortest_s)
        self.longest_of = {measure.id: measure.longest_s for measure in measures}
        identity = repr((self.longest_of, self.first_level, resolution.name))
        self.fingerprint = hash32(identity)
        self.hops_s = (*resolution.hops_s, 1)
        """Hop of each level; the tile for life, at 0, ends before any other window begins."""
        self._life_level = len(resolution.hops_s)
        self._max_level = [self._level_kept(measure) for measure in measures]
        self.last_level = max(self._max_level, default=-1)
        self._cutoff_step_us = resolution.hops_s[1] * SECOND
        self._cutoffs_at: dict[int, tuple[int, ...]] = {}
        self._tiled: dict[str, list[tuple[int, Measure, int]]] = {}
        self._first: dict[str, list[int]] = {}
        for index, measure in enumerate(measures):
            for kind in sorted(measure.kinds):
                if measure.operation == "first_time":
                    self._first.setdefault(kind, []).append(index)
                else:
                    self._tiled.setdefault(kind, []).append((index, measure, self._max_level[index]))

        self._latest_level = {kind: max(level for *_, level in tiled) for kind, tiled in self._tiled.items()}
        """Kind -> the coarsest level at which any measure counts it."""

    def _level_kept(self, measure: Measure) -> int:
        if measure.operation == "first_time":
            return -1
        return max(self.first_level, self.resolution.level_of(measure.longest_s))

    def empty(self) -> WindowState:
        """The state of an entity nothing is known of."""
        return WindowState(
            self.fingerprint, self.longest_of, self.resolution.name, positions={}, first_us={}, since_us={}, tiles=[],
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------------- folding
    def fold_stored(self, stored: StoredState, update: EntityUpdate) -> FoldResult:
        """Fold an update in place unless it was seen: at this position, or as a message the shop sent twice."""
        state = stored.state
        if update.offset <= state.positions.get(update.source, -1):
            return "redelivered"
        known = hash64(f"{update.fact.kind}:{update.fact.message_id}")  # one id for each kind
        if known in stored.recent:
            self.skip(state, update)
            return "repeated"
        stored.recent.append(known)
        del stored.recent[:-RECENT_MESSAGES]
        return self.fold(state, update)

    def fold(self, state: WindowState, update: EntityUpdate) -> FoldResult:
        """Fold an update into a state, in place, unless the state had it already (a redelivery)."""
        source, offset, fact = update.source, update.offset, update.fact
        if offset <= state.positions.get(source, -1):
            return "redelivered"
        state.positions[source] = offset
        state.stamp_us = max(state.stamp_us + 1, fact.occurred_us)
        return "folded" if self.fold_fact(state, fact) else "late"

    def skip(self, state: WindowState, update: EntityUpdate) -> None:
        """Move past an update without counting it: its message was counted at another position."""
        state.positions[update.source] = max(state.positions.get(update.source, -1), update.offset)
        state.stamp_us += 1

    def fold_fact(self, state: WindowState, fact: Fact) -> bool:
        """Count a fact, in place. False when it is older than every window that asks for its kind."""
        us, kind = fact.occurred_us, fact.kind
        for index in self._first.get(kind, ()):
            state.first_us[index] = min(us, state.first_us.get(index, us))
        measures = self._tiled.get(kind)
        if not measures:
            return True
        if us > state.latest_us:
            moved = us // self._cutoff_step_us != state.latest_us // self._cutoff_step_us
            state.latest_us = us
            if moved and state.tiles:
                self._age(state)
        second = us // SECOND
        level = self.first_level if second >= self._cutoffs(state)[0] else self._level_for(state, second)
        start = second // self.hops_s[level] * self.hops_s[level] if level < self._life_level else 0
        if level > self._latest_level[kind]:
            return False
        tile = self._find_or_insert(state.tiles, start, level)
        numbers = tile.numbers
        for index, measure, max_level in measures:
            if max_level < level or (measure.where and not all(condition.holds(fact) for condition in measure.where)):
                continue
            if measure.operation == "count":
                numbers[index] = numbers.get(index, 0) + 1
            else:
                _add(tile, index, measure, fact, self.resolution.distinct_cap)
        if not (numbers or tile.sets or tile.lasts):
            state.tiles.remove(tile)  # it lacks every field that is counted: an empty tile would depend on the order
        return True

    def _find_or_insert(self, tiles: list[Tile], start: int, level: int) -> Tile:
        position = len(tiles)
        while position and tiles[position - 1].start > start:
            position -= 1
        if position:
            before = tiles[position - 1]
            if before.level == level and before.start == start:
                return before
            # A state of older declarations may hold a coarser tile here: it takes what falls into it until it ages.
            if before.level > level and start < before.start + self.hops_s[before.level]:
                return before
        tile = Tile(start, level, {}, {}, {})
        tiles.insert(position, tile)
        return tile

    def _cutoffs(self, state: WindowState) -> tuple[int, ...]:
        """Start of the oldest tile each level keeps, in seconds, aligned to the next level's hop."""
        step = state.latest_us // self._cutoff_step_us
        found = self._cutoffs_at.get(step)
        if found is None:
            if len(self._cutoffs_at) > CUTOFFS_KEPT:
                self._cutoffs_at.clear()
            found = self._cutoffs_at[step] = _cutoffs(self.resolution, step)
        return found

    def _level_for(self, state: WindowState, second: int) -> int:
        """The level whose tiles hold this event time; the one for life when every window has gone by."""
        for level, cutoff in enumerate(self._cutoffs(state)):
            if second >= cutoff:
                return max(level, self.first_level)
        return len(self.resolution.hops_s)

    def _age(self, state: WindowState) -> None:
        """Move tiles that are older than their level's horizon to the next level, or out."""
        cutoffs = self._cutoffs(state)
        for tile in state.tiles:
            if tile.level < len(cutoffs) and tile.start < cutoffs[tile.level]:
                break
        else:
            return
        kept: list[Tile] = []
        for tile in state.tiles:
            self._settle(tile, cutoffs)
            if tile.level > self.last_level:
                continue
            if kept and kept[-1].start == tile.start and kept[-1].level == tile.level:
                self._merge_tile(kept[-1], tile)
            elif tile.numbers or tile.sets or tile.lasts:
                kept.append(tile)
        state.tiles = kept

    def _settle(self, tile: Tile, cutoffs: Sequence[int]) -> None:
        """Raise a tile to the level its age belongs to, dropping what no longer window asks for."""
        before = tile.level
        while tile.level < self.first_level or (tile.level < len(cutoffs) and tile.start < cutoffs[tile.level]):
            tile.level += 1
        if tile.level == before or tile.level > self.last_level:
            return
        kept = self._max_level
        tile.numbers = {i: value for i, value in tile.numbers.items() if kept[i] >= tile.level}
        tile.sets = {i: value for i, value in tile.sets.items() if kept[i] >= tile.level}
        tile.lasts = {i: value for i, value in tile.lasts.items() if kept[i] >= tile.level}
        hop = self.hops_s[tile.level]
        tile.start = tile.start // hop * hop if tile.level < self._life_level else 0

    def _merge_tile(self, into: Tile, tile: Tile) -> None:
        for index, value in tile.numbers.items():
            into.numbers[index] = combine(self.measures[index].operation, into.numbers.get(index), value)
        for index, hashes in tile.sets.items():
            into.sets[index] = sorted({*into.sets.get(index, ()), *hashes})[:self.resolution.distinct_cap]
        for index, last in tile.lasts.items():
            into.lasts[index] = max(last, into.lasts.get(index, last))

    # --------------------------------------------------------------------------------------- merging and translating
    def merge(self, a: WindowState, b: WindowState) -> WindowState:
        """The fold of both histories, which must have no message in common. Neither argument changes.

        Its stamp is not that of any log: a merged state is for computing, not for pushing over another.
        """
        merged, other = decode_state(encode_state(self.adopt(a))), decode_state(encode_state(self.adopt(b)))
        merged.latest_us = max(a.latest_us, b.latest_us)
        merged.stamp_us = max(a.stamp_us, b.stamp_us)
        merged.updates_offset = max(a.updates_offset, b.updates_offset)
        for source, offset in b.positions.items():
            merged.positions[source] = max(offset, merged.positions.get(source, offset))
        for index, us in other.first_us.items():
            merged.first_us[index] = min(us, merged.first_us.get(index, us))
        for index, us in other.since_us.items():
            merged.since_us[index] = max(us, merged.since_us.get(index, us))
        # Finer before coarser among tiles of one start: aging then meets the ones it must join side by side.
        merged.tiles = sorted([*merged.tiles, *other.tiles], key=lambda tile: (tile.start, tile.level))
        self._join(merged)
        return merged

    def _join(self, state: WindowState) -> None:
        """Settle tiles of two states and join those that became the same."""
        cutoffs = self._cutoffs(state)
        joined: dict[tuple[int, int], Tile] = {}
        for tile in state.tiles:
            self._settle(tile, cutoffs)
            if tile.level > self.last_level or not (tile.numbers or tile.sets or tile.lasts):
                continue
            known = joined.setdefault((tile.start, tile.level), tile)
            if known is not tile:
                self._merge_tile(known, tile)
        state.tiles = [joined[place] for place in sorted(joined)]

    def adopt(self, state: WindowState) -> WindowState:
        """The state in this layout: itself if it is, else a translation that keeps what both declare.

        What is new here, or was kept for shorter windows, is complete only from some event time on: `since_us`.
        """
        if state.layout == self.fingerprint:
            return state
        adopted = self.empty()
        adopted.stamp_us, adopted.latest_us = state.stamp_us, state.latest_us
        adopted.updates_offset, adopted.positions = state.updates_offset, dict(state.positions)
        seen_us = max(state.latest_us, state.stamp_us, *state.first_us.values(), 0)
        if seen_us == 0:
            return adopted
        index_of = {old: self._index(id_) for old, id_ in enumerate(state.measures) if id_ in self.longest_of}
        if state.resolution != self.resolution.name:
            kept = [index for index, measure in enumerate(self.measures) if measure.operation == "first_time"]
            index_of = {old: index for old, index in index_of.items() if index in kept}
        adopted.since_us = self._since(state, index_of, seen_us)
        adopted.first_us = _renamed(state.first_us, index_of)
        adopted.tiles = [
            Tile(tile.start, tile.level, _renamed(tile.numbers, index_of), _renamed(tile.sets, index_of),
                 _renamed(tile.lasts, index_of))
            for tile in state.tiles
        ]  # fmt: skip
        self._join(adopted)
        return adopted

    def _index(self, id_: int) -> int:
        return list(self.longest_of).index(id_)

    def _since(self, state: WindowState, index_of: dict[int, int], seen_us: int) -> dict[int, int]:
        """From when on each measure of this layout is complete, in a state of another that saw so much."""
        since = dict.fromkeys(range(len(self.measures)), seen_us + 1)
        for (old, index), kept_s in zip(index_of.items(), _picked(state.measures, index_of), strict=True):
            grown = self.measures[index].longest_s > kept_s
            # Its tiles went back as far as the horizon of the level it was kept at.
            kept_us = self._cutoffs(state)[self.resolution.level_of(kept_s)] * SECOND if grown else 0
            since[index] = max(kept_us, state.since_us.get(old, 0))
        return {index: us for index, us in since.items() if us > 0}


def _picked(measures: dict[int, int], index_of: dict[int, int]) -> list[int]:
    longest = list(measures.values())
    return [longest[old] for old in index_of]


def _renamed(values: dict[int, Value], index_of: dict[int, int]) -> dict[int, Value]:
    return {index_of[old]: value for old, value in values.items() if old in index_of}


def _cutoffs(resolution: Resolution, step: int) -> tuple[int, ...]:
    """`step` is the latest event time in steps of the second level's hop: between two steps no cutoff moves."""
    hops = resolution.hops_s
    latest_s = step * hops[1]
    aligned = (latest_s // hop * hop for hop in (*hops[1:], hops[-1]))
    return tuple(start - horizon for start, horizon in zip(aligned, resolution.horizons_s, strict=True))


def combine(operation: Operation, old: int | None, new: int) -> int:
    """Two values of one measure as one."""
    if old is None:
        return new
    if operation in ("max", "last_time"):
        return max(old, new)
    return min(old, new) if operation == "min" else _bounded(old + new)


def _bounded(value: int) -> int:
    """The value, or the nearest that can be encoded."""
    return value if -MAX_SUM <= value <= MAX_SUM else max(-MAX_SUM, min(value, MAX_SUM))


def _add(tile: Tile, index: int, measure: Measure, fact: Fact, cap: int) -> None:
    """Add a fact to one measure that is no count; a fact without the field is none of its business."""
    operation = measure.operation
    if operation == "last_time":
        tile.numbers[index] = max(fact.occurred_us, tile.numbers.get(index, 0))
        return
    if operation == "distinct":
        if (name := fact.ids.get(measure.field)) is not None:
            _add_distinct(tile, index, hash32(name), cap)
        return
    value = fact.numbers.get(measure.field)
    if value is None:
        return
    value = _bounded(value)
    if operation == "last":
        last = Last(fact.occurred_us, hash32(fact.message_id), value)
        tile.lasts[index] = max(last, tile.lasts.get(index, last))
    else:
        value = _bounded(value * value) if operation == "sum_squares" else value
        tile.numbers[index] = combine(operation, tile.numbers.get(index), value)


def _add_distinct(tile: Tile, index: int, hashed: int, cap: int) -> None:
    hashes = tile.sets.get(index)
    if hashes is None:
        tile.sets[index] = [hashed]
    elif hashed not in hashes:
        tile.sets[index] = sorted([*hashes, hashed])[:cap]


@lru_cache(maxsize=65_536)
def hash32(value: str) -> int:
    """A fixed 32-bit hash: the same on any machine, unlike Python's own."""
    return int.from_bytes(blake2b(value.encode(), digest_size=4).digest(), "big")


def hash64(value: str) -> int:
    """A fixed 64-bit hash: two of our recent message ids never meet in it by chance."""
    return int.from_bytes(blake2b(value.encode(), digest_size=8).digest(), "big")
