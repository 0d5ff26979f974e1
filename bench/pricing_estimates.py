"""Figures of sales that were played: gain over list price, the oracle's share of it, and intervals over worlds."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.pricing_crowd import Floats
from bench.pricing_play import Played

BOOTSTRAPS = 2000

Estimate = dict[str, float | None]
"""`mean`, `low` and `high`; None where there was nothing to be a share of."""
Runs = dict[str, list[list[Played]]]
"""Policy -> world -> what each of its events came to."""


def uplift(runs: Runs, name: str, *, late: bool = False) -> Estimate:
    """Revenue over that at list price, less 1."""
    ours, at_list = (_revenue(runs, each, late=late) for each in (name, "list price"))
    return interval(lambda drawn: _ratio(ours[drawn].sum() - at_list[drawn].sum(), at_list[drawn].sum()), len(ours))


def share_of_gain(runs: Runs, name: str, *, late: bool = False) -> Estimate:
    """Gain over list price as a share of the oracle's."""
    ours, at_list, best = (_revenue(runs, each, late=late) for each in (name, "list price", "oracle"))
    return interval(lambda drawn: _ratio((ours - at_list)[drawn].sum(), (best - at_list)[drawn].sum()), len(ours))


def _ratio(part: float, of: float) -> float:
    """NaN where there is nothing to be a share of."""
    return float(part / of) if of > 0 else float("nan")


def interval(estimate: Callable[[Any], float], n: int) -> Estimate:
    """An estimate over all worlds and its 95 % bootstrap interval; Efron & Tibshirani (1993), section 13.3."""
    rng = np.random.default_rng(0)
    drawn = np.array([estimate(rng.integers(0, n, n)) for _ in range(BOOTSTRAPS)])
    low, high = np.nanquantile(drawn, (0.025, 0.975)) if np.isfinite(drawn).any() else (float("nan"),) * 2
    mean = estimate(np.arange(n))
    return {"mean": _rounded(mean), "low": _rounded(float(low)), "high": _rounded(float(high))}


def _rounded(value: float) -> float | None:
    """None is what JSON has for nothing to be a share of."""
    return None if np.isnan(value) else round(value, 4)


def percent(value: float | None) -> str:
    """A change in words.

    >>> percent(0.0123), percent(None)
    ('+1.23 %', '–')
    """
    return "–" if value is None else f"{value:+.2%}".replace("%", " %")


def _revenue(runs: Runs, name: str, *, late: bool) -> Floats:
    """Per world. `late` is the second half of the offers of events that do not sell out at list price."""
    totals = []
    for events, at_list in zip(runs[name], runs["list price"], strict=True):
        kept = [one for one, listed in zip(events, at_list, strict=True) if not (late and listed.sold_out)]
        totals.append(sum(float(one.revenue[len(one.revenue) // 2 if late else 0 :].sum()) for one in kept))
    return np.array(totals)
