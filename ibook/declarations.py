"""What a feature is: one declaration, from which come the state layout, the numbers, and how far they may be off.

Nothing here knows tickets: `ibook/features.py` declares ours, and anybody may declare theirs over facts of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from ibook.windows import (
    DISTINCT_CAP,
    FINE,
    LIFETIME,
    SECOND,
    Last,
    Layout,
    Measure,
    Operation,
    Resolution,
    Tile,
    Where,
    WindowState,
    combine,
)

Kind = Literal[
    "count", "sum", "mean", "max", "min", "last", "distinct", "ratio", "first_age", "last_age", "z_score", "decayed_mean"
]
NAN = float("nan")
MINUTE, FIVE_MINUTES, TEN_MINUTES, HOUR, DAY, WEEK, MONTH = 60, 300, 600, 3600, 86400, 7 * 86400, 30 * 86400
_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (1, "s"))
HALF_LIFE_S = WEEK
"""Of the weights of a decayed mean."""


def window_name(window_s: int) -> str:
    """How a window is written at the end of a feature's name.

    >>> [window_name(w) for w in (5, 60, 3600, DAY, WEEK, LIFETIME)]
    ['5s', '1m', '1h', '24h', '7d', 'lifetime']
    """
    if window_s == LIFETIME:
        return "lifetime"
    if window_s == DAY:
        return "24h"
    unit, letter = next((unit, letter) for unit, letter in _UNITS if window_s % unit == 0)
    return f"{window_s // unit}{letter}"


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One declaration, which gives one feature per window (ages have none).

    It looks at the facts of `kinds` that meet all of `where`. A sum, mean, extreme, last value, z-score or decayed mean
    is of the number `field`; a distinct count of the id `field`. A ratio is the count of `kinds` over the count of
    `of`; with a `field`, of distinct `field` over distinct `of_field`. A z-score sets the latest value against those
    before it. A label-derived feature names its `delay_s`: it looks at the entity as it was so long before. A count
    with nothing in it is 0, everything else is missing (NaN).
    """

    entity: str
    name: str
    kind: Kind
    kinds: tuple[str, ...]
    windows_s: tuple[int, ...] = ()
    field: str = ""
    where: tuple[Where, ...] = ()
    of: tuple[str, ...] = ()
    of_field: str = ""
    delay_s: int = 0
    for_model: bool = True
    """Whether the fraud model sees it; some are for the views of Feast alone."""
    why: str

    def __post_init__(self) -> None:
        """Raises ValueError on a declaration that could not be computed."""
        ages = self.kind in ("first_age", "last_age")
        if ages == bool(self.windows_s):
            raise ValueError(f"{self.name}: an age has no window, everything else has at least one")
        if list(self.windows_s) != sorted(set(self.windows_s)):
            raise ValueError(f"{self.name}: windows must increase")
        if (self.kind == "ratio") != bool(self.of):
            raise ValueError(f"{self.name}: a ratio, and nothing else, says what it is a ratio `of`")
        if not self.field and self.kind not in ("count", "ratio", "first_age", "last_age"):
            raise ValueError(f"{self.name}: a {self.kind} needs a field")
        if self.delay_s and (ages or LIFETIME in self.windows_s):
            raise ValueError(f"{self.name}: a delay needs windows that end")

    def names(self) -> list[str]:
        """The names of its features, in the order of its windows."""
        return [f"{self.name}_{window_name(window)}" for window in self.windows_s] or [self.name]

    def measures(self) -> list[Measure]:
        """The measures it needs, in the order in which `_FINISH` takes them."""
        longest = max(self.windows_s, default=LIFETIME)
        longest += self.delay_s

        def measure(operation: Operation, field: str = "") -> Measure:
            return Measure(operation, frozenset(self.kinds), field, self.where, longest)

        match self.kind:
            case "first_age":
                return [measure("first_time")]
            case "last_age":
                return [measure("last_time")]
            case "count":
                return [measure("count")]
            case "sum" | "max" | "min" | "distinct" | "last":
                return [measure(self.kind, self.field)]
            case "mean" | "decayed_mean":
                return [measure("sum", self.field), measure("count")]
            case "z_score":
                return [measure("sum", self.field), measure("count"), measure("sum_squares", self.field),
                        measure("last", self.field)]  # fmt: skip
            case "ratio":
                return [measure("distinct" if self.field else "count", self.field), self._denominator(longest)]

    def _denominator(self, longest: int) -> Measure:
        return Measure(
            "distinct" if self.of_field else "count", frozenset(self.of), self.of_field, longest_s=longest
        )  # fmt: skip


class Totals:
    """What the tiles of one window add up to."""

    __slots__ = ("decayed", "lasts", "numbers")

    def __init__(self, numbers: dict[int, int], lasts: dict[int, Last], decayed: Mapping[int, float]) -> None:
        self.numbers = numbers
        """Measure index -> value; a distinct measure's is its count."""
        self.lasts = lasts
        self.decayed = decayed


class EntityFeatures:
    """The features of one entity: its layout, and how its measures become numbers."""

    def __init__(
        self, entity: str, declared: Sequence[Feature], *, extra: Sequence[tuple[Measure, int]] = (),
        resolution: Resolution = FINE,
    ) -> None:  # fmt: skip
        """`extra` are measures, each with a window, that somebody reads through `totals` alone."""
        self.entity = entity
        self.resolution = resolution
        self.declared = [feature for feature in declared if feature.entity == entity]
        self.names = [name for feature in self.declared for name in feature.names()]
        self.model_names = [name for feature in self.declared if feature.for_model for name in feature.names()]
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"two features of {entity} have one name")
        measures = _shared([m for f in self.declared for m in f.measures()] + [measure for measure, _ in extra])
        self._index = {measure.id: index for index, measure in enumerate(measures)}
        self._extra = extra
        windows = {w for f in self.declared for w in f.windows_s} | {w for _, w in extra}
        self.layout = Layout(measures, shortest_s=min(windows, default=LIFETIME), resolution=resolution)
        self.operations: list[Operation] = [measure.operation for measure in measures]
        self.passes = [self._pass(delay) for delay in sorted({0, *(f.delay_s for f in self.declared)})]
        self.decayed = sorted({
            index for f in self.declared if f.kind == "decayed_mean" for index in self._indexes(f)
        })  # fmt: skip

    def _indexes(self, feature: Feature) -> list[int]:
        return [self.index_of(measure) for measure in feature.measures()]

    def index_of(self, measure: Measure) -> int:
        """Where a measure sits in the layout. Raises KeyError when it is not declared."""
        return self._index[measure.id]

    def _pass(self, delay_s: int) -> "Pass":
        """What one walk over the tiles has to find: for all features of one delay."""
        declared = [feature for feature in self.declared if feature.delay_s == delay_s]
        windows = {w for f in declared for w in f.windows_s} | {w for _, w in self._extra if delay_s == 0}
        if any(f.kind == "last_age" for f in declared):
            windows.add(LIFETIME)
        slots = [
            _Slot(self.names.index(name), feature, self._indexes(feature), window)
            for feature in declared
            for name, window in zip(feature.names(), feature.windows_s or (LIFETIME,), strict=True)
        ]
        return Pass(delay_s, sorted(windows), {w: self._distinct_over(w, declared) for w in windows}, slots)

    def _distinct_over(self, window: int, declared: Sequence[Feature]) -> list[int]:
        """The distinct counts somebody asks for over this window; counting costs, so the others are left out."""
        needed = [m for f in declared if window in f.windows_s for m in f.measures()]
        needed += [measure for measure, asked in self._extra if asked == window]
        return sorted({self.index_of(m) for m in needed if m.operation == "distinct"})

    # ------------------------------------------------------------------------------------------------ computing
    def compute(self, state: WindowState | None, as_of_us: int) -> list[float]:
        """Every feature of the entity as of an instant, in the order of `names`.

        A tile that starts after `as_of_us` is left out; the wall clock plays no part.
        """
        state = self.layout.empty() if state is None else self.layout.adopt(state)
        return self.finish(state, as_of_us, [self._walked(state, as_of_us, each) for each in self.passes])

    def finish(self, state: WindowState, as_of_us: int, totals: Sequence[Mapping[int, "Totals"]]) -> list[float]:
        """Every feature, from what the windows of each pass add up to; the state must be of this layout."""
        values = [NAN] * len(self.names)
        for each, found in zip(self.passes, totals, strict=True):
            at_us = as_of_us - each.delay_s * SECOND
            for slot in each.slots:
                if not state.since_us or slot.is_complete(state, at_us):
                    values[slot.place] = _finish(slot, found, state, as_of_us)
        return values

    def totals(self, state: WindowState, as_of_us: int) -> dict[int, Totals]:
        """What each window (in seconds) of the features without delay adds up to, as of an instant."""
        return self._walked(self.layout.adopt(state), as_of_us, self.passes[0])

    def _walked(self, state: WindowState, as_of_us: int, each: "Pass") -> dict[int, Totals]:
        """One pass over the tiles, youngest first."""
        as_of_s = as_of_us // SECOND - each.delay_s
        windows_s, distinct = each.windows_s, each.distinct
        walk = Walk(self.operations)
        found: dict[int, Totals] = {}
        hops, n_windows, next_window = self.layout.hops_s, len(windows_s), 0
        for tile in reversed(state.tiles):
            if tile.start > as_of_s:
                continue
            end = tile.start + hops[tile.level]
            while next_window < n_windows and end <= as_of_s - windows_s[next_window]:
                window = windows_s[next_window]
                found[window] = walk.totals(distinct[window])
                next_window += 1
            if next_window == n_windows:
                break
            walk.add(tile)
            if self.decayed:
                walk.add_decayed(tile.numbers, self.decayed, as_of_s - tile.start)
        for window in windows_s[next_window:]:
            found[window] = walk.totals(distinct[window])
        return found


@dataclass(frozen=True)
class _Slot:
    """One feature of a vector."""

    place: int
    feature: Feature
    indexes: list[int]
    window_s: int

    def is_complete(self, state: WindowState, at_us: int) -> bool:
        """Whether the state has all that the window asks for; after a new declaration it takes a window's time."""
        if self.feature.kind == "last_age":
            return True  # what is known happened, and is the latest
        begin = at_us - self.window_s * SECOND
        return all(state.since_us.get(index, begin) <= begin for index in self.indexes)


@dataclass(frozen=True)
class Pass:
    """What one walk over the tiles finds: totals of some windows, for features of one delay."""

    delay_s: int
    windows_s: list[int]
    distinct: dict[int, list[int]]
    slots: list[_Slot]


class Walk:
    """Adds tiles up, in any order but for decayed numbers."""

    __slots__ = ("_decayed", "_lasts", "_numbers", "_operations", "_sets", "_thetas")

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._numbers: dict[int, int] = {}
        self._sets: dict[int, set[int]] = {}
        self._thetas: dict[int, int] = {}
        self._lasts: dict[int, Last] = {}
        self._decayed: dict[int, float] = {}

    def add(self, tile: Tile) -> None:
        """A tile that lies in the window, of any age."""
        self._add_numbers(tile.numbers)
        if tile.sets:
            self._add_sets(tile.sets)
        if tile.lasts:
            self._add_lasts(tile.lasts)

    def _add_numbers(self, added: Mapping[int, int]) -> None:
        numbers, operations = self._numbers, self._operations
        for index, value in added.items():
            if index not in numbers:
                numbers[index] = value
            elif operations[index] in ("count", "sum", "sum_squares"):
                numbers[index] += value
            else:
                numbers[index] = combine(operations[index], numbers[index], value)

    def _add_sets(self, added: Mapping[int, list[int]]) -> None:
        for index, hashes in added.items():
            self._sets.setdefault(index, set()).update(hashes)
            if len(hashes) == DISTINCT_CAP:
                self._thetas[index] = min(hashes[-1], self._thetas.get(index, hashes[-1]))

    def _add_lasts(self, added: Mapping[int, Last]) -> None:
        for index, last in added.items():
            self._lasts[index] = max(last, self._lasts.get(index, last))

    def add_decayed(self, numbers: Mapping[int, int], decayed: Sequence[int], age_s: int) -> None:
        """What the numbers of so old a tile weigh."""
        weight = 0.5 ** (age_s / HALF_LIFE_S)
        for index in decayed:
            if index in numbers:
                self._decayed[index] = self._decayed.get(index, 0.0) + weight * numbers[index]

    def copy(self, distinct: Sequence[int]) -> "Walk":
        """One to go on from, leaving this as it is; of the sets only those that somebody counts."""
        other = Walk(self._operations)
        other._numbers, other._thetas, other._lasts = dict(self._numbers), dict(self._thetas), dict(self._lasts)
        other._sets = {index: set(self._sets[index]) for index in distinct if index in self._sets}
        return other

    def totals(self, distinct: Sequence[int]) -> Totals:
        """What has been added so far."""
        numbers = dict(self._numbers)
        for index in distinct:
            if index in self._sets:
                numbers[index] = distinct_count(self._sets[index], self._thetas.get(index))
        return Totals(numbers, dict(self._lasts), dict(self._decayed) if self._decayed else self._decayed)


def _shared(needed: Sequence[Measure]) -> list[Measure]:
    """Each measure once, kept for the longest window that asks for it: features share what they count."""
    shared: dict[int, Measure] = {}
    for measure in needed:
        known = shared.get(measure.id)
        if known is None or known.longest_s < measure.longest_s:
            shared[measure.id] = measure
    return list(shared.values())


def distinct_count(hashes: set[int], theta: int | None) -> int:
    """How many distinct values gave these 32-bit hashes.

    Exact unless a tile was full: such a tile kept its smallest hashes, and `theta` is the smallest of their largest.
    Every hash up to there is known, so their number over their share of the range estimates the rest (theta sketch;
    Dasgupta, Lang, Rhodes and Thaler 2016), with a relative error of about 1/sqrt(DISTINCT_CAP - 2) for one full tile.

    >>> distinct_count({5, 9, 11}, None)
    3
    """
    if theta is None:
        return len(hashes)
    known = sum(each <= theta for each in hashes)
    return max(len(hashes), round((known - 1) * 2**32 / theta)) if theta else len(hashes)


def _finish(slot: _Slot, totals: Mapping[int, Totals], state: WindowState, as_of_us: int) -> float:
    """The number of one feature."""
    kind, indexes = slot.feature.kind, slot.indexes
    if kind == "first_age":
        first_us = state.first_us.get(indexes[0])
        return NAN if first_us is None or first_us > as_of_us else (as_of_us - first_us) / SECOND
    window = totals[slot.window_s]
    value = window.numbers.get(indexes[0])
    match kind:
        case "count" | "sum" | "distinct":
            return float(value or 0)
        case "mean" | "ratio":
            count = window.numbers.get(indexes[1], 0)
            return (value or 0) / count if count else NAN
        case "max" | "min":
            return NAN if value is None else float(value)
        case "last_age":
            return NAN if value is None else max(0.0, (as_of_us - value) / SECOND)
        case "last":
            return float(window.lasts[indexes[0]].value) if indexes[0] in window.lasts else NAN
        case "decayed_mean":
            weight = window.decayed.get(indexes[1], 0.0)
            return window.decayed.get(indexes[0], 0.0) / weight if weight else NAN
        case "z_score":
            return _z_score(window, indexes)


def _z_score(window: Totals, indexes: Sequence[int]) -> float:
    """The latest value in standard deviations of those before it; NaN with fewer than two of them, or no spread."""
    if indexes[3] not in window.lasts:
        return NAN
    latest, numbers = window.lasts[indexes[3]].value, window.numbers
    count = numbers[indexes[1]] - 1
    total = numbers[indexes[0]] - latest
    spread = count * (numbers[indexes[2]] - latest * latest) - total * total
    # Integers up to here: the variance of equal values is exactly 0. `spread` is n^2 times the variance.
    return (latest * count - total) / sqrt(spread) if count >= 2 and spread > 0 else NAN
