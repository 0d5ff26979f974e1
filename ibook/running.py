"""A state that is folded into and read again and again, as a busy event's is for every purchase.

What no longer changes within a second is added up once: facts arrive in the youngest tiles, so the sums over the older
ones stay. All sums are integers and all joins free of order, so the features are those of a full computation, bit by
bit.
"""

from dataclasses import dataclass

from ibook.declarations import EntityFeatures, Pass
from ibook.entities import EntityUpdate
from ibook.finishing import Sums
from ibook.measures import SECOND
from ibook.states import Tile, WindowState
from ibook.windows import FoldResult

WORTH_TILES = 12
"""With fewer tiles a full computation is as fast."""
KEPT_SECONDS = 3
"""Purchases of a busy event come a little out of order: sums of so many instants are kept."""


@dataclass(frozen=True)
class _Older:
    """Sums over the tiles that start before `young_s`, per pass and window."""

    young_s: int
    sums: list[dict[int, Sums]]


class RunningState:
    """A state of one entity, which must be of the layout of `features`; fold into it through here only."""

    __slots__ = ("_asked_s", "_features", "_older", "state")

    def __init__(self, features: EntityFeatures, state: WindowState) -> None:
        self.state = state
        self._features = features
        self._older: dict[int, _Older] = {}
        self._asked_s = -1

    def fold(self, update: EntityUpdate) -> FoldResult:
        """Fold an update in place, as `Layout.fold` does."""
        tiles = self.state.tiles
        result = self._features.layout.fold(self.state, update)
        if self._older and (self.state.tiles is not tiles or not self._is_young(update.fact.occurred_us // SECOND)):
            self._older.clear()
        return result

    def _is_young(self, second: int) -> bool:
        """Whether the tile of a second, which a translated state may hold coarser than it would be, is in no sum."""
        start = next((tile.start for tile in reversed(self.state.tiles) if tile.start <= second), second)
        return all(start >= each.young_s for each in self._older.values())

    def compute(self, as_of_us: int) -> list[float]:
        """Every feature as of an instant, as `EntityFeatures.compute` gives them."""
        features, state = self._features, self.state
        if len(state.tiles) < WORTH_TILES or features.decayed:
            return features.compute(state, as_of_us)
        second = as_of_us // SECOND
        older = self._older.get(second)
        if older is None:
            if second != self._asked_s:  # sums are worth keeping when a second is asked for again
                self._asked_s = second
                return features.compute(state, as_of_us)
            if len(self._older) == KEPT_SECONDS:
                self._older.pop(next(iter(self._older)))
            older = self._older[second] = self._add_older(second)
        young = []
        for tile in reversed(state.tiles):
            if tile.start < older.young_s:
                break
            young.append(tile)
        values = features.first_ages(state, as_of_us)
        for each, older_sums in zip(features.passes, older.sums, strict=True):
            as_of_s = second - each.delay_s
            for window, slots in each.slots.items():
                sums = self._join(older_sums[window], young, as_of_s, window)
                features.finish(slots, sums, state, as_of_us, values)
        return values

    def _add_older(self, second: int) -> _Older:
        layout = self._features.layout
        hop = layout.hops_s[layout.first_level]
        young_s = self.state.latest_us // SECOND // hop * hop - hop
        tiles = [tile for tile in self.state.tiles if tile.start < young_s]
        return _Older(young_s, [self._sums(each, tiles, second - each.delay_s) for each in self._features.passes])

    def _sums(self, each: Pass, tiles: list[Tile], as_of_s: int) -> dict[int, Sums]:
        sums, found, hops = self._features.no_sums(), {}, self._features.layout.hops_s
        waiting = list(reversed(each.slots))
        for tile in reversed(tiles):
            if tile.start > as_of_s:
                continue
            while waiting and tile.start + hops[tile.level] <= as_of_s - waiting[-1]:
                found[waiting.pop()] = sums.copy().keep()
            if not waiting:
                break
            sums.add(tile)
        return found | {window: sums.copy().keep() for window in waiting}

    def _join(self, older: Sums, young: list[Tile], as_of_s: int, window_s: int) -> Sums:
        hops = self._features.layout.hops_s
        inside = [t for t in young if t.start <= as_of_s < t.start + hops[t.level] + window_s]
        if not inside:
            return older
        sums = older.copy()
        for tile in inside:
            sums.add(tile)
        return sums
