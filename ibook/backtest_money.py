"""What another decision would have been worth, in money.

Where the log says what a purchase was, the difference is known. Where purchases were declined but a random share of
their like was let through, that share speaks for them, by the inverse of its propensity (self-normalised: Swaminathan
& Joachims 2015, The self-normalized estimator for counterfactual learning). Where neither is so, there are only bounds.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ibook.backtest import UNKNOWN, Floats, Moved
from ibook.costs import ACTIONS, Costs, disputes, lost_sales, reviews

Measure = Literal["disputes", "lost_sales", "reviews", "total", "frauds_let_through", "false_declines"]
MEASURES: tuple[Measure, ...] = (
    "disputes", "lost_sales", "reviews", "total", "frauds_let_through", "false_declines",
)  # fmt: skip
"""The first four in minor units, the others expected numbers of purchases."""
DRAWS = 1_000
LEAST_EXPLORED = 10
"""Fewer purchases let through at random say nothing that an interval could tell."""


class Saving(NamedTuple):
    """What the other rules save (minus: cost more), over the whole past."""

    value: float
    """Where it is known or the random share speaks for it."""
    low: float
    high: float
    """95 % interval of `value`."""
    worst: float
    best: float
    """Bounds on what comes on top: purchases nobody can know of."""


class Basis(NamedTuple):
    """How many purchases with another decision each part of the savings rests on."""

    known: int
    explored: int
    """Let through at random …"""
    spoken_for: int
    """… and those they speak for, themselves included."""
    unknowable: int


class Savings(NamedTuple):
    """The difference."""

    by_measure: Mapping[Measure, Saving]
    basis: Basis


def savings(moved: Moved, costs: Costs, *, seed: int = 0, draws: int = DRAWS) -> Savings:
    """What the other rules would have saved.

    Intervals are of 95 %, by a bootstrap over cards: the purchases of one hang together.
    """
    table = _gains(moved, costs)
    rows = _rows_of(moved)
    own = np.take_along_axis(table, np.maximum(moved.kinds, 0)[None, None, :], axis=1)[:, 0, :]
    weights = np.divide(1.0, moved.seen_chance, out=np.zeros(len(moved.kinds)), where=rows.explored)
    sums = _by_card(moved.cards, [*(own * rows.known), *(own * weights), weights, rows.spoken_for.astype(np.float64)])
    values = _estimates(sums.sum(axis=1, keepdims=True))[:, 0]
    low, high = _interval(sums, seed, draws)
    worst, best = (extreme[:, rows.unknowable].sum(axis=1) for extreme in (table.min(axis=1), table.max(axis=1)))
    found = {
        measure: Saving(*(float(column[i]) + 0.0 for column in (values, low, high, worst, best)))  # + 0.0: no "-0"
        for i, measure in enumerate(MEASURES)
    }
    return Savings(found, Basis(*(int(each.sum()) for each in rows)))


class _Rows(NamedTuple):
    """Which purchases are what, shape ``(n,)`` each; the fields of Basis."""

    known: NDArray[np.bool_]
    explored: NDArray[np.bool_]
    spoken_for: NDArray[np.bool_]
    unknowable: NDArray[np.bool_]


def _rows_of(moved: Moved) -> _Rows:
    is_known, by_chance = moved.kinds != UNKNOWN, moved.seen_chance < 1
    explored = by_chance & moved.is_seen & is_known
    if explored.sum() < LEAST_EXPLORED:
        explored, spoken_for = np.zeros_like(explored), np.zeros_like(explored)
    else:
        spoken_for = by_chance
    known = is_known & ~by_chance
    return _Rows(known, explored, spoken_for, ~known & ~spoken_for)


def _gains(moved: Moved, costs: Costs) -> Floats:
    """What each purchase would save, by measure and by what it may have been, shape ``(measures, kinds, n)``."""
    change, amounts = (moved.before - moved.after).T, moved.amounts
    zero = np.zeros((len(ACTIONS), len(amounts)))
    lets_through = np.outer([1.0, costs.review_errs, costs.challenge_passed, 0.0], np.ones_like(amounts))
    declined = np.outer([0.0, 0.0, 0.0, 1.0], np.ones_like(amounts))
    seen, disputed, lost = reviews(amounts, costs), disputes(amounts, costs), lost_sales(amounts, costs)
    by_measure: dict[Measure, tuple[Floats, Floats, Floats]] = {
        "disputes": (disputed, zero, zero),
        "lost_sales": (zero, lost, zero),
        "reviews": (seen, seen, seen),
        "total": (disputed + seen, lost + seen, seen),
        "frauds_let_through": (lets_through, zero, zero),
        "false_declines": (zero, declined, zero),
    }
    return np.stack([
        np.stack([(change * of_kind).sum(axis=0) for of_kind in by_measure[measure]]) for measure in MEASURES
    ])  # fmt: skip


def _by_card(cards: NDArray[np.int64], rows: Sequence[Floats]) -> Floats:
    """Sums per card, shape ``(rows, cards)``."""
    _, codes = np.unique(cards, return_inverse=True)
    n = int(codes.max()) + 1 if len(codes) else 0
    return np.stack([np.bincount(codes, weights=row, minlength=n) for row in rows]).astype(np.float64)


def _estimates(sums: Floats) -> Floats:
    """Known savings, and those of the random share scaled to all it speaks for; columns are samples."""
    m = len(MEASURES)
    known, of_explored, weight, spoken_for = sums[:m], sums[m : 2 * m], sums[2 * m], sums[2 * m + 1]
    mean = np.divide(of_explored, weight, out=np.zeros_like(of_explored), where=weight > 0)
    return np.asarray(known + mean * spoken_for)


def _interval(sums: Floats, seed: int, draws: int) -> tuple[Floats, Floats]:
    """Percentiles over samples in which each card comes as often as chance has it (Poisson bootstrap)."""
    rng = np.random.default_rng(seed)
    chunk = max(1, 2_000_000 // max(1, sums.shape[1]))
    samples = [
        _estimates(sums @ rng.poisson(1.0, (sums.shape[1], min(chunk, draws - begun))).astype(np.float64))
        for begun in range(0, draws, chunk)
    ]
    low, high = np.percentile(np.concatenate(samples, axis=1), (2.5, 97.5), axis=1)
    return low, high
