"""What a feature is: one declaration, from which come the state layout, the numbers, and how far they may be off.

Nothing here knows tickets: `ibook/features.py` declares ours, and anybody may declare theirs over facts of their own.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

from ibook.finishing import FINISH, NAN, Finish, Kind, Sums, distinct_ratio
from ibook.measures import FINE, LIFETIME, SECOND, Measure, Operation, Resolution, Where
from ibook.states import WindowState
from ibook.windows import Layout

MINUTE, FIVE_MINUTES, TEN_MINUTES, HOUR, DAY, WEEK, MONTH = 60, 300, 600, 3600, 86400, 7 * 86400, 30 * 86400
_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (1, "s"))


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
        if any(MONTH < window < LIFETIME for window in self.windows_s):
            raise ValueError(f"{self.name}: a window ends after 30 days, or never")
        if any(window + self.delay_s > MONTH + DAY for window in self.windows_s if window < LIFETIME):
            raise ValueError(f"{self.name}: tiles are kept for 31 days, a delay and its window together are longer")

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


class EntityFeatures:
    """The features of one entity: its layout, and how its measures become numbers."""

    def __init__(
        self, entity: str, declared: Sequence[Feature], *, extra: Sequence[tuple[Measure, int]] = (),
        resolution: Resolution = FINE,
    ) -> None:  # fmt: skip
        """`extra` are measures, each with a window, that somebody reads through `sums` alone."""
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
        self.extremes: dict[int, Operation] = {
            index: measure.operation for index, measure in enumerate(measures)
            if measure.operation in ("min", "max", "last_time")
        }  # fmt: skip
        self._plan()

    def for_model(self) -> "EntityFeatures":
        """The features that the fraud model sees alone, of the same states: `names` are `model_names`."""
        fewer = copy(self)
        fewer.declared, fewer.names, fewer._extra = [f for f in self.declared if f.for_model], self.model_names, ()
        fewer._plan()
        return fewer

    def _plan(self) -> None:
        """How the declared features are found."""
        self.passes = [self._pass(delay) for delay in sorted({0, *(f.delay_s for f in self.declared)})]
        self._nothing = [
            0.0 if f.kind in ("count", "sum", "distinct") else NAN for f in self.declared for _ in f.names()
        ]
        self._first_ages = [
            (self.names.index(f.name), self._indexes(f)[0]) for f in self.declared if f.kind == "first_age"
        ]
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
        slots: dict[int, list[Slot]] = {window: [] for window in windows}
        for feature in declared:
            if feature.kind != "first_age":
                for name, window in zip(feature.names(), feature.windows_s or (LIFETIME,), strict=True):
                    slots[window].append(self._slot(feature, self.names.index(name), window))
        return Pass(delay_s, slots)

    def _slot(self, feature: Feature, place: int, window_s: int) -> "Slot":
        """The slot of a feature's window."""
        # With the tile its begin lies in: a mean of a new sum and a known count must not see one of them alone there.
        span_s = window_s + feature.delay_s
        span_s = 0 if feature.kind == "last_age" else span_s + self.resolution.hop_of(span_s)
        of_distinct = feature.kind == "ratio" and (feature.field or feature.of_field)
        finish = distinct_ratio if of_distinct else FINISH.get(feature.kind)
        return Slot(place, finish, tuple(self._indexes(feature)), span_s * SECOND)

    # ------------------------------------------------------------------------------------------------ computing
    def compute(self, state: WindowState | None, as_of_us: int) -> list[float]:
        """Every feature of the entity as of an instant, in the order of `names`.

        A tile that starts after `as_of_us` is left out; the wall clock plays no part.
        """
        state = self.layout.empty() if state is None else self.layout.adopt(state)
        values = self.first_ages(state, as_of_us)
        for each in self.passes:
            self._walk(state, as_of_us, each, values)
        return values

    def first_ages(self, state: WindowState, as_of_us: int) -> list[float]:
        """A vector with the ages that need no tile, everything else as if nothing had happened."""
        values = list(self._nothing)
        for place, index in self._first_ages:
            first_us = state.first_us.get(index)
            if first_us is not None and first_us <= as_of_us and index not in state.since_us:
                values[place] = (as_of_us - first_us) / SECOND
        return values

    def _walk(self, state: WindowState, as_of_us: int, each: "Pass", values: list[float]) -> None:
        """Fill in the features of a pass: one walk over the tiles, youngest first."""
        as_of_s = as_of_us // SECOND - each.delay_s
        if not each.windows or (not state.since_us and (not state.tiles or state.tiles[0].start > as_of_s)):
            return
        hops, sums, windows, waiting = self.layout.hops_s, self.no_sums(), each.windows, 0
        begin = as_of_s - windows[0]
        for tile in reversed(state.tiles):
            if tile.start > as_of_s:
                continue
            end = tile.start + hops[tile.level]
            if end <= begin:
                first = waiting
                while waiting < len(windows) and end <= as_of_s - windows[waiting]:
                    waiting += 1
                self.finish(each.between(first, waiting), sums, state, as_of_us, values)
                if waiting == len(windows):
                    return
                begin = as_of_s - windows[waiting]
            sums.add(tile)
            if self.decayed:
                sums.add_decayed(tile.numbers, self.decayed, as_of_s - tile.start)
        self.finish(each.between(waiting, len(windows)), sums, state, as_of_us, values)

    def finish(
        self, slots: "Slots", sums: Sums, state: WindowState, as_of_us: int, values: list[float]
    ) -> None:  # fmt: skip
        """Fill in the features of one window, from the sums of its tiles; `state` tells how complete they are."""
        numbers = sums.numbers
        for index, places in slots.numbers:
            if index in numbers:
                value = float(numbers[index])
                for place in places:
                    values[place] = value
        for finish, indexes, places in slots.others:
            value = finish(sums, indexes, as_of_us)
            for place in places:
                values[place] = value
        if state.since_us:
            for slot in slots.all:
                if not slot.is_complete(state, as_of_us):
                    values[slot.place] = NAN

    def no_sums(self) -> Sums:
        """What no tile adds up to."""
        return Sums(self.extremes, self.resolution.distinct_cap)

    def sums(self, state: WindowState, as_of_us: int, window_s: int) -> Sums:
        """What the tiles of a window add up to, as of an instant."""
        state, as_of_s, sums = self.layout.adopt(state), as_of_us // SECOND, self.no_sums()
        for tile in state.tiles:
            if tile.start <= as_of_s < tile.start + self.layout.hops_s[tile.level] + window_s:
                sums.add(tile)
        return sums


@dataclass(frozen=True, slots=True)
class Slot:
    """One feature of a vector: where it goes, and how it is finished."""

    place: int
    finish: Finish | None
    """None for what the tiles add up to."""
    indexes: tuple[int, ...]
    span_us: int
    """From the oldest tile of its window to the instant; 0 when it need not be complete: the latest is known."""

    def is_complete(self, state: WindowState, as_of_us: int) -> bool:
        """Whether the state has all that the window asks for; after a new declaration it takes a window's time."""
        begin_us = as_of_us - self.span_us
        return not self.span_us or all(state.since_us.get(index, begin_us) <= begin_us for index in self.indexes)


@dataclass(frozen=True, slots=True)
class Slots:
    """The features of one window, or of several whose sums are the same: each number is finished once.

    Counts, sums and extremes, the most of them, are what the tiles add up to.
    """

    all: list[Slot]
    numbers: list[tuple[int, list[int]]]
    """Measure index, and the places it goes to."""
    others: list[tuple[Finish, tuple[int, ...], list[int]]]
    """How it is finished, from which measures, and the places it goes to."""
    needed: tuple[int, ...]
    """All these measures."""

    @classmethod
    def of(cls, slots: Iterable[Slot]) -> "Slots":
        """Slots whose windows have the same sums."""
        all_, numbers, others = list(slots), dict[int, list[int]](), dict[tuple[Finish, tuple[int, ...]], list[int]]()
        for slot in all_:
            if slot.finish is None:
                numbers.setdefault(slot.indexes[0], []).append(slot.place)
            else:
                others.setdefault((slot.finish, slot.indexes), []).append(slot.place)
        needed = {index for slot in all_ for index in slot.indexes}
        return cls(all_, list(numbers.items()), [(*how, places) for how, places in others.items()], tuple(needed))


class Pass:
    """What one walk over the tiles finds: for the features of one delay, slots by window, shortest first."""

    def __init__(self, delay_s: int, slots: Mapping[int, Sequence[Slot]]) -> None:
        self.delay_s = delay_s
        self.windows = tuple(sorted(slots))
        self.slots = {window: Slots.of(slots[window]) for window in self.windows}
        self._between: dict[tuple[int, int], Slots] = {}

    def between(self, first: int, end: int) -> Slots:
        """The slots of the windows from one on up to before another: of those in which the same tiles lie."""
        found = self._between.get((first, end))
        if found is None:
            slots = [slot for window in self.windows[first:end] for slot in self.slots[window].all]
            found = self._between[first, end] = Slots.of(slots)
        return found


def _shared(needed: Sequence[Measure]) -> list[Measure]:
    """Each measure once, kept for the longest window that asks for it: features share what they count."""
    shared: dict[int, Measure] = {}
    for measure in needed:
        known = shared.get(measure.id)
        if known is None or known.longest_s < measure.longest_s:
            shared[measure.id] = measure
    return list(shared.values())
