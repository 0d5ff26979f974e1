"""Intervals that hold at every look at once: whoever watches may stop when he likes.

Asymptotic confidence sequences: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Time-uniform central limit theory
and asymptotic confidence sequences, Annals of Statistics 52(6), theorem 2.2; under martingale dependence their
proposition 2.5. What a fixed-time interval multiplies by 1.96 / sqrt(n) they multiply by `margin(n)`.
"""

from math import log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ALPHA = 0.05
TUNED_FOR = 500
"""The interval is narrowest at so many observations; it holds at any number."""
LONGEST = 10**9


def margin(n: Floats, *, alpha: float = ALPHA, tuned_for: int = TUNED_FOR) -> Floats:
    """Half the width, in standard deviations of one observation, of the interval after `n` of them, any shape.

    >>> round(float(margin(np.array(500.0)) / (1.96 / 500**0.5)), 2)
    1.55
    """
    rho2 = (-2.0 * log(alpha) + log(-2.0 * log(alpha) + 1.0)) / tuned_for  # their equation for the best rho at a time
    scaled = n * rho2 + 1.0
    return np.asarray(np.sqrt(2.0 * scaled / (n**2 * rho2) * np.log(np.sqrt(scaled) / alpha)), dtype=np.float64)


def needed(sd: float, half_width: float, *, alpha: float = ALPHA, tuned_for: int = TUNED_FOR) -> int:
    """Observations until half the interval's width is at most `half_width`; at most LONGEST.

    >>> needed(1.0, float(margin(np.array(800.0))))
    800
    """
    low, high = 1, LONGEST
    while low < high:
        middle = (low + high) // 2
        if sd * float(margin(np.array(float(middle)), alpha=alpha, tuned_for=tuned_for)) <= half_width:
            high = middle
        else:
            low = middle + 1
    return low
