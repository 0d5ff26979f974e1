"""A model of rewards for doubly robust estimates: one ridge regression per arm on the context, fitted out of fold.

The rewards of a cluster are predicted by models that have not seen it, so that the correction by residuals is honest
(cross-fitting; Chernozhukov et al. 2018, Double/debiased machine learning).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FOLDS = 5
RIDGE = 10.0
"""Decisions that the mean over all arms is worth for an arm, and zero slope for each standardised column."""


def predictions(context: Floats, arms: Ints, reward: Floats, n: Floats, clusters: Ints, n_arms: int) -> Floats:
    """Reward per decision of every row under every arm, shape ``(n_rows, n_arms)``.

    `context` is of shape ``(n_rows, n_columns)``, the others ``(n_rows,)``; `reward` is the sum over a row's `n`
    decisions. Arms are numbered from 0. Clusters stay together.
    """
    design = np.column_stack([np.ones(len(context)), _standardised(context, n)])
    folds = clusters % FOLDS
    found = np.zeros((len(reward), n_arms))
    for fold in range(FOLDS):
        seen, unseen = folds != fold, folds == fold
        if not unseen.any():
            continue
        everyone = float(reward[seen].sum() / n[seen].sum()) if n[seen].sum() > 0 else 0.0
        for arm in range(n_arms):
            own = seen & (arms == arm)
            found[unseen, arm] = design[unseen] @ _ridge(design[own], reward[own], n[own], everyone)
    return found


def _standardised(context: Floats, n: Floats) -> Floats:
    total = n.sum()
    if context.shape[1] == 0 or total <= 0:
        return context
    mean = n @ context / total
    spread = np.sqrt(n @ (context - mean) ** 2 / total)
    return np.asarray((context - mean) / np.where(spread > 0.0, spread, 1.0), dtype=np.float64)


def _ridge(design: Floats, reward: Floats, n: Floats, everyone: float) -> Floats:
    """Coefficients, drawn towards the mean of all arms and no slope."""
    columns = design.shape[1]
    towards = np.zeros(columns)
    towards[0] = everyone
    gram = design.T @ (design * n[:, None]) + RIDGE * np.eye(columns)
    return np.asarray(np.linalg.solve(gram, design.T @ reward + RIDGE * towards), dtype=np.float64)


def columns_of(values: NDArray[np.object_] | Floats, *, most: int = 20) -> Floats:
    """A column as numbers, shape ``(n, k)``: itself, or one column for each of its `most` commonest texts."""
    try:
        return np.asarray(values, dtype=np.float64).reshape(-1, 1)
    except (TypeError, ValueError):
        texts = np.asarray([str(each) for each in values])
        found, counts = np.unique(texts, return_counts=True)
        common = found[np.argsort(-counts, kind="stable")][:most]
        return np.asarray(texts[:, None] == common[None, :], dtype=np.float64)
