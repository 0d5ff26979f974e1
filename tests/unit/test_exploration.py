"""What chance lets through is bounded on every day, however many purchases are tried, and by whom."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.policies import check
from ibook.exploration import Budget, Spent, closed, exploration_draw, within_budget
from ibook.features import FEATURE_NAMES
from ibook.fraud import Decision, decide_all, load_policy
from ibook.partitioning import partition_of
from ibook.rules import DEFAULT_POLICY_PATH
from tests.traffic import purchase

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
TODAY = NOON.date()
POLICY = load_policy()
CAP = POLICY.exploration.max_per_day_minor
PARTITIONS = 4
DRAWN = Decision("approve", "highest", 0.6, (), 0.02, True)
NOT_DRAWN = Decision("decline", "highest", 0.6, (), 0.02, False)
BY_RULE = Decision("decline", "highest", 0.6, ("card_burst",), 1.0, False)


def test_an_attack_of_20_000_would_be_declines_costs_no_more_than_the_days_cap() -> None:
    n, amount, spent, explored = 500, 15_000, dict[int, Spent](), 0
    matrix = np.full((n, len(FEATURE_NAMES)), np.nan, np.float32)
    matrix[:, FEATURE_NAMES.index("amount_minor")] = amount
    for batch in range(40):
        at = NOON + timedelta(minutes=batch)
        bought = [purchase(f"t-{batch}-{i}", now=at, key=f"{batch}-{i}", amount_minor=amount) for i in range(n)]
        draws = [exploration_draw(each, 0) for each in bought]
        decisions = decide_all([0.99] * n, matrix, bought, POLICY, "normal", draws, at)
        places = [(partition_of(each.card_id, PARTITIONS), amount) for each in bought]
        decisions, spent = within_budget(decisions, places, Budget(CAP / PARTITIONS, spent), at)
        explored += amount * sum(each.explored for each in decisions)
        assert {each.action for each in decisions if not each.explored} == {"decline"}
    assert 0 < explored == sum(each.amount_minor for each in spent.values()) <= CAP


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20_000), st.sampled_from([DRAWN, NOT_DRAWN, BY_RULE]))),
    st.integers(0, 60_000),
    st.dictionaries(st.integers(0, 3), st.builds(Spent, st.just(TODAY), st.integers(0, 60_000))),
)
def test_no_partition_spends_more_than_its_part_and_nothing_but_the_slice_changes(
    bought: list[tuple[int, int, Decision]], per_day_minor: int, before: dict[int, Spent]
) -> None:
    decisions, places = [each for *_, each in bought], [(partition, amount) for partition, amount, _ in bought]
    found, spent = within_budget(decisions, places, Budget(per_day_minor, before), NOON)
    for partition, each in spent.items():
        had = before[partition].amount_minor if partition in before else 0
        paid = [amount for (home, amount), one in zip(places, found, strict=True) if home == partition and one.explored]
        assert each.amount_minor == had + sum(paid)
        assert each.amount_minor <= max(had, per_day_minor)
    for was, now in zip(decisions, found, strict=True):
        assert now == was or (was.propensity < 1 and now == closed(was))


@pytest.mark.parametrize("was", [DRAWN, NOT_DRAWN])
def test_what_the_budget_cannot_pay_is_declined_for_certain_whatever_was_drawn(was: Decision) -> None:
    [found], spent = within_budget([was], [(1, 501)], Budget(1_000, {1: Spent(TODAY, 500)}), NOON)
    assert (found.action, found.propensity, found.explored, found.exploration_closed) == ("decline", 1.0, False, True)
    assert spent == {1: Spent(TODAY, 500)}


def test_a_smaller_purchase_and_another_partition_still_have_their_budget() -> None:
    budget = Budget(1_000, {1: Spent(TODAY, 500)})
    found, spent = within_budget([DRAWN] * 3, [(1, 501), (1, 500), (2, 1_000)], budget, NOON)
    assert [each.explored for each in found] == [False, True, True]
    assert spent == {1: Spent(TODAY, 1_000), 2: Spent(TODAY, 1_000)}


def test_a_new_day_has_a_new_budget_and_a_clock_that_goes_back_opens_no_day_again() -> None:
    full = Budget(1_000, {1: Spent(TODAY, 1_000)})
    [tomorrow], spent = within_budget([DRAWN], [(1, 400)], full, NOON + timedelta(days=1))
    assert (tomorrow, spent) == (DRAWN, {1: Spent(TODAY + timedelta(days=1), 400)})
    [yesterday], spent = within_budget([DRAWN], [(1, 400)], full, NOON - timedelta(days=1))
    assert (yesterday, spent) == (closed(DRAWN), full.spent)


def test_a_card_has_one_draw_a_day_however_often_it_is_tried() -> None:
    draws = {exploration_draw(purchase(f"t-{n}", now=NOON + timedelta(minutes=n), key="1"), 0) for n in range(700)}
    assert len(draws) == 1
    days = {exploration_draw(purchase("t", now=NOON + timedelta(days=n), key="1"), 0) for n in range(50)}
    cards = {exploration_draw(purchase("t", now=NOON, key=str(n)), 0) for n in range(50)}
    assert len(days) == len(cards) == 50


@pytest.mark.parametrize(("partitions", "is_warned"), [("4", False), ("5", True)])
def test_a_budget_whose_parts_cannot_pay_the_largest_purchase_is_told_when_a_policy_is_checked(
    partitions: str, is_warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IBOOK_PARTITIONS", partitions)
    check(DEFAULT_POLICY_PATH)
    assert (
        "max_per_day_minor is 12000 a partition: what is dearer is not explored" in capsys.readouterr().out
    ) == is_warned
