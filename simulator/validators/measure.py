"""What validators hand over: measures, and the shares and intervals they are made of."""

from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

Unit = Literal["ms", "seconds", "share", "change", "score", "count"]
"""A `share` is of 1, a `change` may be below 0, a `score` has no unit."""


class Meaning(NamedTuple):
    """What a measure is."""

    unit: Unit
    says: str


class Measure(Struct, frozen=True, kw_only=True):
    """One number about a run, or the reason why there is none."""

    name: str
    """Group and name, like `latency.p99_ms`."""
    value: float | None
    n: int
    """How many purchases, offers or prices it rests on."""
    sentence: str
    """What the value says, or why there is none."""


class Share(Struct, frozen=True, kw_only=True):
    """How many of how many, as a share with its 95 % interval."""

    count: int
    of: Annotated[int, Meta(ge=0)]
    value: float | None
    """None of nothing."""
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.count} of {self.of}"


def share(count: int, of: int) -> Share:
    """A share with its Wilson interval; Wilson (1927), Probable Inference, equation for the score interval.

    >>> one = share(8, 10)
    >>> one.value, round(one.low, 3), round(one.high, 3)
    (0.8, 0.49, 0.943)
    >>> share(0, 0).value is None
    True
    """
    from scipy.stats import binomtest

    if not of:
        return Share(count=count, of=of, value=None, low=None, high=None)
    interval = binomtest(count, of).proportion_ci(0.95, method="wilson")
    return Share(count=count, of=of, value=count / of, low=float(interval.low), high=float(interval.high))


class Estimate(Struct, frozen=True, kw_only=True):
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float


def known(name: str, value: float, n: int, sentence: str) -> Measure:
    """A measure that was taken."""
    return Measure(name=name, value=value, n=n, sentence=sentence)


def unknown(name: str, why: str) -> Measure:
    """A measure that could not be taken; `why` is one sentence."""
    return Measure(name=name, value=None, n=0, sentence=why)


def not_taken(names: tuple[str, ...], why: str) -> tuple[Measure, ...]:
    """Measures that all have none for the same reason."""
    return tuple(unknown(name, why) for name in names)
