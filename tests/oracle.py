"""What features should be, recounted from the facts: slow and plain, and sharing no code with the tiles.

A feature's value is exact over `[as_of - delay - window, as_of - delay]`. Tiles may round the begin of the window down,
and its end up where later facts are known, each by less than a hop: `admissible` lists the values that leaves.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import isclose, isnan, nan, sqrt

from ibook.declarations import EntityFeatures, Feature
from ibook.entities import Fact
from ibook.measures import LIFETIME, SECOND, Where, hash32

HALF_LIFE_US = 7 * 86400 * SECOND


def exact(feature: Feature, window_s: int, facts: Sequence[Fact], as_of_us: int) -> float:
    """The value of one feature, of its window (LIFETIME for an age), as of an instant."""
    end_us = as_of_us - feature.delay_s * SECOND
    return _value(feature, _between(facts, end_us - window_s * SECOND, end_us), as_of_us)


def admissible(
    feature: Feature, window_s: int, facts: Sequence[Fact], as_of_us: int, *, tail_s: int, head_s: int
) -> list[float]:
    """Every value it may have: the window reaches back up to `tail_s` further, and ahead up to `head_s`."""
    end_us = as_of_us - feature.delay_s * SECOND
    begin_us = end_us - window_s * SECOND
    begins = {begin_us, *(f.occurred_us for f in facts if begin_us - tail_s * SECOND < f.occurred_us < begin_us)}
    ends = {end_us, *(f.occurred_us for f in facts if end_us < f.occurred_us < end_us + head_s * SECOND)}
    return [_value(feature, _between(facts, begin, end), as_of_us) for begin, end in product(begins, ends)]


def same(value: float, other: float, *, within: float = 1e-9) -> bool:
    """Whether two values are equal but for the rounding of floats; missing is missing."""
    return (isnan(value) and isnan(other)) or isclose(value, other, rel_tol=within, abs_tol=1e-6)


def hop_at(features: EntityFeatures, age_s: float) -> int:
    """Hop in seconds of the tiles that hold what is so much older than the latest; negative ages are the youngest's."""
    resolution = features.resolution
    for level in range(features.layout.first_level, len(resolution.hops_s)):
        if age_s <= resolution.horizons_s[level]:
            return resolution.hops_s[level]
    return 0


def named_windows(features: EntityFeatures) -> Iterator[tuple[str, Feature, int]]:
    """Every feature's name, declaration and window, in the order of the vector."""
    for feature in features.declared:
        yield from (
            (name, feature, window)
            for name, window in zip(feature.names(), feature.windows_s or (LIFETIME,), strict=True)
        )


def _between(facts: Sequence[Fact], begin_us: int, end_us: int) -> list[Fact]:
    return [fact for fact in facts if begin_us <= fact.occurred_us <= end_us]


def _value(feature: Feature, inside: Sequence[Fact], as_of_us: int) -> float:
    """The number that these facts give."""
    ours = [f for f in inside if f.kind in feature.kinds and all(_meets(f, where) for where in feature.where)]
    numbers = [f.numbers[feature.field] for f in ours if feature.field in f.numbers]
    ids = {f.ids[feature.field] for f in ours if feature.field in f.ids}
    match feature.kind:
        case "count":
            return float(len(ours))
        case "sum":
            return float(sum(numbers))
        case "distinct":
            return float(len(ids))
        case "mean":
            return sum(numbers) / len(numbers) if numbers else nan
        case "max" | "min":
            return float(max(numbers) if feature.kind == "max" else min(numbers)) if numbers else nan
        case "last":
            return float(_by_time(ours)[-1].numbers[feature.field]) if ours else nan
        case "ratio":
            return _ratio(feature, len(ids) if feature.field else len(ours), inside)
        case "first_age":
            return (as_of_us - min(f.occurred_us for f in ours)) / SECOND if ours else nan
        case "last_age":
            return (as_of_us - max(f.occurred_us for f in ours)) / SECOND if ours else nan
        case "z_score":
            return _z_score([f.numbers[feature.field] for f in _by_time(ours)])
        case "decayed_mean":
            weights = [0.5 ** ((as_of_us - f.occurred_us) / HALF_LIFE_US) for f in ours]
            return sum(w * n for w, n in zip(weights, numbers, strict=True)) / sum(weights) if ours else nan


def _meets(fact: Fact, where: Where) -> bool:
    found, value = {**fact.ids, **fact.numbers}.get(where.field), where.value
    if isinstance(found, str) and isinstance(value, str):
        return {"==": found == value, "<=": found <= value, ">=": found >= value}[where.is_]
    if isinstance(found, int) and isinstance(value, int):
        return {"==": found == value, "<=": found <= value, ">=": found >= value}[where.is_]
    return False


def _by_time(facts: Sequence[Fact]) -> list[Fact]:
    return sorted(facts, key=lambda fact: (fact.occurred_us, hash32(fact.message_id)))


def _ratio(feature: Feature, above: int, inside: Sequence[Fact]) -> float:
    base = [f for f in inside if f.kind in feature.of]
    below = len({f.ids[feature.of_field] for f in base if feature.of_field in f.ids}) if feature.of_field else len(base)
    return above / below if below else nan


def _z_score(numbers: Sequence[int]) -> float:
    """The last of the numbers in (population) standard deviations of those before it."""
    if len(numbers) < 3:
        return nan
    *before, latest = numbers
    mean = sum(before) / len(before)
    variance = sum((number - mean) ** 2 for number in before) / len(before)
    return (latest - mean) / sqrt(variance) if len(set(before)) > 1 else nan
