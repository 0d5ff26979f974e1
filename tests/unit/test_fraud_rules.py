"""Rules: which are hit, which one counts, what a policy file may not say, and what an allow-list outweighs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES
from ibook.fraud import Decision, decide, decide_all
from ibook.messages import Posture
from ibook.rules import load_policy, parse_policy
from tests.deciding import NO_LUCK, NOON, POLICY, PURCHASE, TEXT, decided, vector


# ---------------------------------------------------------------------------------------------------------------- rules
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


# ---------------------------------------------------------------------------------------------------------- policy file
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
