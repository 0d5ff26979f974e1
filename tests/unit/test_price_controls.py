"""Freezes, rollbacks, and the price by rule, as functions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.messages import EventListed, PriceControlled, PricePolicy, TicketType
from ibook.price_controls import control_in_force, frozen_price, in_effect, price_by_rule, too_old
from ibook.pricing import RULE_ARM, PricingRules, in_force, slot_of, slot_start

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = PricingRules(slot_seconds=300.0, max_age_seconds=3600.0)
SLOT = slot_of(NOW, 300.0)
TICKET = TicketType(name="stalls", list_price_minor=5000, floor_minor=4800, cap_minor=5600)
LISTING = EventListed(
    message_id="l", occurred_at=NOW, event_id="gala", name="Gala", category="concerts", promoter_id="p", venue="v",
    capacity=100, on_sale_at=NOW - timedelta(days=5), starts_at=NOW + timedelta(days=5), currency="GBP",
    ticket_types=[TICKET],
)  # fmt: skip


def policy(version: int = 1, occurred_at: datetime = NOW) -> PricePolicy:
    return PricePolicy(
        message_id="p", occurred_at=occurred_at, event_id="gala", version=version, slot_seconds=300.0,
        first_slot=SLOT + 1, currency="GBP", current=[], upcoming=[],
    )  # fmt: skip


def control(event_id: str = "gala", **more: object) -> PriceControlled:
    return PriceControlled(message_id="c", occurred_at=NOW, event_id=event_id, **more)  # type: ignore[arg-type]


def followed(*controls: PriceControlled, at: datetime = NOW) -> PriceControlled | None:
    return control_in_force({each.event_id: each for each in controls}, "gala", at)


def test_an_events_own_order_comes_before_that_of_all_and_a_freeze_before_a_rollback() -> None:
    own, everybody = control(frozen=True), control("", frozen=True)
    back, back_all = control(policy=policy()), control("", policy=policy())
    assert followed() is None
    assert followed(everybody) is everybody
    assert followed(own, everybody) is own
    assert followed(back, everybody) is everybody
    assert followed(own, back_all) is own
    assert followed(back, back_all) is back
    assert followed(control("another", frozen=True)) is None


def test_an_order_ends_when_it_is_taken_back_or_its_time_is_over() -> None:
    assert followed(control()) is None
    assert followed(control(), control("", frozen=True)) == control("", frozen=True)
    timed = control(frozen=True, until=NOW + timedelta(minutes=1))
    assert followed(timed) is timed
    assert followed(timed, at=NOW + timedelta(minutes=1)) is None


def test_a_policy_gone_back_to_holds_at_once_and_does_not_age() -> None:
    old = policy(3, NOW - timedelta(days=2))
    later = policy(9)
    used = in_effect(later, control(policy=old), SLOT, RULES)
    assert used is not None
    assert used.version == 3
    assert not too_old(used, SLOT, RULES)
    assert in_force(used, SLOT, RULES) == old.upcoming
    assert in_effect(later, control(frozen=True), SLOT, RULES) is later
    assert in_effect(later, None, SLOT, RULES) is later


def test_a_policy_is_too_old_from_the_first_slot_that_begins_after_its_age() -> None:
    began = slot_start(SLOT, 300.0)
    assert not too_old(policy(occurred_at=began - timedelta(hours=1)), SLOT, RULES)
    assert too_old(policy(occurred_at=began - timedelta(hours=1, microseconds=1)), SLOT, RULES)
    assert not too_old(None, SLOT, RULES)


@pytest.mark.parametrize(
    ("seats_left", "price"),
    [(50, 5000), (20, 5600), (40, 5250), (100, 4800), (0, 5600), (None, 5000)],
)
def test_a_price_by_rule_follows_seats_against_time_within_floor_and_cap(seats_left: int | None, price: int) -> None:
    choice = price_by_rule(LISTING, TICKET, seats_left, SLOT, RULES)
    assert (choice.price_minor, choice.arm, choice.source, choice.propensity) == (price, RULE_ARM, "rules", 1.0)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(-10_000, 10_000))
def test_a_price_by_rule_never_falls_when_fewer_seats_are_left(one: int, other: int, slots: int) -> None:
    fewer, more = sorted((one, other))
    prices = [price_by_rule(LISTING, TICKET, left, SLOT + slots, RULES).price_minor for left in (fewer, more)]
    assert prices[0] >= prices[1]
    assert all(TICKET.floor_minor <= price <= TICKET.cap_minor for price in prices)


def test_a_frozen_price_is_the_list_price_and_says_why() -> None:
    choice = frozen_price(TICKET)
    assert (choice.price_minor, choice.source) == (5000, "frozen")
