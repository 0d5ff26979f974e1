"""Tiles to numbers: what the tiles of a window add up to, and how each kind of feature is finished from it."""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Literal, NamedTuple

from ibook.measures import MAX_SUM, SECOND, Operation, combine
from ibook.states import Last, Tile

Kind = Literal[
    "count", "sum", "mean", "max", "min", "last", "distinct", "ratio", "first_age", "last_age", "z_score",
    "decayed_mean",
]  # fmt: skip
NAN = float("nan")
HALF_LIFE_S = 7 * 86400
"""Of the weights of a decayed mean."""


class Sums:
    """What tiles add up to, whatever their order; only decayed numbers must come youngest first to be equal bitwise."""

    __slots__ = ("_cap", "_extremes", "_kept", "_sets", "_unions", "decayed", "lasts", "numbers")

    def __init__(self, extremes: Mapping[int, Operation], distinct_cap: int) -> None:
        """`extremes` are the measures, by index, whose numbers don't add up."""
        self._extremes = extremes
        self._cap = distinct_cap
        self._sets: dict[int, list[list[int]]] = {}
        self._kept: dict[int, list[list[int]]] = {}
        """The sets of the kept sums that these were joined to."""
        self._unions: dict[int, Union] = {}
        """Theirs, of those that were asked for; shared by all that are joined to them."""
        self.numbers: dict[int, int] = {}
        """Measure index -> count, sum, extreme, or last time."""
        self.lasts: dict[int, Last] = {}
        self.decayed: dict[int, float] = {}

    def add(self, tile: Tile) -> None:
        """A tile that lies in the window."""
        numbers, extremes = self.numbers, self._extremes
        if not (numbers or self._sets or self._kept or self.lasts):
            self.numbers, self.lasts = tile.numbers.copy(), tile.lasts.copy()
            self._sets = {index: [hashes] for index, hashes in tile.sets.items()}
            return
        for index, value in tile.numbers.items():
            if index not in numbers:
                numbers[index] = value
            elif index not in extremes:
                numbers[index] += value
            else:
                numbers[index] = combine(extremes[index], numbers[index], value)
        for index, hashes in tile.sets.items():
            if index in self._sets:
                self._sets[index].append(hashes)
            else:
                self._sets[index] = [hashes]
        for index, last in tile.lasts.items():
            known = self.lasts.get(index)
            if known is None or last > known:
                self.lasts[index] = last

    def add_decayed(self, numbers: Mapping[int, int], decayed: Sequence[int], age_s: int) -> None:
        """What the numbers of so old a tile weigh."""
        weight = 0.5 ** (age_s / HALF_LIFE_S)
        for index in decayed:
            if index in numbers:
                self.decayed[index] = self.decayed.get(index, 0.0) + weight * numbers[index]

    def copy(self) -> "Sums":
        """One to go on from, leaving this as it is."""
        other = Sums(self._extremes, self._cap)
        other.numbers, other.lasts = dict(self.numbers), dict(self.lasts)
        other._sets = {index: list(sets) for index, sets in self._sets.items()}
        return other

    def joined(self, young: "Sums", needed: Sequence[int]) -> "Sums":
        """These sums and those of a few tiles more, of the measures that are needed.

        These are kept, to be joined again and again, and must not change: the union of what they hold is made once.
        """
        both = Sums(self._extremes, self._cap)
        both._kept, both._unions, both._sets = self._sets, self._unions, young._sets
        for index in needed:
            known, more = self.numbers.get(index), young.numbers.get(index)
            if known is None or more is None:
                if (value := more if known is None else known) is not None:
                    both.numbers[index] = value
            else:
                both.numbers[index] = (
                    combine(self._extremes[index], known, more) if index in self._extremes else known + more
                )
        if young.lasts:
            both.lasts = {**self.lasts, **{i: max(last, self.lasts.get(i, last)) for i, last in young.lasts.items()}}
        else:
            both.lasts = self.lasts
        return both

    def distinct(self, index: int) -> int:
        """How many distinct values a measure has seen.

        Exact unless a tile was full: such a tile kept its smallest hashes, and theta is the smallest of their largest.
        Every hash up to there is known, so their number over their share of the range estimates the rest (theta
        sketch; Dasgupta, Lang, Rhodes and Thaler 2016), with a relative error of about 1/sqrt(cap - 2), less
        with several tiles.
        """
        sets, cap = self._sets.get(index, []), self._cap
        if index in self._kept:
            if index not in self._unions:
                self._unions[index] = Union.of(self._kept[index], cap)
            return self._unions[index].count_with(sets, cap) if sets else self._unions[index].n_distinct()
        for hashes in sets:
            if len(hashes) == cap:
                return Union.of(sets, cap).n_distinct()
        return len(sets[0]) if len(sets) == 1 else len(set[int]().union(*sets))


NO_THETA = 2**32
"""Above every hash: all of them are known."""


class Union(NamedTuple):
    """The hashes of several tiles, of which all up to `theta` are known."""

    hashes: set[int]
    theta: int
    n_known: int
    """How many lie up to theta."""

    @classmethod
    def of(cls, sets: Sequence[list[int]], cap: int) -> "Union":
        """The union of tiles' sorted hashes; a set of `cap` hashes is full, and knows nothing beyond its largest."""
        hashes, theta = set[int]().union(*sets), _theta(sets, cap)
        return cls(hashes, theta, _up_to(theta, hashes))

    def n_distinct(self) -> int:
        """How many distinct values there are, or were."""
        n_found = len(self.hashes)
        return n_found if self.theta == NO_THETA else theta_count(n_found, self.n_known, self.theta)

    def count_with(self, sets: Sequence[list[int]], cap: int) -> int:
        """The same, with the values of a few tiles more."""
        more = {each for hashes in sets for each in hashes if each not in self.hashes}
        theta, n_found = min(self.theta, _theta(sets, cap)), len(self.hashes) + len(more)
        if theta == NO_THETA:
            return n_found
        n_known = self.n_known if theta == self.theta else _up_to(theta, self.hashes)
        return theta_count(n_found, n_known + _up_to(theta, more), theta)


def _theta(sets: Sequence[list[int]], cap: int) -> int:
    full = [each[-1] for each in sets if len(each) == cap]
    return min(full) if full else NO_THETA


def _up_to(theta: int, hashes: set[int]) -> int:
    return len(hashes) if theta >= NO_THETA else sum(map(theta.__ge__, hashes))


def theta_count(n_found: int, n_known: int, theta: int) -> int:
    """The estimated number of distinct values, of which `n_known` have 32-bit hashes up to `theta`.

    >>> theta_count(3, 3, 2**31)
    4
    """
    return max(n_found, round((n_known - 1) * 2**32 / theta)) if theta else n_found


Finish = Callable[[Sums, Sequence[int], int], float]
"""Sums of the window, indexes of the measures, instant in microseconds -> the number."""


def _distinct(sums: Sums, indexes: Sequence[int], as_of_us: int) -> float:
    return float(sums.distinct(indexes[0]))


def _mean(sums: Sums, indexes: Sequence[int], as_of_us: int) -> float:
    """One number over another: of a sum and a count the mean, of two counts their ratio."""
    count = sums.numbers.get(indexes[1], 0)
    return sums.numbers.get(indexes[0], 0) / count if count else NAN


def distinct_ratio(sums: Sums, indexes: Sequence[int], as_of_us: int) -> float:
    """A ratio of distinct counts, or of one of them and a count."""
    count = sums.numbers.get(indexes[1]) or sums.distinct(indexes[1])
    return (sums.numbers.get(indexes[0]) or sums.distinct(indexes[0])) / count if count else NAN


def _last_age(sums: Sums, indexes: Sequence[int], as_of_us: int) -> float:
    """The tile that holds the instant may hold something a little later, which is no age below 0."""
    last_us = sums.numbers.get(indexes[0])
    return NAN if last_us is None else max(0.0, (as_of_us - last_us) / SECOND)


def _last(sums: Sums, indexes: Sequence[int], as_of_us: int) -> float:
    last = sums.lasts.get(indexes[0])
    return NAN if last is None else float(last.value)


def _decayed_mean(sums: Sums, indexes: Sequence[int], as_of_us: int) -> float:
    weight = sums.decayed.get(indexes[1], 0.0)
    return sums.decayed.get(indexes[0], 0.0) / weight if weight else NAN


def _z_score(sums: Sums, indexes: Sequence[int], as_of_us: int) -> float:
    """The latest value in standard deviations of those before it; NaN with fewer than two of them, or no spread.

    NaN too when the squares are more than can be kept.
    """
    last, numbers = sums.lasts.get(indexes[3]), sums.numbers
    count = numbers.get(indexes[1], 0) - 1
    if last is None or count < 2:
        return NAN
    squares = numbers.get(indexes[2], 0)
    if squares >= MAX_SUM:
        return NAN  # the sum stopped growing: amounts in the hundreds of millions, many of them
    total = numbers.get(indexes[0], 0) - last.value
    # Integers up to here: the variance of equal values is exactly 0. `spread` is count^2 times the variance.
    spread = count * (squares - last.value * last.value) - total * total
    return (last.value * count - total) / sqrt(spread) if spread > 0 else NAN


FINISH: Mapping[Kind, Finish] = {
    "mean": _mean, "distinct": _distinct, "ratio": _mean, "last_age": _last_age, "last": _last,
    "decayed_mean": _decayed_mean, "z_score": _z_score,
}  # fmt: skip
"""How each kind is finished. Counts, sums and extremes are what the tiles add up to; a first age needs no window."""
