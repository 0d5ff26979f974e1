"""Window states: a pyramid of tiles that folds facts in event time and answers for any instant.

A state holds tiles of growing hop: the last minute in seconds, the last day in tiles of twenty minutes. A tile moves
to the next level when it is older than that level's horizon, judged by the latest event time the state has seen; which
tile a fact lands in therefore depends on the set of facts, not on their order. The last level is one tile for life.
The tail of a window is rounded up to one hop.

Everything here is pure, event time only, and integer: the same facts give the same bytes on any machine.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

from ibook.entities import EntityUpdate, Fact
from ibook.measures import FINE, SECOND, Measure, Operation, Resolution, Where, bounded, combine, hash32, message_hash
from ibook.states import (
    Last,
    StoredState,
    Tile,
    WindowState,
    decode_measures,
    decode_state,
    encode_measures,
    encode_state,
)

Value = TypeVar("Value")

FoldResult = Literal["folded", "late", "redelivered", "repeated"]
Step = tuple[int, Operation, str, tuple[Where, ...]]
"""Index of a measure, what it does with which field, and of which facts only."""
RECENT_MESSAGES = 32
CUTOFFS_KEPT = 4096


class Layout:
    """The measures of one entity, and the folding of facts into its states."""

    def __init__(self, measures: Sequence[Measure], *, shortest_s: int, resolution: Resolution = FINE) -> None:
        """`shortest_s` is the shortest window anybody asks for: no tile is finer than it needs."""
        self.measures = tuple(measures)
        self.resolution = resolution
        self.first_level = resolution.level_of(shortest_s)
        self.longest_of = {measure.id: measure.longest_s for measure in measures}
        self._measures = encode_measures(self.longest_of)
        identity = repr((self.longest_of, self.first_level, resolution.name))
        self.fingerprint = hash32(identity)
        self.hops_s = (*resolution.hops_s, 1)
        """Hop of each level; the tile for life, at 0, ends before any other window begins."""
        self._life_level = len(resolution.hops_s)
        self._max_level = [self._level_kept(measure) for measure in measures]
        self.last_level = max(self._max_level, default=-1)
        self._cutoff_step_us = resolution.hops_s[1] * SECOND
        self._cutoffs_at: dict[int, tuple[int, ...]] = {}
        self._first: dict[str, list[int]] = {}
        self._steps: dict[str, list[list[Step]]] = {}
        """Kind -> level -> what a fact of the kind adds to a tile of the level; empty beyond the coarsest it is in."""
        for index, measure in enumerate(measures):
            for kind in sorted(measure.kinds):
                if measure.operation == "first_time":
                    self._first.setdefault(kind, []).append(index)
                else:
                    steps = self._steps.setdefault(kind, [[] for _ in self.hops_s])
                    for level in range(self._max_level[index] + 1):
                        steps[level].append((index, measure.operation, measure.field, measure.where))

    def _level_kept(self, measure: Measure) -> int:
        if measure.operation == "first_time":
            return -1
        return max(self.first_level, self.resolution.level_of(measure.longest_s))

    def empty(self) -> WindowState:
        """The state of an entity nothing is known of."""
        return WindowState(
            self.fingerprint, self._measures, self.resolution.name, positions={}, first_us={}, since_us={}, tiles=[],
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------------- folding
    def fold_stored(self, stored: StoredState, update: EntityUpdate, updates_offset: int = -1) -> FoldResult:
        """Fold an update in place unless it was seen: at this position, or as a message the shop sent twice.

        `updates_offset` is that of its record in `entity-updates`. A redelivered update leaves every byte as it was:
        the online store drops a row whose stamp it knows, so a state may not change without a newer one.
        """
        state = stored.state
        if update.offset <= state.positions.get(update.source, -1):
            return "redelivered"
        state.updates_offset = max(state.updates_offset, updates_offset)
        known = message_hash(update.fact.kind, update.fact.message_id)
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
        steps = self._steps.get(kind)
        if not steps:
            return True
        if us > state.latest_us:
            moved = us // self._cutoff_step_us != state.latest_us // self._cutoff_step_us
            state.latest_us = us
            if moved and state.tiles:
                self._age(state)
        second = us // SECOND
        level = self.first_level if second >= self._cutoffs(state)[0] else self._level_for(state, second)
        if not steps[level]:
            return False
        start = second // self.hops_s[level] * self.hops_s[level] if level < self._life_level else 0
        tile = self._find_or_insert(state.tiles, start, level)
        _add(tile, steps[level], fact, self.resolution.distinct_cap)
        if not (tile.numbers or tile.sets or tile.lasts):
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
        return self._life_level

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
            into.sets[index] = sorted({*into.sets.get(index, ()), *hashes})[: self.resolution.distinct_cap]
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
        Raises msgspec.DecodeError when it is another's and does not say what it measures.
        """
        if state.layout == self.fingerprint:
            return state
        adopted = self.empty()
        adopted.stamp_us, adopted.latest_us = state.stamp_us, state.latest_us
        adopted.updates_offset, adopted.positions = state.updates_offset, dict(state.positions)
        seen_us = max(state.latest_us, state.stamp_us, *state.first_us.values(), 0)
        if seen_us == 0:
            return adopted
        kept_of = decode_measures(state.measures)
        index_of = {old: self._index(id_) for old, id_ in enumerate(kept_of) if id_ in self.longest_of}
        if state.resolution != self.resolution.name:
            kept = [index for index, measure in enumerate(self.measures) if measure.operation == "first_time"]
            index_of = {old: index for old, index in index_of.items() if index in kept}
        adopted.since_us = self._since(state, kept_of, index_of, seen_us)
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

    def _since(
        self, state: WindowState, kept_of: dict[int, int], index_of: dict[int, int], seen_us: int
    ) -> dict[int, int]:
        """From when on each measure of this layout is complete, in a state of another that saw so much."""
        since = dict.fromkeys(range(len(self.measures)), seen_us + 1)
        for (old, index), kept_s in zip(index_of.items(), _picked(kept_of, index_of), strict=True):
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


def _add(tile: Tile, steps: Sequence[Step], fact: Fact, cap: int) -> None:
    """Add a fact to every measure of a tile; one that asks for a field the fact lacks is none of its business.

    Every purchase runs through here for each of its entities, twice: hence the plain loop, and counts first.
    """
    numbers, sets = tile.numbers, tile.sets
    for index, operation, field, where in steps:
        if where and not all(condition.holds(fact) for condition in where):
            continue
        if operation == "count":
            numbers[index] = numbers.get(index, 0) + 1
        elif operation == "distinct":
            if (name := fact.ids.get(field)) is not None:
                hashed, hashes = hash32(name), sets.get(index)
                if hashes is None:
                    sets[index] = [hashed]
                elif (len(hashes) < cap or hashed < hashes[-1]) and hashed not in hashes:
                    sets[index] = sorted([*hashes, hashed])[:cap]
        elif operation == "last_time":
            numbers[index] = max(fact.occurred_us, numbers.get(index, 0))
        elif (value := fact.numbers.get(field)) is not None:
            _add_number(tile, index, operation, bounded(value), fact)


def _add_number(tile: Tile, index: int, operation: Operation, value: int, fact: Fact) -> None:
    """Add a number of a fact to a sum, an extreme, or as the last one."""
    if operation == "last":
        last = Last(fact.occurred_us, hash32(fact.message_id), value)
        tile.lasts[index] = max(last, tile.lasts.get(index, last))
    else:
        value = bounded(value * value) if operation == "sum_squares" else value
        tile.numbers[index] = combine(operation, tile.numbers.get(index), value)
