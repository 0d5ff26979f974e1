"""What is decided, and why: rules first, then the score; nothing large passes unseen; exploration stays in its box."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.features import FEATURE_NAMES
from ibook.fraud import REASONS, decide, draw_of, reasons
from ibook.messages import Posture
from ibook.rules import UNSCORED_POSTURES, parse_policy
from tests.deciding import NOON, POLICY, PURCHASE, TEXT, decided, vector


# --------------------------------------------------------------------------------------------------------------- scores
@pytest.mark.parametrize(
    ("score", "action", "band"),
    [(0.0, "approve", "low"), (0.0799, "approve", "low"), (0.08, "review", "elevated"), (0.2, "challenge", "high"),
     (0.6, "decline", "highest"), (1.0, "decline", "highest")],
)  # fmt: skip
def test_thresholds_are_reached_at_their_value(score: float, action: str, band: str) -> None:
    decision = decided(score)
    assert (decision.action, decision.score_band, decision.rules) == (action, band, ())


def test_threshold_is_the_highest_one_reached_or_the_lowest_when_none_was() -> None:
    assert [decided(score).threshold for score in (0.01, 0.1, 0.3, 0.9)] == [0.08, 0.08, 0.2, 0.6]


@given(st.floats(0, 1))
def test_stale_features_are_never_decided_more_mildly(score: float) -> None:
    severity = ("approve", "review", "challenge", "decline")
    stale, normal = decided(score, "stale_features"), decided(score, "normal")
    assert severity.index(stale.action) >= severity.index(normal.action)
    assert stale.score_band == normal.score_band  # a band means the same in every posture


@given(score=st.floats(0, 1), more=st.floats(0, 1))
def test_a_higher_score_is_never_decided_more_mildly(score: float, more: float) -> None:
    severity = ("approve", "review", "challenge", "decline")
    low, high = sorted((score, more))
    assert severity.index(decided(low).action) <= severity.index(decided(high).action)


@pytest.mark.parametrize("posture", UNSCORED_POSTURES)
def test_a_score_without_its_posture_is_a_mistake(posture: Posture) -> None:
    with pytest.raises(ValueError, match=f"posture {posture} has no score"):
        decided(0.5, posture)
    with pytest.raises(ValueError, match="posture normal needs a score"):
        decided(None, "normal")


# ------------------------------------------------------------------------------------------------------------- postures
@pytest.mark.parametrize("posture", UNSCORED_POSTURES)
def test_without_a_score_a_large_amount_is_never_approved_silently(posture: Posture) -> None:
    assert decided(None, posture, amount_minor=29_999).action == "approve"
    large = decided(None, posture, amount_minor=30_000)
    assert (large.action, large.score_band, large.threshold) == ("review", "not_scored", None)
    assert decided(0.01, "normal", amount_minor=30_000).action == "approve"


@pytest.mark.parametrize("posture", UNSCORED_POSTURES)
def test_without_a_score_foreign_cards_and_new_accounts_are_looked_at(posture: Posture) -> None:
    assert decided(None, posture, country_mismatch=1, amount_minor=10_000).action == "challenge"
    assert decided(None, posture, account_age_seconds=3_600, amount_minor=10_000).action == "review"


def test_without_the_store_velocity_over_own_purchases_still_counts() -> None:
    assert decided(None, "no_features", card_attempts_1m=6).action == "decline"
    assert decided(None, "no_features", device_distinct_cards_1h=5).rules == ("unscored_many_cards",)
    assert decided(None, "no_features", device_distinct_cards_1h=12).action == "decline"


def test_without_the_store_nothing_rests_on_a_history_that_is_unknown() -> None:
    fresh = {"user_account_change_age_seconds": 60.0, "device_first_seen_age_seconds": 0.0}
    assert decided(None, "rules_only", **fresh).action == "challenge"
    assert decided(None, "no_features", **fresh).action == "approve"


# ---------------------------------------------------------------------------------------------------------- exploration
def test_a_lucky_decline_is_approved_and_marked() -> None:
    lucky, unlucky = decided(0.9, draw=0.0199), decided(0.9, draw=0.02)
    assert (lucky.action, lucky.explored, lucky.propensity, lucky.threshold) == ("approve", True, 0.02, 0.6)
    assert (unlucky.action, unlucky.explored, unlucky.propensity) == ("decline", False, 0.02)


@pytest.mark.parametrize("score", [0.05, 0.2, 0.5])
def test_only_would_be_declines_are_explored(score: float) -> None:
    decision = decided(score, draw=0.0)
    assert (decision.explored, decision.propensity) == (False, 1.0)


def test_large_amounts_and_rule_hits_are_never_explored() -> None:
    bounds: list[dict[str, Any]] = [{"amount_minor": 15_001}, {"card_attempts_1m": 6}, {"card_distinct_users_24h": 3}]
    for changed in bounds:
        decision = decided(0.9, draw=0.0, **changed)
        assert (decision.action, decision.explored, decision.propensity) == ("decline", False, 1.0)


def test_an_unknown_amount_is_never_explored() -> None:
    assert not decided(0.9, draw=0.0, amount_minor=float("nan")).explored


def test_exploration_can_be_turned_off() -> None:
    policy = parse_policy(TEXT.replace("share = 0.02", "share = 0.0"), "test")
    decision = decide(0.9, vector(), PURCHASE, policy, "normal", 0.0, NOON)
    assert (decision.action, decision.explored, decision.propensity) == ("decline", False, 1.0)


def test_draws_repeat_for_a_key_and_are_even_over_keys() -> None:
    draws = np.array([draw_of(f"t-{number}", 7) for number in range(20_000)])
    assert draw_of("t-5", 7) == draws[5] != draw_of("t-5", 8)
    assert draws.min() >= 0.0 and draws.max() < 1.0
    assert abs(float((draws < 0.02).mean()) - 0.02) < 0.004  # four standard errors
    assert np.abs(np.histogram(draws, bins=10, range=(0, 1))[0] - 2_000).max() < 200


# -------------------------------------------------------------------------------------------------------------- reasons
def test_rules_come_first_then_the_three_codes_that_weigh_most_with_their_windows_added() -> None:
    contributions = np.zeros(len(FEATURE_NAMES))
    weights = {
        "card_attempts_1m": 0.5, "card_attempts_24h": 0.4, "country_mismatch": 0.8, "amount_minor": 0.3,
        "amount_per_ticket_minor": -0.1, "hour_of_day": 0.1, "user_views_1h": -2.0,
    }  # fmt: skip
    for name, weight in weights.items():
        contributions[FEATURE_NAMES.index(name)] = weight
    found = reasons(("device_many_cards",), contributions, POLICY)
    assert [(reason.code, round(reason.contribution, 9), reason.rule) for reason in found] == [
        ("device_distinct_cards", 0.0, "device_many_cards"), ("card_attempts", 0.9, ""), ("country_mismatch", 0.8, ""),
        ("amount", 0.2, ""),
    ]  # fmt: skip


def test_what_speaks_against_fraud_is_no_reason() -> None:
    assert reasons((), -np.ones(len(FEATURE_NAMES)), POLICY) == []
    assert [reason.rule for reason in reasons(("card_burst",), None, POLICY)] == ["card_burst"]


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_every_feature_has_a_reason_with_a_sentence(name: str) -> None:
    contributions = np.zeros(len(FEATURE_NAMES))
    contributions[FEATURE_NAMES.index(name)] = 1.0
    (reason,) = reasons((), contributions, POLICY)
    assert REASONS[reason.code].endswith(".")


def test_every_rule_says_why() -> None:
    assert all(POLICY.why(rule.id).endswith(".") for rule in POLICY.rules)
