"""Quotes and rewards, in any order, as settled slots; and when an arm must stop."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.experiment_figures import ArmReport, tally
from ibook.experiment_guard import losing, may_judge
from ibook.experiments import exact_shares
from ibook.messages import PriceReward, QuoteIssued
from ibook.slot_book import SETTLE, SlotBook, experiment_slots, left_out, shown_by_arm

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GRACE = timedelta(minutes=1)
SHARES = exact_shares(0.25, 0.25)


def quote(slot: int = 1, price: int = 5000, decided_by: str = "list_price", **changes: object) -> QuoteIssued:
    fields: dict[str, object] = {
        "message_id": "q", "occurred_at": NOW, "quote_id": "q", "event_id": "gala", "ticket_type": "stalls",
        "currency": "GBP", "price_minor": price, "slot": slot, "arm": -1, "propensity": 1.0, "policy_version": 1,
        "expires_at": NOW + timedelta(minutes=10), "decided_by": decided_by, "experiment": 2, "shares": SHARES,
        "total_propensity": 0.5, "list_price_minor": 5000,
    }  # fmt: skip
    return QuoteIssued(**(fields | changes))  # type: ignore[arg-type]


def reward(sequence: int, offers: int, sales: int, slot: int = 1, price: int = 5000, source: int = 0) -> PriceReward:
    return PriceReward(
        message_id=f"r{sequence}", occurred_at=NOW, event_id="gala", quote_id="q", ticket_type="stalls", arm=-1,
        price_minor=price, slot=slot, offered_at=NOW, offers=offers, sales=sales, revenue_minor=sales * price,
        source_partition=source, sequence=sequence,
    )  # fmt: skip


SETTLED_AT = NOW + timedelta(minutes=10) + GRACE + SETTLE
STEPS: list[QuoteIssued | PriceReward] = [
    quote(), quote(slot=2, price=6000, decided_by="bandit"), reward(0, 1, 1), reward(1, 1, 0),
    reward(2, 1, 1, slot=2, price=6000), reward(3, -1, -1),
]  # fmt: skip


def book_of(steps: list[QuoteIssued | PriceReward]) -> SlotBook:
    book = SlotBook()
    for step in steps:
        if isinstance(step, QuoteIssued):
            book.issue(step)
        else:
            book.reward(step, 0)
    return book


@given(st.permutations([0, 1, 5]))
def test_quotes_may_be_read_before_or_after_their_rewards(places: list[int]) -> None:
    steps: list[QuoteIssued | PriceReward] = [each for each in STEPS if isinstance(each, PriceReward)]
    for place, each in zip(places, [STEPS[0], STEPS[1], quote()], strict=True):
        steps.insert(place, each)
    slots = sorted(experiment_slots(book_of(steps).settled(SETTLED_AT, GRACE), 0), key=lambda slot: slot.arm)
    assert [(slot.arm, slot.offers, slot.sales, slot.revenue) for slot in slots] == [
        ("bandit", 1, 1, 1.2), ("list_price", 1, 0, 0.0)]  # fmt: skip


def test_a_reward_that_is_read_again_counts_once_and_each_partition_counts_for_itself() -> None:
    book = book_of([quote(), reward(0, 1, 1), reward(1, 1, 0), reward(0, 1, 1), reward(1, 1, 0)])
    book.reward(reward(0, 1, 0, source=1), 0)
    book.reward(reward(0, 1, 0), 1)
    [slot] = experiment_slots(book.settled(SETTLED_AT, GRACE), 0)
    assert (slot.offers, slot.sales) == (4, 1)


def test_a_slot_counts_once_its_quotes_have_expired() -> None:
    book = book_of([quote(), reward(0, 1, 1)])
    moment = timedelta(microseconds=1)
    assert list(book.settled(SETTLED_AT - moment, GRACE)) == []
    assert book.next_settled(SETTLED_AT - moment, GRACE) == SETTLED_AT
    assert len(list(book.settled(SETTLED_AT, GRACE))) == 1
    assert book.next_settled(SETTLED_AT, GRACE) is None


def test_what_is_closed_is_given_once() -> None:
    book = book_of(list(STEPS))
    assert len(book.close(SETTLED_AT, GRACE)) == 2
    assert book.close(SETTLED_AT, GRACE) == []
    assert not book.decisions
    assert not book.outcomes


def test_prices_by_order_and_slots_of_earlier_experiments_are_left_out() -> None:
    book = book_of([quote(slot=1, decided_by=""), quote(slot=2, experiment=1), quote(slot=3, shares=None), quote(4)])
    assert len(list(experiment_slots(book.settled(SETTLED_AT, GRACE), 2))) == 1


def arm(name: str, high: float | None, value: float = -0.1) -> ArmReport:
    uplift = None if high is None else value
    return ArmReport(arm=name, slots=90, offers=900, sales=9, revenue_per_offer=0.1, uplift=uplift, low=-0.5, high=high)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reports", "ended"),
    [([arm("rules", -0.05)], "rules"), ([arm("rules", -0.01)], None), ([arm("rules", None)], None),
     ([arm("list_price", -0.5)], None), ([arm("rules", -0.05), arm("bandit", -0.06, -0.3)], "bandit")],
)  # fmt: skip
def test_an_arm_ends_when_its_whole_interval_lies_below_the_loss_that_is_allowed(
    reports: list[ArmReport], ended: str | None
) -> None:
    found = losing(reports, SHARES, loss=0.02)
    assert (found[0] if found else None) == ended
    assert found is None or "less than list price" in found[1]


def test_an_arm_that_decides_no_more_is_not_ended_again() -> None:
    shares = exact_shares(0.5, 0.0)
    assert [losing([arm(name, -0.05)], shares, loss=0.02) is None for name in ("rules", "bandit")] == [True, False]


def test_no_arm_is_judged_before_its_experiment_is_so_old() -> None:
    book = book_of([quote(slot=2, occurred_at=NOW + timedelta(minutes=5)), quote(), reward(0, 1, 1)])
    total = tally(experiment_slots(book.settled(SETTLED_AT + GRACE * 9, GRACE), 0))
    hour = timedelta(hours=1)
    assert may_judge(total, now=NOW + hour, patience=hour)
    assert not may_judge(total, now=NOW + hour - timedelta(seconds=1), patience=hour)
    assert not may_judge(tally([]), now=NOW + hour, patience=timedelta(0))
    later = tally(
        experiment_slots(book_of([quote(slot=3, occurred_at=NOW + hour)]).settled(NOW + hour * 9, GRACE), 0), total
    )
    assert later.begun == NOW


@given(st.permutations([0, 1, 2]))
def test_a_slot_with_an_order_in_its_middle_is_no_part_of_the_experiment(places: list[int]) -> None:
    times = [NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=2)]
    steps = [
        quote(occurred_at=at, decided_by=by) for at, by in zip(times, ("list_price", "", "list_price"), strict=True)
    ]
    book = book_of([*(steps[place] for place in places), reward(0, 1, 1)])
    settled = list(book.settled(SETTLED_AT, GRACE))
    assert list(experiment_slots(settled, 0)) == []
    assert left_out(settled, 0).total() == 1


def test_what_is_left_out_is_counted_by_its_reason() -> None:
    book = book_of([
        quote(1), quote(2, experiment=1), quote(3, decided_by=""),
        quote(4, decided_by="", total_propensity=None), quote(5, decided_by="", total_propensity=None, arm=-2),
    ])  # fmt: skip
    assert left_out(book.settled(SETTLED_AT, GRACE), 2) == {
        "of an earlier experiment": 1, "by a policy that was gone back to, or with an order in their middle": 1,
        "at list price, by order or for want of a policy": 1, "by rule, since learning was away": 1,
    }  # fmt: skip


def test_prices_that_were_shown_and_do_not_count_are_known_and_repeats_are_not_shown_twice() -> None:
    book = SlotBook(shown={})
    for each in (
        quote(quote_id="a"),
        quote(quote_id="b"),
        quote(quote_id="a"),
        quote(slot=2, quote_id="c", experiment=1),
    ):
        book.issue(each)
    book.reward(reward(0, 1, 1), 0)
    settled = list(book.settled(SETTLED_AT, GRACE))
    assert shown_by_arm(book, settled, 2) == {"list_price": 2}
    assert sum(slot.offers for slot in experiment_slots(settled, 2)) == 1


def test_new_standing_shares_are_given_the_same_patience() -> None:
    hour, changed = timedelta(hours=1), exact_shares(0.1, 0.1)
    steps: list[QuoteIssued | PriceReward] = [quote(), quote(slot=2, occurred_at=NOW + hour, shares=changed)]
    total = tally(experiment_slots(book_of(steps).settled(NOW + hour * 9, GRACE), 0))
    assert may_judge(total, now=NOW + hour, patience=hour, standing=SHARES)
    assert not may_judge(total, now=NOW + hour * 1.9, patience=hour, standing=changed)
    assert may_judge(total, now=NOW + hour * 2, patience=hour, standing=changed)
    assert not may_judge(total, now=NOW + hour * 9, patience=hour, standing=exact_shares(0.5, 0.1))
