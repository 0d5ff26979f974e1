"""The same rows give the same model; its probabilities can be taken at their word; money is counted right."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ibook.costs import Costs
from ibook.features import FEATURE_NAMES
from ibook.rules import Thresholds
from training.dataset import Frame, split_in_time
from training.evaluate import GRID, at_threshold, cheapest_thresholds, cost, evaluate
from training.train import UNUSED, fit_platt, train


def frame(n: int = 3_000, seed: int = 0) -> Frame:
    """Rows whose fraud hangs on two features, with noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, len(FEATURE_NAMES))).astype(np.float32)
    features[rng.random(features.shape) < 0.1] = np.nan
    features[:, FEATURE_NAMES.index("amount_minor")] = rng.integers(1_000, 30_000, n)
    signal = np.nan_to_num(features[:, 0]) + np.nan_to_num(features[:, 12])
    is_fraud = rng.random(n) < 1 / (1 + np.exp(4 - 2 * signal))
    return Frame([f"t{i}" for i in range(n)], np.arange(n, dtype=np.int64), features, is_fraud)


TRAINING, VALIDATION, TEST = split_in_time(frame())
TRAINED = train(TRAINING, VALIDATION, seed=3)


# ----------------------------------------------------------------------------------------------------------- training
def test_the_same_rows_and_seed_give_the_same_bytes() -> None:
    again = train(TRAINING, VALIDATION, seed=3)
    assert again.sha256 == TRAINED.sha256
    assert again.model.version == TRAINED.model.version == f"bootstrap-3-{TRAINED.sha256[:8]}"
    assert train(TRAINING, VALIDATION, seed=4).sha256 != TRAINED.sha256


def test_a_model_finds_the_signal_and_is_calibrated() -> None:
    evaluation = evaluate(TEST, TRAINED.model.score(TEST.features))
    assert evaluation.average_precision > 3 * evaluation.base_rate
    assert abs(evaluation.mean_score - evaluation.base_rate) < 0.03


def test_contributions_add_up_to_the_log_odds_but_for_a_constant() -> None:
    matrix = TEST.features[:50]
    scores = TRAINED.model.score(matrix)
    rest = np.log(scores / (1 - scores)) - TRAINED.model.contributions(matrix).sum(axis=1)
    assert np.ptp(rest) < 1e-4


def test_unused_features_never_move_a_score() -> None:
    changed = TEST.features.copy()
    changed[:, [FEATURE_NAMES.index(name) for name in UNUSED]] = 1e6
    assert np.array_equal(TRAINED.model.score(changed), TRAINED.model.score(TEST.features))


@pytest.mark.parametrize("is_fraud", [False, True])
def test_rows_of_one_class_are_refused(is_fraud: bool) -> None:
    one_class = replace(VALIDATION, is_fraud=np.full(len(VALIDATION), is_fraud))
    with pytest.raises(ValueError, match="validation rows hold"):
        train(TRAINING, one_class, seed=0)


# -------------------------------------------------------------------------------------------------------- calibration
def drawn(margins: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.bool_]:
    chances = 1 / (1 + np.exp(-(slope * margins + intercept)))
    return np.asarray(np.random.default_rng(5).random(len(margins)) < chances)


def test_platt_finds_slope_and_intercept_again() -> None:
    margins = np.random.default_rng(4).normal(-3, 2, 200_000)
    calibration = fit_platt(margins, drawn(margins, 0.8, -0.5))
    assert (calibration.slope, calibration.intercept) == pytest.approx((0.8, -0.5), abs=0.03)


def test_platt_stays_finite_where_classes_are_far_apart_and_never_turns_a_ranking_round() -> None:
    margins = np.array([-400.0, -300.0, 300.0, 400.0])
    apart = fit_platt(margins, np.array([False, False, True, True]))
    assert 0 < apart.slope < 10
    assert np.isfinite(apart.apply(margins)).all()
    upside_down = fit_platt(np.arange(100.0), np.arange(100) < 50)
    assert upside_down.slope > 0


# --------------------------------------------------------------------------------------------------------- evaluation
def small() -> tuple[Frame, NDArray[np.float64]]:
    features = np.full((5, len(FEATURE_NAMES)), np.nan, dtype=np.float32)
    features[:, FEATURE_NAMES.index("amount_minor")] = 10_000
    is_fraud = np.array([False, False, False, True, True])
    rows = Frame([str(i) for i in range(5)], np.arange(5, dtype=np.int64), features, is_fraud)
    return rows, np.array([0.01, 0.2, 0.6, 0.2, 0.9])


def test_precision_and_recall_at_a_threshold() -> None:
    rows, scores = small()
    at = at_threshold(rows, scores, 0.2)
    assert (at.precision, at.recall, at.share) == (0.5, 1.0, 0.8)
    assert at_threshold(rows, scores, 0.95).precision is None


def test_costs_follow_the_action_of_each_row() -> None:
    rows, scores = small()
    costs = Costs(margin=0.1, goodwill_minor=0, chargeback_fee_minor=0, review_minor=100, review_errs=0,
                  challenge_abandoned=0.5, challenge_passed=0.2)  # fmt: skip
    thresholds = Thresholds(review=0.1, challenge=0.5, decline=0.8)
    # approved 0; two reviews at 100; an honest challenge loses half of 1,000; the declined fraud costs nothing
    assert cost(rows, scores, thresholds, costs) == pytest.approx((0 + 100 + 100 + 500 + 0) / 5)


def test_cheapest_thresholds_are_the_cheapest_of_the_grid() -> None:
    scores = TRAINED.model.score(VALIDATION.features)
    best = cheapest_thresholds(VALIDATION, scores, Costs())
    least = cost(VALIDATION, scores, best, Costs())
    coarse = GRID[::3]
    for review in coarse:
        for challenge in coarse:
            for decline in coarse:
                if review <= challenge <= decline:
                    other = Thresholds(review=review, challenge=challenge, decline=decline)
                    assert least <= cost(VALIDATION, scores, other, Costs()) + 1e-9
