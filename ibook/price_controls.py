"""Prices when things break or people intervene: frozen, rolled back, or by rule because nothing learned can be used."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from ibook.messages import EventListed, PriceControlled, PricePolicy, TicketType
from ibook.pricing import PRIOR_INTERVAL, PRIOR_SALE_SHARE, RULE_ARM, PriceChoice, PricingRules, list_price, slot_start
from ibook.pricing_by_rule import rule_price

ALL_EVENTS = ""


def control_in_force(controls: Mapping[str, PriceControlled], event_id: str, now: datetime) -> PriceControlled | None:
    """What an event's prices follow by order: a freeze before a rollback, the event's own before that of all events."""
    if not controls:
        return None
    found = [controls.get(event_id), controls.get(ALL_EVENTS)]
    active = [control for control in found if control is not None and is_active(control, now)]
    return min(active, key=lambda control: not control.frozen, default=None)


def is_active(control: PriceControlled, now: datetime) -> bool:
    """Whether it orders anything (still)."""
    return (control.frozen or control.policy is not None) and (control.until is None or now < control.until)


def in_effect(
    learned: PricePolicy | None, control: PriceControlled | None, slot: int, rules: PricingRules
) -> PricePolicy | None:
    """The policy that decides: the ordered one, which does not age and holds from this slot on, or the learned one."""
    if control is None or control.policy is None:
        return learned
    return replace(control.policy, first_slot=slot, occurred_at=slot_start(slot, rules.slot_seconds))


def too_old(policy: PricePolicy | None, slot: int, rules: PricingRules) -> bool:
    """Whether Kafka or the learner must be away: it publishes unchanged policies anew before they are so old."""
    return policy is not None and policy.occurred_at < oldest_in_force(slot, rules)


def oldest_in_force(slot: int, rules: PricingRules) -> datetime:
    """When the oldest policy was made that still decides in a slot."""
    return slot_start(slot, rules.slot_seconds) - timedelta(seconds=rules.max_age_seconds)


def frozen_price(ticket: TicketType) -> PriceChoice:
    """The list price, by order."""
    return dataclasses.replace(list_price(ticket), source="frozen", why="Frozen at list price by order.")


def price_by_rule(
    listing: EventListed, ticket: TicketType, seats_left: int | None, slot: int, rules: PricingRules
) -> PriceChoice:
    """The price that seats and time alone give at the slot's start."""
    price = rule_price(listing, ticket, seats_left=seats_left, now=slot_start(slot, rules.slot_seconds))
    return PriceChoice(
        arm=RULE_ARM, price_minor=price, propensity=1.0, policy_version=0, source="rules",
        expected_sales=PRIOR_SALE_SHARE, interval=PRIOR_INTERVAL,
        why="Learning is away: the price follows seats and time.",
    )  # fmt: skip
