"""A state that is folded into and read again and again, as a busy event's is for every purchase.

What no longer changes is added up once: facts arrive in the youngest tiles, so the sums over the older ones stay until
a tile leaves a window. All sums are integers and all joins free of order, so the features are those of a full
computation, bit by bit.
"""

from dataclasses import dataclass, field

from ibook.declarations import EntityFeatures, Pass
from ibook.entities import EntityUpdate
from ibook.finishing import Sums
from ibook.measures import SECOND
from ibook.states import Tile, WindowState
from ibook.windows import FoldResult

WORTH_TILES = 8
"""With fewer tiles a full computation is as fast."""
AGAIN_SECONDS = 2
MAX_YOUNG = 4
"""Tiles that each computation adds to the sums; with more of them the sums are made anew."""


@dataclass
class _Older:
    """Sums over the tiles that start before `young_s`, per pass and window: those of every second in a range."""

    young_s: int
    sums: list[dict[int, Sums]] = field(default_factory=list)
    from_s: int = 0
    until_s: int = 1 << 62

    def holds(self, second: int) -> bool:
        """Whether the same tiles lie in the windows as of this second."""
        return self.from_s <= second < self.until_s

    def not_before(self, second: int) -> None:
        """As of earlier seconds another tile would lie in a window, or one fewer."""
        self.from_s = max(self.from_s, second)

    def only_before(self, second: int) -> None:
        """From this second on."""
        self.until_s = min(self.until_s, second)


class RunningState:
    """A state of one entity, which must be of the layout of `features`; fold into it through here only."""

    __slots__ = ("_asked_s", "_features", "_older", "state")

    def __init__(self, features: EntityFeatures, state: WindowState) -> None:
        self.state = state
        self._features = features
        self._older: _Older | None = None
        self._asked_s = -1

    def fold(self, update: EntityUpdate) -> FoldResult:
        """Fold an update in place, as `Layout.fold` does."""
        tiles = self.state.tiles
        result = self._features.layout.fold(self.state, update)
        older = self._older
        if older and (self.state.tiles is not tiles or not self._is_young(update.fact.occurred_us // SECOND, older)):
            self._older = None
        return result

    def _is_young(self, second: int, older: _Older) -> bool:
        """Whether the tile of a second, which a translated state may hold coarser than it would be, is in no sum."""
        start = next((tile.start for tile in reversed(self.state.tiles) if tile.start <= second), second)
        return start >= older.young_s

    def compute(self, as_of_us: int) -> list[float]:
        """Every feature as of an instant, as `EntityFeatures.compute` gives them."""
        features, state = self._features, self.state
        second, older = as_of_us // SECOND, self._older
        if older is None or not older.holds(second):
            if len(state.tiles) < WORTH_TILES or features.decayed or not self._is_asked_again(second):
                return features.compute(state, as_of_us)
            older = self._older = self._add_older(second)
        young = self._young(older)
        if len(young) > MAX_YOUNG:
            older = self._older = self._add_older(second)
            young = self._young(older)
        values = features.first_ages(state, as_of_us)
        for each, older_sums in zip(features.passes, older.sums, strict=True):
            as_of_s = second - each.delay_s
            inside: list[Tile] | None = None
            for window, slots in each.slots.items():
                found = self._inside(young, as_of_s, window)
                if found != inside:
                    inside, added = found, self._added(found)
                sums = older_sums[window].joined(added, slots.needed)
                features.finish(slots, sums, state, as_of_us, values)
        return values

    def _young(self, older: _Older) -> list[Tile]:
        """The tiles that are in no sum, youngest first."""
        young = []
        for tile in reversed(self.state.tiles):
            if tile.start < older.young_s:
                break
            young.append(tile)
        return young

    def _is_asked_again(self, second: int) -> bool:
        """Sums are worth keeping for who is asked twice within a few seconds."""
        asked_s, self._asked_s = self._asked_s, second
        return 0 <= second - asked_s <= AGAIN_SECONDS

    def _add_older(self, second: int) -> _Older:
        layout = self._features.layout
        hop = layout.hops_s[layout.first_level]
        older = _Older(self.state.latest_us // SECOND // hop * hop - hop)
        tiles = [tile for tile in self.state.tiles if tile.start < older.young_s]
        for each in self._features.passes:
            older.sums.append(self._sums(each, tiles, second, older))
        return older

    def _sums(self, each: Pass, tiles: list[Tile], second: int, older: _Older) -> dict[int, Sums]:
        """The sums of a pass as of a second; `older` learns which seconds have the same."""
        sums, found, hops = self._features.no_sums(), {}, self._features.layout.hops_s
        waiting, delay_s = list(reversed(each.slots)), each.delay_s
        for tile in reversed(tiles):
            if tile.start > second - delay_s:
                older.only_before(tile.start + delay_s)
                continue
            older.not_before(tile.start + delay_s)
            end = tile.start + hops[tile.level]
            while waiting and end <= second - delay_s - waiting[-1]:
                older.not_before(end + delay_s + waiting[-1])
                found[waiting.pop()] = sums.copy()
            if not waiting:
                break
            sums.add(tile)
            older.only_before(end + delay_s + waiting[-1])
        return found | {window: sums.copy() for window in waiting}

    def _inside(self, young: list[Tile], as_of_s: int, window_s: int) -> list[Tile]:
        hops = self._features.layout.hops_s
        return [tile for tile in young if tile.start <= as_of_s < tile.start + hops[tile.level] + window_s]

    def _added(self, tiles: list[Tile]) -> Sums:
        sums = self._features.no_sums()
        for tile in tiles:
            sums.add(tile)
        return sums
