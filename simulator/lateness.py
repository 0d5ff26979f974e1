"""How late things happen, counted in bins, so that it takes no more memory the longer it goes on."""

_EXACT_BITS = 6
"""Up to 63 µs are counted exactly; above, a bin is at most a 32nd of its value wide."""


class Lateness:
    """A histogram of microseconds.

    >>> late = Lateness()
    >>> for us in (10, 20, 30, 40_000):
    ...     late.note(us)
    >>> late.percentiles_ms((50, 75))
    {'p50': 0.02, 'p75': 0.03}
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.n = 0

    def note(self, us: int) -> None:
        """Something was so late; what came early was not late at all."""
        us = max(0, us)
        shift = max(0, us.bit_length() - _EXACT_BITS)
        bound = ((us >> shift) + 1 << shift) - 1
        self._counts[bound] = self._counts.get(bound, 0) + 1
        self.n += 1

    def percentiles_ms(self, percents: tuple[float, ...] = (50, 95, 99)) -> dict[str, float]:
        """The smallest bounds that so many percent do not exceed, in milliseconds; empty without any."""
        if not self.n:
            return {}
        bounds = sorted(self._counts)
        return {f"p{percent:g}": self._bound(bounds, percent) / 1000 for percent in percents}

    def _bound(self, bounds: list[int], percent: float) -> int:
        passed = 0
        for bound in bounds:
            passed += self._counts[bound]
            if passed >= self.n * percent / 100:
                return bound
        return bounds[-1]
