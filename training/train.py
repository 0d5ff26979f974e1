"""Rows to a calibrated model: XGBoost with early stopping and Platt's scaling on later rows, then fitted to both."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ibook.edges.fraud_model import CALIBRATION_ATTRIBUTE, HASH_ATTRIBUTE, Calibration, FraudModel
from ibook.features import FEATURE_NAMES, FEATURE_NAMES_HASH
from training.dataset import Frame, joined

N_THREADS = 1
"""Rows of a bootstrap take a second either way; on busy cores two threads wait for each other ten times as long."""
MAX_TREES = 250
PATIENCE = 40
"""Trees without progress on the validation rows after which fitting stops."""
LEAST_FRAUDS = {"training": 20, "validation": 5}
"""Fewer than these and a model would learn accidents: rules alone are the better choice."""
PARAMETERS: dict[str, Any] = {
    "objective": "binary:logistic", "eval_metric": "logloss", "tree_method": "hist", "max_depth": 5, "eta": 0.05,
    "subsample": 0.7, "colsample_bytree": 0.5, "min_child_weight": 2.0, "gamma": 0.2, "nthread": N_THREADS,
}  # fmt: skip
UNUSED = ("event_attempts_5m", "event_attempts_1h", "event_views_5m", "hour_of_day")
"""Left out of a bootstrap model: how busy a simulated past is, and when its few attacks fell, says nothing about the
traffic the model will meet."""


@dataclass(frozen=True)
class Trained:
    """A fitted model as bytes, with what is needed to use it."""

    payload: bytes
    calibration: Calibration
    model: FraudModel
    n_trees: int
    validation_scores: NDArray[np.float64]
    """Of the validation rows, before they were learned from; shape ``(n,)``."""

    @property
    def sha256(self) -> str:
        """Hash of the payload."""
        return self.model.sha256


def train(training: Frame, validation: Frame, *, seed: int, name: str = "bootstrap") -> Trained:
    """Find the number of trees and the calibration on the later frame, then fit that many trees to both.

    Frauds are few: those of the later frame are worth more as teachers than as judges, and a third frame judges.

    The same rows and seed give the same bytes on one machine. Raises ValueError when a frame holds too few frauds, or
    nothing else.
    """
    for what, frame in (("training", training), ("validation", validation)):
        if not LEAST_FRAUDS[what] <= int(frame.is_fraud.sum()) < len(frame):
            raise ValueError(f"the {what} rows hold {int(frame.is_fraud.sum())} frauds among {len(frame)}")
    draft = _fit(training, seed, MAX_TREES, validation)
    n_trees = draft.best_iteration + 1
    best = {"iteration_range": (0, n_trees), "predict_type": "margin", "validate_features": False}
    margins = np.asarray(draft.inplace_predict(validation.features, **best), dtype=np.float64)
    calibration = fit_platt(margins, validation.is_fraud)
    booster = _fit(joined(training, validation), seed, n_trees)
    booster.set_attr(
        **{HASH_ATTRIBUTE: FEATURE_NAMES_HASH, CALIBRATION_ATTRIBUTE: msgspec.json.encode(calibration).decode()}
    )
    payload = bytes(booster.save_raw("ubj"))
    digest = sha256(payload).hexdigest()
    model = FraudModel(booster, calibration, version=f"{name}-{seed}-{digest[:8]}", sha256=digest)
    return Trained(payload, calibration, model, n_trees, calibration.apply(margins))


def _fit(frame: Frame, seed: int, n_trees: int, validation: Frame | None = None) -> Any:
    import xgboost

    watched = {} if validation is None else {
        "evals": [(_matrix(validation), "validation")], "early_stopping_rounds": PATIENCE, "verbose_eval": False,
    }  # fmt: skip
    return xgboost.train(PARAMETERS | {"seed": seed}, _matrix(frame), num_boost_round=n_trees, **watched)


def _matrix(frame: Frame) -> Any:
    from xgboost import DMatrix

    features = frame.features.copy()
    features[:, [FEATURE_NAMES.index(name) for name in UNUSED]] = np.nan  # all missing: no tree can split on it
    return DMatrix(features, frame.is_fraud.astype(np.float32), feature_names=list(FEATURE_NAMES), nthread=N_THREADS)


def fit_platt(margins: NDArray[np.float64], is_fraud: NDArray[np.bool_], *, n_steps: int = 50) -> Calibration:
    """Slope and intercept of greatest likelihood, by Newton's method; both arguments have shape ``(n,)``.

    Targets are smoothed as in Platt (1999), so that a perfect ranking still gives a finite slope. A slope below zero
    would turn the ranking round; then the model's own probabilities stand.
    """
    n_fraud = int(is_fraud.sum())
    targets = np.where(is_fraud, (n_fraud + 1) / (n_fraud + 2), 1 / (len(is_fraud) - n_fraud + 2))
    design = np.stack([margins, np.ones_like(margins)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(n_steps):
        probabilities = Calibration(*weights.tolist()).apply(margins)
        gradient = design.T @ (targets - probabilities)
        curvature = (design * (probabilities * (1 - probabilities))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights += np.clip(step, -2.0, 2.0)  # far from the optimum a full Newton step overshoots
        if float(np.abs(step).max()) < 1e-10:
            break
    slope, intercept = weights.tolist()
    return Calibration(slope, intercept) if slope > 0 else Calibration(1.0, 0.0)
