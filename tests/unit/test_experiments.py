"""Who decides a slot, and how likely its price was."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibook.errors import ConfigurationError
from ibook.experiments import (
    ALL_BANDIT,
    BANDIT,
    LEAD,
    LIST_PRICE,
    RULES,
    Trial,
    choose,
    ending,
    exact_shares,
    ordered,
    probability_of,
    share_of,
    trial_of,
    without,
)
from ibook.messages import ArmProbabilities, PricePolicy, TicketType
from ibook.pricing import PricingRules, choose_price, slot_of, slot_start
from ibook.pricing_guards import with_floor

NOW = datetime(2026, 3, 1, 12, 2, tzinfo=UTC)
RULES_OF_PRICES = PricingRules(slot_seconds=300.0, max_age_seconds=1e9)
SLOT = slot_of(NOW, 300.0)
STALLS = TicketType(name="stalls", list_price_minor=5000, floor_minor=4000, cap_minor=6000)
ARMS = ArmProbabilities(
    ticket_type="stalls", list_price_minor=5000, prices_minor=[4000, 5000, 6000], probabilities=[0.25, 0.25, 0.5],
    expected_sales=[0.2, 0.15, 0.1], interval=[(0.1, 0.3), (0.1, 0.2), (0.0, 0.2)], rule_minor=6000,
)  # fmt: skip
POLICY = PricePolicy(
    message_id="p", occurred_at=NOW, event_id="e", version=7, slot_seconds=300.0, first_slot=SLOT, currency="GBP",
    current=[], upcoming=[ARMS],
)  # fmt: skip
QUARTERS = exact_shares(0.25, 0.25)


def chosen(slot: int, policy: PricePolicy | None = POLICY, shares=QUARTERS, ticket: TicketType = STALLS):  # type: ignore[no-untyped-def]
    return choose(
        policy, "e", ticket, slot=slot, secret=b"s", rules=RULES_OF_PRICES, trial=Trial(3, shares)
    )  # fmt: skip


def test_each_arm_decides_its_share_of_the_slots_and_says_so() -> None:
    found = [chosen(SLOT + i) for i in range(4000)]
    counts = Counter(each.decided_by for each in found)
    assert counts[LIST_PRICE] == pytest.approx(1000, abs=120)
    assert counts[RULES] == pytest.approx(1000, abs=120)
    prices = {each: {choice.price_minor for choice in found if choice.decided_by == each} for each in counts}
    assert prices == {LIST_PRICE: {5000}, RULES: {6000}, BANDIT: {4000, 5000, 6000}}
    assert {(each.experiment, each.policy_version) for each in found} == {(3, 7)}


def test_the_total_propensity_is_how_often_the_price_is_shown_by_whichever_arm() -> None:
    found = [chosen(SLOT + i) for i in range(8000)]
    told = {each.price_minor: each.total_propensity for each in found}
    assert told == {4000: 0.125, 5000: 0.25 + 0.125, 6000: 0.25 + 0.25}
    shown = Counter(each.price_minor for each in found)
    assert {price: count / 8000 for price, count in shown.items()} == pytest.approx(told, abs=0.02)


@given(st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 2**32))
def test_total_propensities_are_exact_and_sum_to_one(list_share: float, rules_share: float, seed: int) -> None:
    import numpy as np

    shares = exact_shares(list_share, rules_share)
    arms = replace(ARMS, probabilities=with_floor(np.random.default_rng(seed).dirichlet([1.0, 1.0, 1.0])))
    told = [Fraction(probability_of(price, arms, 5000, shares)) for price in arms.prices_minor]
    exact = [
        Fraction(shares.bandit) * Fraction(each)
        + Fraction(shares.list_price) * (price == 5000) + Fraction(shares.rules) * (price == 6000)
        for price, each in zip(arms.prices_minor, arms.probabilities, strict=True)
    ]  # fmt: skip
    assert told == exact
    assert sum(told) == 1


def test_a_bandit_slot_has_the_price_it_would_have_without_an_experiment() -> None:
    for slot in range(SLOT, SLOT + 200):
        choice = chosen(slot)
        alone = choose_price(POLICY, "e", STALLS, slot=slot, secret=b"s", rules=RULES_OF_PRICES)
        if choice.decided_by == BANDIT:
            assert (choice.price_minor, choice.propensity, choice.arm) == (
                alone.price_minor, alone.propensity, alone.arm)  # fmt: skip
        assert chosen(slot, shares=ALL_BANDIT).price_minor == alone.price_minor


def test_without_a_usable_policy_it_is_list_price_and_no_part_of_the_experiment() -> None:
    changed = TicketType(name="stalls", list_price_minor=5500, floor_minor=4000, cap_minor=6000)
    for choice in (chosen(SLOT, policy=None), chosen(SLOT, ticket=changed)):
        assert (choice.decided_by, choice.source, choice.total_propensity) == ("", "list_price", None)


def test_a_policy_without_a_rules_price_shows_list_price_in_the_rules_slots() -> None:
    older = replace(POLICY, upcoming=[replace(ARMS, rule_minor=0)])
    found = [chosen(SLOT + i, policy=older) for i in range(200)]
    assert {each.price_minor for each in found if each.decided_by == RULES} == {5000}
    assert {each.total_propensity for each in found if each.price_minor == 5000} == {0.25 + 0.25 + 0.125}


def test_an_order_holds_from_the_first_slot_that_begins_after_it() -> None:
    order = ordered(None, QUARTERS, ALL_BANDIT, now=slot_start(SLOT, 300.0) - LEAD / 2, by="mira", why="")
    assert trial_of(None, QUARTERS, SLOT, RULES_OF_PRICES) == Trial(0, QUARTERS)
    assert trial_of(order, QUARTERS, SLOT, RULES_OF_PRICES) == Trial(0, QUARTERS)
    assert trial_of(order, QUARTERS, SLOT + 1, RULES_OF_PRICES) == Trial(1, ALL_BANDIT)
    assert order.counts_from == 1


def test_an_order_that_follows_one_which_has_not_begun_keeps_what_holds_now() -> None:
    halves = exact_shares(0.5, 0.0)
    first = ordered(None, QUARTERS, halves, now=NOW, lead=timedelta(hours=1), by="", why="")
    second = ordered(first, QUARTERS, ALL_BANDIT, now=NOW, by="", why="")
    assert (second.version, second.before_version, second.before) == (2, 0, QUARTERS)
    third = ordered(second, QUARTERS, halves, now=NOW + timedelta(minutes=1), by="", why="")
    assert (third.version, third.before_version, third.before) == (3, 2, ALL_BANDIT)


def test_the_end_of_an_arm_keeps_the_figures_and_a_new_order_begins_them_anew() -> None:
    began = ordered(None, QUARTERS, QUARTERS, now=NOW, by="mira", why="")
    ended = ending(began, QUARTERS, RULES, now=NOW + timedelta(hours=1), by="guard", why="It loses.")
    assert (ended.version, ended.counts_from) == (2, 1)
    assert [(each.arm, each.why) for each in ended.ended] == [("rules", "It loses.")]
    assert ended.shares == without(QUARTERS, RULES)
    revived = ordered(ended, QUARTERS, QUARTERS, now=NOW + timedelta(hours=2), by="mira", why="once more")
    assert (revived.version, revived.counts_from, revived.ended, revived.shares) == (3, 3, [], QUARTERS)
    assert ending(None, QUARTERS, BANDIT, now=NOW, by="guard", why="").counts_from == 0


def test_an_arm_that_ends_leaves_its_slots_to_list_price_and_others_keep_theirs() -> None:
    after = without(QUARTERS, RULES)
    assert [share_of(after, arm) for arm in (LIST_PRICE, RULES, BANDIT)] == [0.5, 0.0, 0.5]
    for slot in range(SLOT, SLOT + 300):
        before, then = chosen(slot), chosen(slot, shares=after)
        expected = LIST_PRICE if before.decided_by == RULES else before.decided_by
        assert then.decided_by == expected
    with pytest.raises(ValueError, match="compared with"):
        without(QUARTERS, LIST_PRICE)


@pytest.mark.parametrize(("list_share", "rules_share"), [(0.7, 0.4), (-0.1, 0.2), (1.1, 0.0)])
def test_shares_that_are_no_parts_of_a_whole_are_refused(list_share: float, rules_share: float) -> None:
    with pytest.raises(ConfigurationError, match="no parts of a whole"):
        exact_shares(list_share, rules_share)
