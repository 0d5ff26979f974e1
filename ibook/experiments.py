"""Switchback experiments: which arm (list price, the rule, the bandit) decides the price of a slot.

The slot of an event's ticket type is the unit: all buyers of a slot see one price, and an HMAC of event, ticket type
and slot draws who decides it, in every replica the same. Bojinov, Simchi-Levi & Zhao (2023), Design and Analysis of
Switchback Experiments.
"""

import dataclasses
import hmac
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from msgspec.structs import replace

from ibook.errors import ConfigurationError
from ibook.ids import frame, message_id
from ibook.messages import ArmEnded, ArmProbabilities, ExperimentShares, PriceExperiment, PricePolicy, TicketType
from ibook.pricing import (
    LIST_PRICE_ARM,
    PRIOR_INTERVAL,
    PRIOR_SALE_SHARE,
    RULE_ARM,
    PriceChoice,
    PricingRules,
    arms_for,
    drawn,
    list_price,
    slot_start,
)
from ibook.pricing_guards import UNITS
from ibook.settings import Settings

ExperimentArm = Literal["list_price", "rules", "bandit"]
LIST_PRICE: ExperimentArm = "list_price"
RULES: ExperimentArm = "rules"
BANDIT: ExperimentArm = "bandit"
ARMS: tuple[ExperimentArm, ...] = (LIST_PRICE, RULES, BANDIT)
LEAD = timedelta(seconds=2)
"""An order holds for slots that begin so long after it, when every replica has read it."""
ALL_BANDIT = ExperimentShares(list_price=0.0, rules=0.0, bandit=1.0)


class Trial(NamedTuple):
    """The shares that hold for a slot, and which version of the experiment they are."""

    version: int
    shares: ExperimentShares


# ------------------------------------------------------------------------------------------------------------- shares
def exact_shares(list_price: float, rules: float) -> ExperimentShares:
    """Shares in whole UNITS, which are exact in a float; the bandit has what is left. Raises ConfigurationError.

    >>> exact_shares(0.1, 0.1).bandit
    0.79998779296875
    """
    first, second = round(list_price * UNITS), round(rules * UNITS)
    if min(first, second) < 0 or first + second > UNITS:
        raise ConfigurationError(f"Shares of {list_price:g} and {rules:g} are no parts of a whole.")
    return ExperimentShares(list_price=first / UNITS, rules=second / UNITS, bandit=(UNITS - first - second) / UNITS)


def shares_of(settings: Settings) -> ExperimentShares:
    """The shares that hold until others are ordered. Raises ConfigurationError."""
    return exact_shares(settings.price_list_share, settings.price_rules_share)


def share_of(shares: ExperimentShares, arm: ExperimentArm) -> float:
    """The share of one arm."""
    return float(getattr(shares, arm))


def trial_of(last: PriceExperiment | None, standing: ExperimentShares, slot: int, rules: PricingRules) -> Trial:
    """What holds for a slot; judged at its start, so that no order changes a price in the middle of a slot."""
    return standing_at(last, standing, slot_start(slot, rules.slot_seconds))


def ordered(
    last: PriceExperiment | None, standing: ExperimentShares, shares: ExperimentShares, *, now: datetime,
    lead: timedelta = LEAD, by: str, why: str,
) -> PriceExperiment:  # fmt: skip
    """People's order that follows `last`: `shares`, for the slots that begin a little later. Its figures begin anew."""
    before = standing_at(last, standing, now + lead)
    version = last.version + 1 if last else 1
    return PriceExperiment(
        message_id=message_id("experiment", str(version), now.isoformat()), occurred_at=now, version=version,
        shares=shares, begins_at=now + lead, before=before.shares, before_version=before.version, counts_from=version,
        by=by, why=why,
    )  # fmt: skip


def ending(
    last: PriceExperiment | None, standing: ExperimentShares, arm: ExperimentArm, *, now: datetime, by: str, why: str
) -> PriceExperiment:
    """The order that ends an arm; its slots show list price. Raises ValueError for list price, which cannot end."""
    shares = without(last.shares if last else standing, arm)
    return replace(
        ordered(last, standing, shares, now=now, by=by, why=why),
        counts_from=last.counts_from if last else 0,
        ended=[*(last.ended if last else []), ArmEnded(arm=arm, why=why)],
    )


def standing_at(last: PriceExperiment | None, standing: ExperimentShares, moment: datetime) -> Trial:
    """What holds for a slot that begins at a moment."""
    if last is None:
        return Trial(0, standing)
    begun = moment >= last.begins_at
    return Trial(last.version, last.shares) if begun else Trial(last.before_version, last.before)


def without(shares: ExperimentShares, arm: ExperimentArm) -> ExperimentShares:
    """The shares once an arm has ended: list price has its slots. Raises ValueError for list price, which cannot end.

    >>> without(exact_shares(0.25, 0.25), "bandit")
    ExperimentShares(list_price=0.75, rules=0.25, bandit=0.0)
    """
    if arm == LIST_PRICE:
        raise ValueError("list price is what the others are compared with")
    freed = share_of(shares, arm)
    rules, bandit = (0.0, shares.bandit) if arm == RULES else (shares.rules, 0.0)
    return ExperimentShares(list_price=shares.list_price + freed, rules=rules, bandit=bandit)


# ----------------------------------------------------------------------------------------------------------- the draw
def experiment_draw(secret: bytes, event_id: str, ticket_type: str, slot: int) -> float:
    """A number in [0, 1) that says who decides the slot; independent of the one that draws its price."""
    digest = hmac.digest(secret, frame("ibook experiment v1", event_id, ticket_type, str(slot)), "sha256")
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def draw(shares: ExperimentShares, uniform: float) -> ExperimentArm:
    """The arm whose stretch holds `uniform`.

    >>> [draw(exact_shares(0.25, 0.25), uniform) for uniform in (0.0, 0.25, 0.5, 0.99)]
    ['list_price', 'rules', 'bandit', 'bandit']
    """
    if uniform < shares.list_price:
        return LIST_PRICE
    return RULES if uniform < shares.list_price + shares.rules else BANDIT


def choose(policy: PricePolicy | None, event_id: str, ticket: TicketType, *, slot: int, secret: bytes,
           rules: PricingRules, trial: Trial) -> PriceChoice:  # fmt: skip
    """The slot's price of a ticket type, decided by the arm that the slot draws; the same in every replica.

    Without a usable policy it is the list price, and the slot is no part of the experiment: nothing was drawn.
    """
    arms = arms_for(policy, ticket, slot, rules)
    if arms is None or policy is None:
        return list_price(ticket)
    arm = draw(trial.shares, experiment_draw(secret, event_id, ticket.name, slot))
    if arm == BANDIT:
        choice = drawn(arms, policy, event_id, slot=slot, secret=secret)
    else:
        choice = _fixed(arm, arms, ticket, policy.version)
    return dataclasses.replace(
        choice, decided_by=arm, experiment=trial.version, shares=trial.shares,
        total_propensity=probability_of(choice.price_minor, arms, ticket.list_price_minor, trial.shares),
    )  # fmt: skip


def _fixed(arm: ExperimentArm, arms: ArmProbabilities, ticket: TicketType, version: int) -> PriceChoice:
    price = ticket.list_price_minor if arm == LIST_PRICE else _rule_price(arms)
    sales, interval = _expected(arms, price)
    why = "List price, to compare with." if arm == LIST_PRICE else "The price follows seats and time, to compare with."
    return PriceChoice(
        arm=LIST_PRICE_ARM if arm == LIST_PRICE else RULE_ARM, price_minor=price, propensity=1.0,
        policy_version=version, source="list_price" if arm == LIST_PRICE else "rules", expected_sales=sales,
        interval=interval, why=why,
    )  # fmt: skip


def _rule_price(arms: ArmProbabilities) -> int:
    """A policy that was made before rules had their price leaves them the list price."""
    return arms.rule_minor or arms.list_price_minor


def _expected(arms: ArmProbabilities, price: int) -> tuple[float, tuple[float, float]]:
    """What is believed of a price, if it is one of the policy's."""
    if price not in arms.prices_minor:
        return PRIOR_SALE_SHARE, PRIOR_INTERVAL
    place = arms.prices_minor.index(price)
    return arms.expected_sales[place], arms.interval[place]


def probability_of(price: int, arms: ArmProbabilities, list_price_minor: int, shares: ExperimentShares) -> float:
    """P(the slot shows this price), whichever arm decides: what off-policy weights divide by.

    Exact while shares and probabilities are whole UNITS: their products have 32 bits.
    """
    learned = sum(
        each for value, each in zip(arms.prices_minor, arms.probabilities, strict=True) if value == price
    )  # fmt: skip
    return (
        shares.bandit * learned
        + shares.list_price * (price == list_price_minor)
        + shares.rules * (price == _rule_price(arms))
    )
