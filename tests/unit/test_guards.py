"""A model that breaks a guard figure is found out; one that does as well as the other never is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ibook.guards import MIN_BATCHES, Bounds, Guard, psi

BOUNDS = Bounds(purchases=2000, min_purchases=500, error_rate=0.1, score_shift=0.25, fraud_ratio=3.0, approval_gap=0.05)
THRESHOLD = 0.3


def scores(n: int, seed: int = 0) -> NDArray[np.float64]:
    """Calibrated scores as a model gives them: honest buyers far below one per cent, a few frauds."""
    rng = np.random.default_rng(seed)
    honest, fraud = rng.beta(0.6, 120, n), rng.beta(4, 3, n)
    return np.where(rng.random(n) < 0.02, fraud, honest)


def watched(reference: NDArray[np.float64], candidate: NDArray[np.float64], batch: int = 64) -> Guard:
    guard = Guard(BOUNDS)
    for start in range(0, len(reference), batch):
        both = reference[start : start + batch], candidate[start : start + batch]
        guard.observe(*both, (_approved(both[0]), _approved(both[1])))
    return guard


def _approved(some: NDArray[np.float64]) -> int:
    return int((some < THRESHOLD).sum())


@given(seed=st.integers(0, 1000), batch=st.integers(1, 128), noise=st.floats(0, 0.3))
def test_a_model_that_says_nearly_the_same_is_left_alone(seed: int, batch: int, noise: float) -> None:
    reference = scores(1500, seed)
    log_odds = np.log(reference / (1 - reference)) + np.random.default_rng(seed).normal(0, noise, len(reference))
    assert watched(reference, 1 / (1 + np.exp(-log_odds)), batch).breach() == ""


@pytest.mark.parametrize(
    ("candidate", "why"),
    [
        (lambda s: np.zeros_like(s), "times the frauds"),
        (lambda s: np.full_like(s, 0.9), "approvals changed by -"),
        (lambda s: 1 - s, "approvals changed by -"),
        (lambda s: np.minimum(1.0, s * 20), "approvals changed by -"),
        (lambda s: s / 20, "times the frauds"),
    ],
    ids=["never suspects", "suspects all", "upside down", "too suspicious", "too trusting"],
)
def test_a_broken_model_is_found_out_within_the_smallest_window(candidate, why) -> None:  # type: ignore[no-untyped-def]
    reference = scores(1500, 5)
    assert why in watched(reference, candidate(reference)).breach()


def test_scores_that_leave_their_bins_are_a_shift() -> None:
    reference = np.tile([0.01, 0.03], 1000)
    assert "shifted by" in watched(reference, np.tile([0.01, 0.06], 1000)).breach()


def test_few_purchases_say_nothing() -> None:
    reference = scores(BOUNDS.min_purchases - 1)
    assert watched(reference, np.full_like(reference, 0.9)).breach() == ""


@given(st.lists(st.one_of(st.none(), st.integers(1, 128)), max_size=200), st.integers(0, 99))
def test_the_window_counts_what_a_recount_of_its_last_batches_counts(batches: list[int | None], seed: int) -> None:
    guard, kept = Guard(BOUNDS), list[NDArray[np.float64] | None]()
    for number, size in enumerate(batches):
        found = None if size is None else scores(size, seed + number)
        kept.append(found)
        if found is None:
            guard.failed()
        else:
            guard.observe(found, found / 2, (_approved(found), _approved(found / 2)))
    last = kept
    while len(last) > MIN_BATCHES and sum(map(_len, last[1:])) >= BOUNDS.purchases:
        last = last[1:]
    figures = guard.figures()
    assert figures.purchases == sum(map(_len, last))
    assert figures.error_rate == pytest.approx(sum(each is None for each in last) / max(1, len(last)))
    flat = np.concatenate([each for each in last if each is not None] or [np.zeros(0)])
    assert figures.fraud_ratio == pytest.approx((flat.sum() / 2 + 1) / (flat.sum() + 1))
    assert guard.seen == sum(map(_len, kept))


def _len(batch: NDArray[np.float64] | None) -> int:
    return 0 if batch is None else len(batch)


def test_a_model_that_fails_is_found_out_before_it_has_scored_anything() -> None:
    guard = Guard(BOUNDS)
    for _ in range(MIN_BATCHES - 1):
        guard.failed()
        assert guard.failing() == ""
    guard.failed()
    assert "100% of 20 batches failed" in guard.failing()
    assert guard.breach() == guard.failing()


def test_one_late_batch_among_many_is_no_reason() -> None:
    guard = watched(scores(1500), scores(1500))
    guard.failed()
    assert guard.failing() == ""


def test_what_went_wrong_long_ago_is_forgotten() -> None:
    guard = watched(scores(1000), np.full(1000, 0.9))
    assert guard.breach()
    for seed in range(40):
        good = scores(64, seed)
        guard.observe(good, good, (1, 1))
    assert guard.breach() == ""


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any))
def test_equal_shares_are_no_shift(counts: list[int]) -> None:
    histogram = np.array(counts)
    assert psi(histogram, histogram * 3) == pytest.approx(0.0)


def test_no_data_is_not_no_shift() -> None:
    with pytest.raises(ValueError, match="without counts"):
        psi(np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64))
