"""What is decided, and why: rules first, then the score; nothing large passes unseen; exploration stays in its box."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES
from ibook.fraud import REASONS, Decision, decide, decide_all, draw_of, reasons
from ibook.messages import Posture, PurchaseRequested
from ibook.rules import DEFAULT_POLICY_PATH, UNSCORED_POSTURES, load_policy, parse_policy

POLICY = load_policy()
TEXT = DEFAULT_POLICY_PATH.read_text()
NO_LUCK = 0.999
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
PURCHASE = PurchaseRequested(
    message_id="m", occurred_at=NOON, transaction_id="t", user_id="u-1", card_id="c-1", device_id="d-1",
    ip="192.0.2.7", event_id="e", amount_minor=9_000, currency="EUR", n_tickets=2, ticket_type="standing",
    bin="400000", card_country="DE", ip_country="DE", email_domain="example.org", account_opened_at=NOON,
)  # fmt: skip
QUIET = {
    "amount_minor": 9_000, "n_tickets": 2, "amount_per_ticket_minor": 4_500, "account_age_seconds": 3e7,
    "country_mismatch": 0, "hour_of_day": 18, "card_attempts_1m": 1, "card_attempts_1h": 1, "device_attempts_1m": 1,
    "device_distinct_cards_1h": 1, "card_distinct_users_24h": 1, "device_first_seen_age_seconds": 1e6,
    "card_decline_ratio_1h": 0.0, "user_login_failures_1h": 0, "user_amount_sum_24h": 9_000,
}  # fmt: skip


def vector(**changed: float) -> NDArray[np.float32]:
    values = np.full(len(FEATURE_NAMES), np.nan, dtype=np.float32)
    for name, value in (QUIET | changed).items():
        values[FEATURE_NAMES.index(name)] = value
    return values


def decided(score: float | None, posture: Posture = "normal", draw: float = NO_LUCK, **changed: float) -> Decision:
    return decide(score, vector(**changed), PURCHASE, POLICY, posture, draw, NOON)


# ------------------------------------------------------------------------------------------------------------- scores
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


# -------------------------------------------------------------------------------------------------------------- rules
@pytest.mark.parametrize(
    ("changed", "rule", "action"),
    [
        ({"card_attempts_1m": 6}, "card_burst", "decline"),
        ({"card_attempts_1h": 5, "card_decline_ratio_1h": 0.75}, "card_retried_after_declines", "decline"),
        ({"device_distinct_cards_1h": 4, "device_decline_ratio_1h": 0.25}, "device_cards_declined", "decline"),
        ({"device_distinct_cards_1h": 12}, "device_many_cards", "decline"),
        ({"device_attempts_1m": 10}, "device_burst", "challenge"),
        (
            {
                "user_account_change_age_seconds": 600,
                "device_first_seen_age_seconds": 90,
                "device_distinct_users_24h": 2,
            },
            "account_changed_new_device",
            "challenge",
        ),
        (
            {"user_account_change_age_seconds": 600, "device_first_seen_age_seconds": 90, "country_mismatch": 1},
            "account_changed_abroad",
            "challenge",
        ),
        ({"device_distinct_cards_1h": 3, "device_decline_ratio_1h": 0.5}, "device_three_cards_declined", "challenge"),
        ({"device_login_failures_1h": 3, "device_distinct_users_24h": 2}, "passwords_guessed", "challenge"),
        (
            {"card_distinct_users_24h": 2, "device_first_seen_age_seconds": 90, "account_age_seconds": 86_400},
            "card_in_new_account",
            "challenge",
        ),
        ({"card_distinct_users_24h": 3}, "card_shared", "review"),
        (
            {"subnet_distinct_cards_1h": 10, "subnet_distinct_bins_1h": 4, "subnet_tickets_1h": 16},
            "ring_buys_out",
            "challenge",
        ),
        (
            {"subnet_distinct_cards_1h": 4, "subnet_distinct_bins_1h": 2, "subnet_tickets_1h": 6}
            | {"user_first_seen_age_seconds": 60},
            "ring_buys_out",
            "challenge",
        ),
    ],
)
def test_each_rule_is_hit_where_its_condition_begins_to_hold(changed: dict[str, Any], rule: str, action: str) -> None:
    decision = decided(0.0, **changed)
    assert (decision.rules, decision.action) == ((rule,), action)
    for name in changed:  # and not when any one of them is missing
        assert decided(0.0, **(changed | {name: float("nan")})).rules == ()


def test_a_network_where_many_issuers_meet_is_no_ring() -> None:
    crowd: dict[str, Any] = {
        "subnet_distinct_cards_1h": 400.0,
        "subnet_tickets_1h": 900.0,
        "user_first_seen_age_seconds": 60.0,
    }
    assert decided(0.0, subnet_distinct_bins_1h=5, **crowd).rules == ()
    assert decided(0.0, subnet_distinct_bins_1h=4, **crowd).rules == ("ring_buys_out",)


def test_a_block_outweighs_a_low_score_and_every_hit_is_named_the_harshest_first() -> None:
    decision = decided(0.01, card_distinct_users_24h=4, device_attempts_1m=10, card_attempts_1m=9)
    assert decision.action == "decline"
    assert decision.rules == ("card_burst", "device_burst", "card_shared")


def test_a_mild_rule_never_softens_a_decline_by_score() -> None:
    decision = decided(0.9, draw=0.0, device_attempts_1m=10)
    assert (decision.action, decision.explored, decision.propensity) == ("decline", False, 1.0)


def test_a_constant_is_rounded_like_the_features_it_is_compared_with() -> None:
    policy = parse_policy(TEXT.replace(">= 0.75", ">= 0.7"), "test")
    values = vector(card_attempts_1h=10, card_decline_ratio_1h=0.7)  # float32(0.7) < 0.7
    assert decide(0.0, values, PURCHASE, policy, "normal", NO_LUCK, NOON).action == "decline"


# ----------------------------------------------------------------------------------------------------------- postures
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


# -------------------------------------------------------------------------------------------------------- exploration
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


# ------------------------------------------------------------------------------------------------------------ reasons
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


# -------------------------------------------------------------------------------------------------------- policy file
@pytest.mark.parametrize(
    ("old", "new", "key", "fault"),
    [
        ("share = 0.02", "share = 0.2", "exploration.share", "<= 0.05"),
        ("share = 0.02", "shares = 0.02", "exploration", "share"),
        ("review = 0.08", "review = 0.4", "thresholds.normal", "review <= challenge <= decline"),
        ("review = 0.08", 'review = "low"', "thresholds.normal.review", "float"),
        ("review = 0.05", "review = 0.09", "thresholds.stale_features.review", "laxer"),
        ("[thresholds.stale_features]", "[thresholds.stale]", "thresholds", "stale"),
        ('action = "challenge"', 'action = "approve"', "rules[4]", "an allow-list needs"),
        ("device_attempts_1m >=", "device_attempts_2m >=", "rules[4].when", "there is device_attempts_1m"),
        ("country_mismatch = 1", "country_mismatch == = 1", "rules[6].when", "is no expression"),
        ("card_attempts_1m >= 6", "card_attempts_1m", "rules[0].when", "true or false"),
        ("card_attempts_1m >= 6", "card_attempts_1m >= 1e39", "rules[0].when", "finite"),
        ("card_attempts_1m >= 6", "card_attempts_1m >= 6; DROP TABLE rules", "rules[0].when", "DROP TABLE"),
        ("card_attempts_1m >= 6", "card_id IN friends", "rules[0].when", "no list called friends"),
        ('reason = "card_attempts"', 'reason = "card_burst"', "rules[0].reason", "card_burst"),
        ('severity = "critical"', 'severity = "dire"', "rules[0].severity", "dire"),
        ('owner = "fraud desk"\n', "", "rules[0]", "owner"),
        ('owner = "fraud desk"', 'owner = "fraud desk"\nexpires = "soon"', "rules[0].expires", "date"),
        ('owner = "fraud desk"', 'owner = "fraud desk"\nmax_amount_minor = 5', "rules[0].max_amount_minor",
         "allow-lists"),
        ('id = "device_burst"', 'id = "card_burst"', "rules[4].id", "twice"),
        ('id = "device_burst"', 'id = "Device burst"', "rules[4].id", "matching"),
        ("why = ", "because = ", "rules[0]", "because"),
        ('id = "unscored_large_amount"', 'id = "unscored_large_amount"\npostures = []', "rules", "TOML"),
        ("amount_minor >= 30_000", "n_tickets >= 9", "rules", "large amount_minor"),
        ("amount_minor >= 30_000", "amount_minor >= 30_000 AND n_tickets >= 2", "rules", "large amount_minor"),
        ('when = "amount_minor >= 30_000"', 'when = "amount_minor >= 30_000"\nexpires = 2099-01-01', "rules", "expiry"),
        ('id = "account_changed_new_device"', 'id = "x"\npostures = ["no_features"]', "rules[5].postures",
         "user_account_change_age_seconds so compared means nothing"),
    ],
)  # fmt: skip
def test_a_faulty_policy_names_file_key_and_fault(tmp_path: Path, old: str, new: str, key: str, fault: str) -> None:
    assert old in TEXT
    path = tmp_path / "policy.toml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as refused:
        load_policy(path)
    message = str(refused.value)
    assert str(path) in message
    assert "not TOML" in message if fault == "TOML" else (f"key {key}:" in message and fault in message)
    assert "\n" not in message


def test_a_policy_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_policy(tmp_path / "nowhere.toml")


def test_an_edited_policy_has_another_version_even_under_the_same_number() -> None:
    edited = parse_policy(TEXT.replace(">= 6", ">= 7", 1), "test")
    assert edited.version != POLICY.version
    assert edited.version.split("+")[0] == POLICY.version.split("+")[0] == "4"


# ----------------------------------------------------------------------------------- allow-lists, expiry, whole batches
RULE = """
[[rules]]
id = "{id}"
why = "Because."
action = "{action}"
severity = "{severity}"
owner = "fraud desk"
reason = "listed"
when = "{when}"
"""
BOX_OFFICE = RULE.format(id="box_office", action="approve", severity="low", when="user_id IN ('u-1', 'u-9')")
BOX_OFFICE += "expires = 2026-03-15\nmax_amount_minor = 20_000\nmax_per_day_minor = 90_000\n"


def decided_by(policy_text: str, score: float | None, at: datetime = NOON, **changed: float) -> Decision:
    posture: Posture = "normal" if score is not None else "rules_only"
    return decide(score, vector(**changed), PURCHASE, parse_policy(policy_text, "test"), posture, NO_LUCK, at)


def test_an_allow_list_outweighs_blocks_and_score_and_says_what_else_was_hit() -> None:
    decision = decided_by(TEXT + BOX_OFFICE, 0.99, card_attempts_1m=6)
    assert (decision.action, decision.rules, decision.propensity) == ("approve", ("box_office", "card_burst"), 1.0)
    assert decided_by(TEXT + BOX_OFFICE, None, country_mismatch=1, amount_minor=15_000).action == "approve"


def test_an_allowed_account_is_judged_like_anybody_above_its_amount_and_after_its_day() -> None:
    assert decided_by(TEXT + BOX_OFFICE, 0.99, amount_minor=20_000).action == "approve"
    assert decided_by(TEXT + BOX_OFFICE, 0.99, amount_minor=20_001).action == "decline"
    assert decided_by(TEXT + BOX_OFFICE, 0.99, user_amount_sum_24h=90_000).action == "approve"
    assert decided_by(TEXT + BOX_OFFICE, 0.99, user_amount_sum_24h=90_001).action == "decline"
    last_moment = datetime(2026, 3, 14, 23, 59, 59, 999_999, tzinfo=UTC)
    assert decided_by(TEXT + BOX_OFFICE, 0.99, last_moment).action == "approve"
    assert decided_by(TEXT + BOX_OFFICE, 0.99, last_moment + timedelta(microseconds=1)).action == "decline"


def test_without_the_store_nobody_is_allowed_since_what_was_spent_today_is_unknown() -> None:
    policy = parse_policy(TEXT + BOX_OFFICE, "test")
    assert "box_office" not in [each.rule.id for each in policy.in_force("no_features", NOON)]
    for posture in ("normal", "stale_features", "rules_only"):
        assert "box_office" in [each.rule.id for each in policy.in_force(posture, NOON)]


def test_what_has_expired_can_be_asked_for() -> None:
    policy = parse_policy(TEXT + BOX_OFFICE, "test")
    assert policy.expired(NOON) == []
    assert [rule.id for rule in policy.expired(NOON + timedelta(hours=12))] == ["box_office"]


def test_rules_of_one_action_count_by_severity() -> None:
    more = RULE.format(id="mild", action="decline", severity="low", when="n_tickets >= 2")
    more += RULE.format(id="grave", action="decline", severity="critical", when="n_tickets >= 2")
    assert decided_by(TEXT + more, 0.0).rules == ("grave", "mild")


def test_a_list_is_named_once_and_used_by_many() -> None:
    blocked = 'version = "4"\n[lists]\nbad_domains = ["example.org", "example.net"]\n'
    text = TEXT.replace('version = "4"\n', "") + RULE.format(
        id="bad_domain", action="decline", severity="high", when="email_domain IN bad_domains AND bin <> '411111'"
    )
    assert decided_by(blocked + text, 0.0).rules == ("bad_domain",)


def test_a_field_the_purchase_does_not_name_satisfies_nothing() -> None:
    for when in ("promoter_id = 'p'", "promoter_id <> 'p'", "NOT promoter_id = 'p'", "promoter_id NOT IN ('p')"):
        assert decided_by(TEXT + RULE.format(id="x", action="decline", severity="low", when=when), 0.0).rules == ()


@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "no_features"]))
def test_a_batch_is_decided_as_each_of_its_purchases_alone(seed: int, posture: Posture) -> None:
    rng = np.random.default_rng(seed)
    text = TEXT + BOX_OFFICE + RULE.format(id="domain", action="review", severity="low", when="email_domain = 'a.org'")
    policy = parse_policy(text, "test")
    matrix = rng.integers(0, 15, (9, len(FEATURE_NAMES))).astype(np.float32) * rng.choice([0.25, 1.0, 3_000.0])
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    purchases = [
        msgspec.structs.replace(PURCHASE, user_id=f"u-{rng.integers(3)}", email_domain=rng.choice(["a.org", "b.org"]))
        for _ in range(9)
    ]
    scores = rng.random(9).tolist() if posture == "normal" else [None] * 9
    draws = rng.random(9).tolist()
    together = decide_all(scores, matrix, purchases, policy, posture, draws, NOON)
    alone = [decide(score, row, purchase, policy, posture, draw, NOON)
             for score, row, purchase, draw in zip(scores, matrix, purchases, draws, strict=True)]  # fmt: skip
    assert together == alone
