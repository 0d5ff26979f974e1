"""Weighted draws, prepared once: they are what a simulation does most."""

from bisect import bisect
from collections.abc import Iterable
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


class Weighted(Generic[T]):
    """Choices with weights.

    >>> Weighted([("a", 1.0), ("b", 0.0)]).draw(Random(1))
    'a'
    """

    def __init__(self, choices: Iterable[tuple[T, float]]) -> None:
        pairs = list(choices)
        self.choices = tuple(choice for choice, _ in pairs)
        self.weights = tuple(weight for _, weight in pairs)
        self._cumulated = list(accumulate(weight for _, weight in pairs))
        self._total, self._last = self._cumulated[-1], len(pairs) - 1

    def draw(self, rng: Random) -> T:
        """One of them."""
        return self.choices[bisect(self._cumulated, rng.random() * self._total, 0, self._last)]
