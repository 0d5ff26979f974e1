"""What is cheapest for an amount and a score, and what is left when reviewers are few."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibook.cheapest import cheapest, expected, lines, with_odds
from ibook.costs import ACTIONS, Costs
from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES
from ibook.fraud import decide_all
from ibook.messages import VerdictEvidence
from ibook.policy_fit import ScoredPast, fit, scored_past
from ibook.rules import DEFAULT_POLICY_PATH, parse_policy
from tests.evidence import evidence_for
from tests.traffic import purchase

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
shares, minor = st.floats(0, 1), st.floats(0, 1e5)
COSTS = st.builds(
    Costs, margin=shares, goodwill_minor=minor, chargeback_fee_minor=minor, review_minor=minor, review_errs=shares,
    challenge_minor=minor, challenge_abandoned=shares, challenge_passed=shares, queue_minor=minor,
)  # fmt: skip
SLACK = 1e-6
"""Minor units; sums of floats."""


@given(COSTS, shares, minor)
def test_no_other_action_is_expected_to_cost_less(costs: Costs, score: float, amount: float) -> None:
    action, _ = cheapest(costs, score, amount)
    each = [line.at(score) for line in lines(costs, amount)]
    assert each[ACTIONS.index(action)] <= min(each) + SLACK


@given(COSTS, minor, st.lists(shares, min_size=2, max_size=8))
def test_a_higher_score_never_lets_more_fraud_through(costs: Costs, amount: float, scores: list[float]) -> None:
    slopes = [
        lines(costs, amount)[ACTIONS.index(cheapest(costs, score, amount)[0])].slope for score in sorted(scores)
    ]  # fmt: skip
    assert all(before >= after - SLACK for before, after in pairwise(slopes))


@given(COSTS, minor, shares)
def test_an_action_is_taken_from_its_threshold_on(costs: Costs, amount: float, score: float) -> None:
    action, threshold = cheapest(costs, score, amount)
    if action == "approve":
        assert score <= threshold + SLACK
    else:
        assert threshold <= score + SLACK
        own = lines(costs, amount)[ACTIONS.index(action)]
        assert own.at(threshold) <= min(line.at(threshold) for line in lines(costs, amount)) + 1e-3


def test_a_large_amount_is_looked_at_from_a_lower_score() -> None:
    thresholds = [cheapest(Costs(), 0.0, amount)[1] for amount in (1_000, 10_000, 100_000)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] > thresholds[-1]


def test_what_was_done_costs_what_its_line_says() -> None:
    costs, scores, amounts = Costs(queue_minor=500.0), np.array([0.1, 0.5]), np.array([10_000.0, 2_000.0])
    found = expected(costs, scores, amounts, ["review", "decline"])
    lost_sale = 0.12 * 10_000 + 1_000
    assert found.tolist() == pytest.approx([400 + 0.1 * (0.9 * lost_sale + 0.1 * 12_000), 0.5 * (240 + 1_000)])


@given(st.floats(0.001, 0.999), st.floats(1, 5))
def test_odds_are_multiplied_and_divided_back(score: float, times: float) -> None:
    assert with_odds(score, times) >= score - 1e-12
    assert with_odds(with_odds(score, times), 1 / times) == pytest.approx(score)


# ------------------------------------------------------------------------------------------------------------- fitting
TEXT = (
    DEFAULT_POLICY_PATH.read_text()
    + """
[costs]
challenge_passed = 0.4
reviews_per_day = {reviews}
"""
)
RNG = np.random.default_rng(5)
N, DAYS = 3_000, 10.0
AMOUNTS = RNG.integers(1_000, 40_000, N)
MATRIX = np.full((N, len(FEATURE_NAMES)), np.nan, np.float32)
MATRIX[:, FEATURE_NAMES.index("amount_minor")] = AMOUNTS
PAST = ScoredPast(
    [purchase(f"t-{n}", now=NOON, amount_minor=int(amount)) for n, amount in enumerate(AMOUNTS)],
    RNG.beta(0.3, 6.0, N), MATRIX, DAYS, NOON,
)  # fmt: skip


def policy(reviews: int | str, more: str = "") -> str:
    return TEXT.format(reviews=reviews) + more


def test_reviewers_who_suffice_cost_nothing_beyond_their_minutes() -> None:
    fitted = fit(parse_policy(policy(10_000), "test"), PAST)
    assert (fitted.queue_minor, fitted.is_enough) == (0.0, True)
    assert fitted.after.actions["review"] > 20


def test_the_price_is_the_least_at_which_the_reviewers_suffice() -> None:
    few = parse_policy(policy(12), "test")
    fitted = fit(few, PAST)
    assert fitted.is_enough
    assert 0 < fitted.after.actions["review"] <= 12
    assert fitted.queue_minor > 0
    assert few.costs is not None
    cheaper = replace(few.costs, queue_minor=fitted.queue_minor - 1)
    actions = [cheapest(cheaper, score, amount)[0] for score, amount in zip(PAST.scores, PAST.amounts, strict=True)]
    assert actions.count("review") / DAYS > 12


def test_the_reviews_that_are_left_are_those_with_the_most_at_stake() -> None:
    def reviewed(queue_minor: float) -> set[int]:
        text = policy(12, f"queue_minor = {queue_minor}\n")
        decisions = decide_all(
            PAST.scores.tolist(), MATRIX, PAST.purchases, parse_policy(text, "test"), "normal", [1.0] * N, NOON
        )
        return {place for place, each in enumerate(decisions) if each.action == "review"}

    before, after = reviewed(0.0), reviewed(fit(parse_policy(policy(12), "test"), PAST).queue_minor)
    assert after < before
    at_stake = PAST.scores * PAST.amounts
    assert at_stake[list(after)].mean() > at_stake[list(before - after)].mean()


def test_rules_that_ask_for_more_reviews_than_there_are_are_told() -> None:
    everybody = """
[[rules]]
id = "everybody"
why = "Each is looked at."
action = "review"
severity = "low"
owner = "fraud desk"
reason = "amount"
when = "amount_minor >= 0"
"""
    text = policy(12).replace("[costs]", everybody + "\n[costs]")
    assert not fit(parse_policy(text, "test"), PAST).is_enough


def test_exploration_is_cut_to_what_a_day_may_cost() -> None:
    text = policy(12).replace("max_per_day_minor = 60_000", "max_per_day_minor = 100").replace(
        "declined_per_day_minor = 500_000", "declined_per_day_minor = 5_000"
    )  # fmt: skip
    fitted = fit(parse_policy(text, "test"), PAST)
    assert fitted.share == pytest.approx(100 / fitted.after.declined_minor)
    assert fitted.share < 0.02


def test_a_share_that_is_expected_to_cost_more_than_it_may_is_refused() -> None:
    text = DEFAULT_POLICY_PATH.read_text().replace("max_per_day_minor = 60_000", "max_per_day_minor = 9_999")
    with pytest.raises(ConfigurationError, match="exploration: share of declined_per_day_minor is 10000, more than"):
        parse_policy(text, "test")


def test_a_policy_without_costs_has_nothing_to_fit() -> None:
    with pytest.raises(ConfigurationError, match="no \\[costs\\]"):
        fit(parse_policy(DEFAULT_POLICY_PATH.read_text(), "test"), PAST)


def test_costs_decide_by_amount_and_stale_features_are_taken_for_riskier() -> None:
    decided = parse_policy(policy(10_000), "test")
    large, small = int(np.argmax(AMOUNTS)), int(np.argmin(AMOUNTS))

    def threshold(place: int, posture: str) -> float:
        (found,) = decide_all([0.0], MATRIX[[place]], [PAST.purchases[place]], decided, posture, [1.0], NOON)  # type: ignore[arg-type]
        assert (found.action, found.score_band) == ("approve", "low")
        assert found.threshold is not None
        return found.threshold

    assert threshold(large, "normal") < threshold(small, "normal")
    assert threshold(large, "stale_features") < threshold(large, "normal")


def evidence(n: int, **changes: object) -> VerdictEvidence:
    asked = purchase(f"t-{n}", now=NOON + timedelta(minutes=n))
    features: list[float | None] = [None, *[1.0] * (len(FEATURE_NAMES) - 1)]
    fields = {"occurred_at": asked.occurred_at, "features": features} | changes
    return replace(evidence_for(asked, n, score=0.25), **fields)


def test_the_past_is_what_was_scored_in_full_on_todays_features_each_transaction_once() -> None:
    told = [evidence(n) for n in range(300)]
    told += [evidence(299, score=0.9), evidence(301, posture="stale_features"), evidence(302, feature_names_hash="old")]
    past = scored_past(told[::-1][1:] + told[-1:], days=220 / 1_440)
    assert (len(past.purchases), past.days, past.at) == (220, 219 / 1_440, NOON + timedelta(minutes=299))
    assert past.scores.tolist() == [0.25] * 219 + [0.9]
    assert past.matrix.shape == (220, len(FEATURE_NAMES))
    assert np.isnan(past.matrix[:, 0]).all()


def test_too_few_scored_purchases_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="Only 199 purchases"):
        scored_past([evidence(n) for n in range(199)], days=7)
