"""When a model must stop deciding by itself: guard figures over the purchases that it and the other model have scored.

Pure but for what it counts. The window is of purchases, not of time, so that a quiet night and a rush are judged alike.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

EDGES = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7])
"""Of the bins of the score shift. Below the first lie the honest: how they rank among themselves decides nothing."""
MIN_BATCHES = 20
"""Fewer batches say nothing of the error rate: one of them may fail by chance."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What a model may do before it is taken back."""

    purchases: int
    """In the window."""
    min_purchases: int
    """Fewer say nothing of shift, frauds and approvals."""
    error_rate: float
    score_shift: float
    fraud_ratio: float
    approval_gap: float


class Figures(Struct, frozen=True, kw_only=True):
    """What the window says of the candidate."""

    purchases: int
    """Those that both models scored."""
    error_rate: float
    """Share of the batches that it failed to score, or scored too late."""
    score_shift: float
    """Population stability index of its scores against the reference's, on the same purchases, in nats."""
    fraud_ratio: float
    """Frauds that it expects (the sum of its calibrated scores) for each that the reference expects."""
    approval_gap: float
    """Share that it approves minus the share that the reference approves."""


class Watched(NamedTuple):
    """What a batch adds to the window, of reference and candidate."""

    rows: int
    bins: NDArray[np.int64]
    """Scores per bin, shape ``(2, len(EDGES) + 1)``."""
    totals: NDArray[np.float64]
    """Expected frauds and approvals, shape ``(2, 2)``."""


FAILED = Watched(0, np.zeros((2, len(EDGES) + 1), dtype=np.int64), np.zeros((2, 2)))
"""A batch that the candidate did not score."""


class Guard:
    """Watches a candidate beside a reference."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._window: deque[Watched] = deque()
        self._failed = 0
        self._rows = 0
        self._bins = np.zeros((2, len(EDGES) + 1), dtype=np.int64)
        self._totals = np.zeros((2, 2))
        self.seen = 0
        """Purchases that both models scored, ever."""

    def failed(self) -> None:
        """The candidate did not score a batch, or not in time."""
        self._failed += 1
        self._window.append(FAILED)
        self._forget()

    def observe(
        self, reference: NDArray[np.float64], candidate: NDArray[np.float64], approved: tuple[int, int]
    ) -> None:
        """Both scored a batch: calibrated scores of shape ``(n,)``, and how many each would approve."""
        bins = np.array([np.bincount(np.searchsorted(EDGES, each, side="right"), minlength=len(EDGES) + 1)
                         for each in (reference, candidate)])  # fmt: skip
        totals = np.array([[reference.sum(), approved[0]], [candidate.sum(), approved[1]]])
        self._window.append(Watched(len(reference), bins, totals))
        self.seen += len(reference)
        self._rows += len(reference)
        self._bins += bins
        self._totals += totals
        self._forget()

    def _forget(self) -> None:
        """Drop whole batches that lie beyond the window; a few are kept however large they are."""
        while len(self._window) > MIN_BATCHES and (
            self._rows - self._window[0].rows >= self._bounds.purchases or len(self._window) > self._bounds.purchases
        ):
            oldest = self._window.popleft()
            self._failed -= oldest is FAILED
            self._rows -= oldest.rows
            self._bins -= oldest.bins
            self._totals -= oldest.totals

    def figures(self) -> Figures:
        """What the window says now."""
        rows = max(1, self._rows)
        (expected, approved), (candidate_expected, candidate_approved) = self._totals
        return Figures(
            purchases=self._rows,
            error_rate=self._failed / max(1, len(self._window)),
            score_shift=psi(self._bins[0], self._bins[1]) if self._rows else 0.0,
            fraud_ratio=float((candidate_expected + 1.0) / (expected + 1.0)),
            approval_gap=float((candidate_approved - approved) / rows),
        )

    def failing(self) -> str:
        """A sentence when the error rate is out of bounds; empty while it isn't."""
        rate, bound, batches = self.figures().error_rate, self._bounds.error_rate, len(self._window)
        if batches < MIN_BATCHES or rate <= bound:
            return ""
        return f"{rate:.0%} of {batches} batches failed or came late, at most {bound:.0%} may"

    def breach(self) -> str:
        """A sentence that says which figure is out of bounds; empty while none is."""
        figures, bounds = self.figures(), self._bounds
        if why := self.failing():
            return why
        if figures.purchases < bounds.min_purchases:
            return ""
        what = ""
        if abs(figures.approval_gap) > bounds.approval_gap:
            what = f"approvals changed by {figures.approval_gap:+.1%}, at most {bounds.approval_gap:.1%} is allowed"
        elif not 1 / bounds.fraud_ratio <= figures.fraud_ratio <= bounds.fraud_ratio:
            what = f"it expects {figures.fraud_ratio:.2g} times the frauds, at most {bounds.fraud_ratio:g} is allowed"
        elif figures.score_shift > bounds.score_shift:
            what = f"its scores shifted by {figures.score_shift:.2f} nats, at most {bounds.score_shift:g} is allowed"
        return f"{what} over {figures.purchases} purchases" if what else ""


def psi(reference: NDArray[np.int64], current: NDArray[np.int64], *, floor: float = 1e-3) -> float:
    """Population stability index of two histograms over the same bins, in nats; 0 when the shares are equal.

    `reference` and `current` are counts of shape ``(n_bins,)``; `floor` is the smallest share a bin may have.
    Raises ValueError when a side is empty: no data is not "no shift". Siddiqi (2006), Credit Risk Scorecards.

    >>> round(psi(np.array([50, 50]), np.array([80, 20])), 3)
    0.416
    """
    if not reference.sum() or not current.sum():
        raise ValueError("a histogram without counts")
    expected, found = (np.maximum(counts / counts.sum(), floor) for counts in (reference, current))
    return float(np.sum((found - expected) * np.log(found / expected)))
