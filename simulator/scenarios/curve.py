"""A rate that changes over a run, and the instants that follow it."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate, count
from random import Random

from simulator.engine import SECOND_US

Shape = Callable[[float], float]
"""How busy it is at a share of the run, beside its other moments; never below 0, and not 0 everywhere."""
STEPS = 2_000
"""The finest a shape is looked at: 30 ms of a minute."""


def constant(share: float) -> float:
    """As busy at every moment of the run."""
    return 1.0


class Curve:
    """A shape, scaled so that its mean over the run is 1.

    >>> halves = Curve(lambda share: 3.0 if share < 0.5 else 1.0)
    >>> halves.factor(0.2), halves.factor(0.9)
    (1.5, 0.5)
    """

    def __init__(self, shape: Shape) -> None:
        heights = [max(0.0, shape((step + 0.5) / STEPS)) for step in range(STEPS)]
        total = sum(heights)
        if not total > 0:
            raise ValueError("a rate that is 0 at every moment has no instants")
        self._factors = [height * STEPS / total for height in heights]
        self._done = [0.0, *accumulate(factor / STEPS for factor in self._factors)]

    def factor(self, share: float) -> float:
        """The rate at a share of the run, as a multiple of its mean over the run; 0 outside of it."""
        return self._factors[min(STEPS - 1, int(share * STEPS))] if 0 <= share <= 1 else 0.0

    def done(self, share: float) -> float:
        """Which part of everything has happened at a share of the run.

        >>> round(Curve(lambda share: 3.0 if share < 0.5 else 1.0).done(0.5), 6)
        0.75
        """
        step = min(STEPS - 1, max(0, int(share * STEPS)))
        return min(1.0, self._done[step] + self._factors[step] * (share - step / STEPS))

    def instants(self, start_us: int, seconds: float, n: float, rng: Random) -> Iterator[int]:
        """About `n` instants in the `seconds` from `start_us`, ever later.

        One lies somewhere in each n-th of what is due, so the number is off by less than one at any moment.
        """
        for number in count():
            due = (number + rng.random()) / n if n > 0 else 1.0
            if due >= 1:
                return
            yield start_us + int(self._share_when(due) * seconds * SECOND_US)

    def _share_when(self, due: float) -> float:
        """The share of the run at which the share `due` of everything has happened."""
        step = min(STEPS - 1, bisect_right(self._done, due) - 1)
        height = self._factors[step] / STEPS
        return (step + (due - self._done[step]) / height) / STEPS if height > 0 else (step + 1) / STEPS
