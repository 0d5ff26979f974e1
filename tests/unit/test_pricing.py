"""Slots, the draw, and which price a policy gives."""

import dataclasses
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibook.bandit import interval95, mean, prior
from ibook.messages import ArmProbabilities, EventListed, PricePolicy, TicketType
from ibook.pricing import (
    LIST_PRICE_ARM,
    PRIOR_INTERVAL,
    PRIOR_SALE_SHARE,
    PriceChoice,
    PricingRules,
    arm_prices,
    choose_price,
    draw_arm,
    in_force,
    is_due_again,
    list_price,
    postponed,
    slot_draw,
    slot_of,
    slot_start,
)

NOW = datetime(2026, 3, 1, 12, 2, tzinfo=UTC)
RULES = PricingRules(slot_seconds=300.0, max_age_seconds=3600.0)
STALLS = TicketType(name="stalls", list_price_minor=5000, floor_minor=4000, cap_minor=6000)
SLOT = slot_of(NOW, RULES.slot_seconds)


def arms(*prices: int, probabilities: list[float] | None = None, list_price_minor: int = 5000) -> ArmProbabilities:
    n = len(prices)
    return ArmProbabilities(
        ticket_type="stalls", list_price_minor=list_price_minor, prices_minor=list(prices),
        probabilities=probabilities or [1 / n] * n, expected_sales=[0.1] * n, interval=[(0.0, 0.3)] * n,
    )  # fmt: skip


def policy(current: list[ArmProbabilities], upcoming: list[ArmProbabilities], **changes: object) -> PricePolicy:
    fields: dict[str, object] = {
        "message_id": "p", "occurred_at": NOW, "event_id": "e", "version": 7, "slot_seconds": 300.0,
        "first_slot": SLOT + 1, "currency": "GBP", "current": current, "upcoming": upcoming,
    }  # fmt: skip
    return PricePolicy(**(fields | changes))  # type: ignore[arg-type]


def choose(given_policy: PricePolicy | None, slot: int = SLOT + 1, ticket: TicketType = STALLS, secret: bytes = b"s"):  # type: ignore[no-untyped-def]
    return choose_price(given_policy, "e", ticket, slot=slot, secret=secret, rules=RULES)


def test_slots_are_half_open_and_start_where_they_say() -> None:
    start = slot_start(SLOT, 300.0)
    assert slot_of(start, 300.0) == SLOT
    assert slot_of(start + timedelta(seconds=300) - timedelta(microseconds=1), 300.0) == SLOT
    assert slot_of(start + timedelta(seconds=300), 300.0) == SLOT + 1


@given(
    list_minor=st.integers(1, 10**9),
    below=st.floats(0.01, 1.0),
    above=st.floats(1.0, 3.0),
    multipliers=st.lists(st.floats(0.05, 5.0), min_size=1, max_size=10),
)
def test_arms_stay_within_floor_and_cap_and_are_distinct(
    list_minor: int, below: float, above: float, multipliers: list[float]
) -> None:
    floor, cap = max(1, int(list_minor * below)), min(10**9, int(list_minor * above) + 1)
    ticket = TicketType(name="t", list_price_minor=list_minor, floor_minor=floor, cap_minor=cap)
    prices = arm_prices(ticket, multipliers)
    assert prices == sorted(set(prices))
    assert all(floor <= price <= cap for price in prices)


RANGED = TicketType(
    name="t", list_price_minor=1000, floor_minor=500, cap_minor=2000, published_low_minor=900, published_high_minor=1200
)


@pytest.mark.parametrize("multipliers", [(0.5, 0.95, 1.5), (0.1,), (3.0,)])
def test_arms_stay_within_the_range_that_the_shop_publishes(multipliers: tuple[float, ...]) -> None:
    assert all(900 <= price <= 1200 for price in arm_prices(RANGED, multipliers))


@pytest.mark.parametrize("published", [{"published_low_minor": 1001}, {"published_high_minor": 999},
                                       {"published_low_minor": 400}, {"published_high_minor": 2001}])  # fmt: skip
def test_a_published_range_lies_around_the_list_price_within_floor_and_cap(published: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="published range"):
        TicketType(name="t", list_price_minor=1000, floor_minor=500, cap_minor=2000, **published)


def test_a_policy_made_before_a_narrower_range_was_published_is_not_used() -> None:
    wide = policy([], [arms(4000, 5000, 6000, probabilities=[0.5, 0.0, 0.5])])
    narrow = replace(STALLS, published_low_minor=5000, published_high_minor=5000)
    assert choose(wide).source == "policy"
    assert choose(wide, ticket=narrow).source == "list_price"


def test_the_list_price_belief_is_the_prior_of_the_list_price() -> None:
    before = prior(5000, 5000)
    assert mean(before) == pytest.approx(PRIOR_SALE_SHARE)
    assert interval95(before) == pytest.approx(PRIOR_INTERVAL)


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 2**40))
def test_the_draw_is_a_number_below_one_that_every_replica_repeats(event: str, ticket: str, slot: int) -> None:
    drawn = slot_draw(b"secret", event, ticket, slot)
    assert 0.0 <= drawn < 1.0
    assert drawn == slot_draw(b"secret", event, ticket, slot)
    assert drawn != slot_draw(b"another", event, ticket, slot)


def test_arms_are_drawn_as_often_as_their_probabilities_say() -> None:
    probabilities = [0.02, 0.18, 0.5, 0.3]
    n = 20_000
    drawn = Counter(draw_arm(probabilities, slot_draw(b"s", "e", "stalls", slot)) for slot in range(n))
    for arm, probability in enumerate(probabilities):
        error = (probability * (1 - probability) / n) ** 0.5
        assert abs(drawn[arm] / n - probability) < 4 * error


def test_ticket_types_and_events_are_drawn_apart() -> None:
    draws = {slot_draw(b"s", event, ticket, 1) for event in ("a", "b") for ticket in ("x", "y")}
    assert len(draws) == 4


def test_a_price_is_the_same_for_the_whole_slot_and_names_its_propensity() -> None:
    made = policy([], [arms(4000, 5000, 6000, probabilities=[0.25, 0.25, 0.5])])
    first = choose(made)
    assert first == choose(made)
    assert first.source == "policy"
    assert first.policy_version == 7
    assert first.propensity == [0.25, 0.25, 0.5][first.arm]
    assert first.price_minor == [4000, 5000, 6000][first.arm]


def test_current_arms_hold_until_the_first_slot() -> None:
    made = policy([arms(4000)], [arms(6000)])
    assert choose(made, SLOT).price_minor == 4000
    assert choose(made, SLOT + 1).price_minor == 6000
    assert choose(made, SLOT + 5).price_minor == 6000


def test_a_policy_carried_on_gives_what_the_one_before_gave() -> None:
    """A reader that only ever saw the newest policy shows the price everybody shows."""
    before = policy([arms(4000)], [arms(5000)], first_slot=SLOT)
    after = policy(in_force(before, SLOT, RULES), [arms(6000)], version=8)
    assert choose(after, SLOT).price_minor == choose(before, SLOT).price_minor == 5000


@pytest.mark.parametrize(
    "unusable",
    [
        None,
        policy([], [arms(4000)], occurred_at=NOW - timedelta(hours=2)),
        policy([], [arms(4000)], slot_seconds=60.0),
        policy([], [arms(4000, list_price_minor=4500)]),
        policy([], [arms(3999)]),
        policy([], [arms(6001)]),
        policy([], []),
    ],
    ids=["none", "too old", "other slots", "other list price", "below floor", "above cap", "other ticket types"],
)
def test_the_list_price_is_shown_when_no_policy_can_be_used(unusable: PricePolicy | None) -> None:
    choice = choose(unusable)
    assert choice == list_price(STALLS)
    assert (choice.arm, choice.price_minor, choice.propensity) == (LIST_PRICE_ARM, 5000, 1.0)


def test_a_policy_that_ages_does_so_between_slots() -> None:
    made = policy([], [arms(4000)], occurred_at=slot_start(SLOT, 300.0), first_slot=SLOT + 1)
    assert choose(made, SLOT + 12).source == "policy"
    assert choose(made, SLOT + 13).source == "list_price"


@pytest.mark.parametrize(
    ("on_sale_for", "decided_ago", "due"),
    [(timedelta(days=2), timedelta(minutes=16), True), (timedelta(days=2), timedelta(minutes=14), False),
     (timedelta(minutes=30), timedelta(minutes=5), True), (timedelta(days=-2), timedelta(minutes=5), False)],
    ids=["getting old", "fresh", "opening", "not on sale yet"],
)  # fmt: skip
def test_a_policy_is_decided_again_before_it_is_too_old_and_in_an_opening_each_slot(
    on_sale_for: timedelta, decided_ago: timedelta, due: bool
) -> None:
    event = EventListed(
        message_id="l", occurred_at=NOW, event_id="e", name="Gala", category="concerts", promoter_id="p", venue="v",
        capacity=100, on_sale_at=NOW - on_sale_for, starts_at=NOW + timedelta(days=5), currency="GBP",
        ticket_types=[STALLS],
    )  # fmt: skip
    assert is_due_again(event, NOW - decided_ago, now=NOW, rules=RULES) == due
    begun = replace(event, starts_at=NOW)
    assert not is_due_again(begun, NOW - decided_ago, now=NOW, rules=RULES), "an event that has begun is priced no more"


def test_a_listing_of_two_ticket_types_of_one_name_is_refused() -> None:
    with pytest.raises(ValueError, match="two ticket types of one name"):
        EventListed(
            message_id="l", occurred_at=NOW, event_id="e", name="Gala", category="concerts", promoter_id="p", venue="v",
            capacity=100, on_sale_at=NOW, starts_at=NOW, currency="GBP",
            ticket_types=[STALLS, replace(STALLS, list_price_minor=4500)],
        )  # fmt: skip


def test_a_policy_that_comes_too_late_for_its_first_slot_changes_no_price_in_it() -> None:
    last = policy([], [arms(4000, 5000)], first_slot=SLOT)
    late = policy(in_force(last, SLOT, RULES), [arms(5000, 6000)], version=8)
    assert postponed(late, last, SLOT, RULES) is late
    for now in (SLOT + 1, SLOT + 2):
        published = postponed(late, last, now, RULES)
        assert choose(published, now) == replace_version(choose(last, now), 8)
        assert choose(published, now + 1).price_minor in (5000, 6000)
    assert postponed(late, None, SLOT + 1, RULES).current == [], "nothing was known: list price until then"


def replace_version(choice: PriceChoice, version: int) -> PriceChoice:
    return dataclasses.replace(choice, policy_version=version)
