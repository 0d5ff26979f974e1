"""Off-policy estimates on simulated logs whose truth is known: their intervals hold as often as they say."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from ibook.off_policy import (
    Decisions,
    difference,
    doubly_robust,
    ips,
    logged,
    replay,
    snips,
    support,
    warnings,
)
from ibook.reward_model import predictions

Floats = NDArray[np.float64]
REPEATS, CLUSTERS = 250, 400
MIXED = (0.1, 0.2, 0.6, 0.1)
SURE = (0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Log:
    """Slots of several offers each: the arm depends on the context, and offers of a slot share a shock."""

    decisions: Decisions
    propensities: Floats
    """Shape ``(n, 4)``."""


def expected(context: Floats) -> Floats:
    """P(sale) per arm, shape ``(n, 4)``."""
    slopes = np.array([0.04, -0.04, 0.04, 0.02])
    chances = np.clip(0.1 + 0.05 * np.arange(4)[None, :] + context[:, None] * slopes[None, :], 0.01, 0.95)
    return np.asarray(chances, dtype=np.float64)


PRICES = 1.0 + 0.2 * np.arange(4)


def truth(candidate: tuple[float, ...]) -> float:
    """Reward per offer of a candidate, by a million contexts."""
    context = np.random.default_rng(0).normal(size=1_000_000)
    return float(((expected(context) * PRICES) @ np.array(candidate)).mean())


def simulated(rng: np.random.Generator, candidate: tuple[float, ...], *, even: bool = False) -> Log:
    context = rng.normal(size=CLUSTERS)
    scores = np.exp(context[:, None] * np.array([0.5, 0.0, -0.5, 0.3])[None, :] * (not even))
    propensities = 0.025 + 0.9 * scores / scores.sum(axis=1, keepdims=True)
    arms = (propensities.cumsum(axis=1) < rng.random(CLUSTERS)[:, None]).sum(axis=1)
    rows = np.arange(CLUSTERS)
    n = np.asarray(rng.poisson(5.0, CLUSTERS) + 1.0, dtype=np.float64)
    chance = np.clip(expected(context)[rows, arms] + rng.normal(0.0, 0.02, CLUSTERS), 0.0, 1.0)
    reward = rng.binomial(n.astype(np.int64), chance) * PRICES[arms]
    model = predictions(context[:, None], arms, reward, n, rows, 4)
    target = np.tile(candidate, (CLUSTERS, 1))
    decisions = Decisions(
        weights=target[rows, arms] / propensities[rows, arms], reward=reward, n=n, clusters=rows,
        model=model[rows, arms], baseline=np.sum(target * model, axis=1),
    )  # fmt: skip
    return Log(decisions, propensities)


@pytest.mark.parametrize(("candidate", "even"), [(MIXED, False), (SURE, False), (SURE, True)])
def test_intervals_hold_the_truth_nineteen_times_in_twenty(candidate: tuple[float, ...], even: bool) -> None:
    """250 logs of 400 slots; the standard error of a share of 0.95 is 0.014, so chance hardly falls below 0.91."""
    rng, true, held = np.random.default_rng(20260314), truth(candidate), Counter[str]()
    for _ in range(REPEATS):
        log = simulated(rng, candidate, even=even).decisions
        for estimate in (ips(log), snips(log), doubly_robust(log), replay(log, rng)):
            held[estimate.name] += estimate.low <= true <= estimate.high
    shares = {name: count / REPEATS for name, count in held.items()}
    assert set(shares) == {"ips", "snips", "dr", "replay"}
    assert all(0.91 <= share <= 0.99 for share in shares.values()), shares


def test_offers_of_one_slot_are_not_taken_for_independent_ones() -> None:
    """The same log, each offer a row of its own: its intervals are honest only where slots are clusters."""
    rng, true, held, naive = np.random.default_rng(5), truth(SURE), 0, 0
    for _ in range(120):
        slots = simulated(rng, SURE).decisions
        shock = np.repeat(rng.normal(0.0, 0.12, CLUSTERS), 8)
        weights, baseline = np.repeat(slots.weights, 8), np.repeat(slots.reward / slots.n, 8)
        rows = Decisions(
            weights=weights, reward=baseline + shock, n=np.ones(len(weights)),
            clusters=np.repeat(np.arange(CLUSTERS), 8),
        )  # fmt: skip
        alone = Decisions(weights=weights, reward=rows.reward, n=rows.n, clusters=np.arange(len(weights)))
        held += snips(rows).low <= true <= snips(rows).high
        naive += snips(alone).low <= true <= snips(alone).high
    assert held / 120 > 0.9
    assert naive / 120 < 0.75


def test_doubly_robust_is_narrower_than_weights_alone() -> None:
    rng = np.random.default_rng(3)
    logs = [simulated(rng, MIXED).decisions for _ in range(20)]
    widths = [(doubly_robust(log).high - doubly_robust(log).low) / (ips(log).high - ips(log).low) for log in logs]
    assert np.mean(widths) < 0.8


def plain(weights: list[float], reward: list[float], n: list[float] | None = None) -> Decisions:
    return Decisions(
        weights=np.array(weights), reward=np.array(reward), n=np.array(n or [1.0] * len(weights)),
        clusters=np.arange(len(weights)),
    )  # fmt: skip


def test_the_policy_that_decided_is_given_its_own_reward() -> None:
    log = plain([1.0] * 6, [1.0, 0.0, 2.0, 0.0, 0.0, 3.0], [1.0, 1.0, 2.0, 1.0, 1.0, 3.0])
    values = [each.value for each in (logged(log), ips(log), snips(log), replay(log, np.random.default_rng(0)))]
    assert values == [pytest.approx(6 / 9)] * 4
    assert difference(log, robust=False).value == 0.0


def test_replay_of_an_even_log_is_the_mean_of_the_matches() -> None:
    log = plain([4.0, 0.0, 4.0, 0.0, 0.0, 4.0], [1.0, 9.0, 2.0, 9.0, 9.0, 3.0])
    for seed in range(5):
        assert replay(log, np.random.default_rng(seed)).value == pytest.approx(2.0)
    assert snips(log).value == pytest.approx(2.0)
    assert ips(log).value == pytest.approx(4.0)


def test_a_candidate_that_the_log_never_follows_has_no_estimate_and_a_warning() -> None:
    log = plain([0.0] * 10, [1.0] * 10)
    assert np.isnan(snips(log).value)
    assert ips(log).value == 0.0
    assert warnings(support(log)) == ["The log never did what the candidate does: it says nothing of it."]


def test_missing_support_and_few_weights_are_told() -> None:
    rng = np.random.default_rng(1)
    half = plain(list(np.where(rng.random(2000) < 0.25, 2.0, 0.0)), [1.0] * 2000)
    [told] = warnings(support(half))
    assert told.startswith("The log covers 49% of what the candidate does; the rest was never tried")
    few = plain([0.0] * 990 + [100.0] * 10, [1.0] * 1000)
    assert any("too few to rely on" in each for each in warnings(support(few)))
    assert any(each.startswith("One cluster carries 10%") for each in warnings(support(few)))
    assert warnings(support(plain([1.0] * 200, [1.0] * 200))) == []


def test_without_a_reward_model_there_is_no_doubly_robust_estimate() -> None:
    with pytest.raises(ValueError, match="reward model"):
        doubly_robust(plain([1.0], [1.0]))
