"""What a model is worth on rows it has not seen: ranking, calibration, and money at thresholds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ibook.costs import Costs, costs_of_actions
from ibook.rules import Thresholds
from training.dataset import Frame

Scores = NDArray[np.float64]
GRID = (0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class AtThreshold:
    """Precision (None when nothing reaches the threshold), recall, and the share of purchases that reach it."""

    threshold: float
    precision: float | None
    recall: float
    share: float


@dataclass(frozen=True)
class Evaluation:
    """How well scores tell fraud from honest purchases."""

    n_rows: int
    n_fraud: int
    average_precision: float
    brier: float
    mean_score: float
    """Equals the base rate when the model is calibrated."""

    @property
    def base_rate(self) -> float:
        """Share of fraud: the average precision of a model that knows nothing."""
        return self.n_fraud / self.n_rows


def evaluate(frame: Frame, scores: Scores) -> Evaluation:
    """Judge scores of shape ``(n,)`` against the labels of the rows."""
    from sklearn.metrics import average_precision_score

    truth = frame.is_fraud.astype(np.float64)
    return Evaluation(
        n_rows=len(frame),
        n_fraud=int(truth.sum()),
        average_precision=float(average_precision_score(truth, scores)) if truth.any() else 0.0,
        brier=float(np.mean((scores - truth) ** 2)),
        mean_score=float(scores.mean()),
    )


def at_threshold(frame: Frame, scores: Scores, threshold: float) -> AtThreshold:
    """Precision and recall of acting from this score on."""
    reached = scores >= threshold
    caught = int((reached & frame.is_fraud).sum())
    n_reached, n_fraud = int(reached.sum()), int(frame.is_fraud.sum())
    return AtThreshold(
        threshold,
        caught / n_reached if n_reached else None,
        caught / n_fraud if n_fraud else 0.0,
        n_reached / len(frame),
    )


def cost(frame: Frame, scores: Scores, thresholds: Thresholds, costs: Costs) -> float:
    """What deciding these rows by these thresholds would have cost per purchase, in minor units."""
    actions = np.digitize(scores, (thresholds.review, thresholds.challenge, thresholds.decline))
    return float(costs_of_actions(frame.amounts, frame.is_fraud, costs)[actions, np.arange(len(frame))].mean())


def cheapest_thresholds(frame: Frame, scores: Scores, costs: Costs) -> Thresholds:
    """The thresholds of least cost on these rows, out of a coarse grid: few frauds do not carry a finer one."""
    choices = [
        Thresholds(review=review, challenge=challenge, decline=decline)
        for review in GRID for challenge in GRID for decline in GRID if review <= challenge <= decline
    ]  # fmt: skip
    table = costs_of_actions(frame.amounts, frame.is_fraud, costs)
    # Scores between two grid points are decided alike, so sum the costs per cell once.
    cells = np.digitize(scores, GRID)
    sums = np.stack([np.bincount(cells, weights=row, minlength=len(GRID) + 1) for row in table])
    totals = np.concatenate([np.zeros((4, 1)), sums.cumsum(axis=1)], axis=1)

    def total(thresholds: Thresholds) -> float:
        at = [
            0,
            *(GRID.index(x) + 1 for x in (thresholds.review, thresholds.challenge, thresholds.decline)),
            len(GRID) + 1,
        ]
        return float(sum(totals[action, at[action + 1]] - totals[action, at[action]] for action in range(4)))

    return min(choices, key=total)
