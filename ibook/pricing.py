"""Prices: evidence -> posterior per price -> how likely each price is drawn -> the one price of a slot.

The learner computes probabilities off the request path (`ibook.bandit`); serving only draws (`choose_price`).
An arm is a price: a multiple of the list price within floor and cap. Arms that clipping makes equal are one.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from msgspec import structs

from ibook.clock import from_us, to_us
from ibook.ids import frame
from ibook.messages import ArmProbabilities, EventListed, ExperimentShares, PricePolicy, TicketType
from ibook.pricing_guards import is_opening
from ibook.settings import PRICE_MULTIPLIERS, Settings

LIST_PRICE_ARM = -1
RULE_ARM = -2
Source = Literal["policy", "list_price", "rules", "frozen"]
PRIOR_OFFERS = 10.0
PRIOR_SALE_SHARE = 0.1
"""Assumed P(sale | offer) at the list price before any evidence, worth PRIOR_OFFERS offers."""
PRIOR_INTERVAL = (1.0 - 0.975 ** (1 / 9), 1.0 - 0.025 ** (1 / 9))
"""95 % interval of that prior, Beta(1, 9), whose quantiles need no SciPy."""


@dataclass(frozen=True, kw_only=True)
class PricingRules:
    """The settings that prices depend on. Durations are in seconds."""

    slot_seconds: float = 300.0
    multipliers: tuple[float, ...] = PRICE_MULTIPLIERS
    half_life_seconds: float = 30 * 86_400.0
    max_step: float = 0.3
    """How far a price may lie from its hour's anchor, as a share of the list price; see `ibook.pricing_guards`."""
    opening_step: float = 0.6
    """The same until a sale is an hour old: then the anchor is the list price."""
    lapse_seconds: float = 960.0
    """After so long an offer that did not sell is known to be one: a slot, the life of its quote and the grace."""
    max_age_seconds: float = 3600.0
    seed: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "PricingRules":
        """The rules that the settings name."""
        return cls(
            slot_seconds=settings.slot_seconds, multipliers=settings.price_multipliers,
            half_life_seconds=settings.price_half_life_seconds, max_step=settings.price_max_step,
            opening_step=settings.price_opening_step, max_age_seconds=settings.policy_max_age_seconds,
            lapse_seconds=settings.slot_seconds + settings.quote_ttl_seconds + settings.quote_grace_seconds,
            seed=settings.seed,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PriceChoice:
    """The price of a slot, and how it came about."""

    arm: int
    """Index into the policy's prices; LIST_PRICE_ARM or RULE_ARM when no policy could be used."""
    price_minor: int
    propensity: float
    """P(this price) under the policy that drew it."""
    policy_version: int
    source: Source
    expected_sales: float
    """Mean of the posterior P(sale | offer)."""
    interval: tuple[float, float]
    """95 % interval of the same."""
    why: str
    """A sentence for the shop's staff."""
    decided_by: str = ""
    """Arm of the experiment (`ibook.experiments`); empty when the experiment had no say."""
    experiment: int = 0
    """Version of its shares."""
    shares: ExperimentShares | None = None
    total_propensity: float | None = None
    """P(this price) under experiment and policy together; None: `propensity` is all there is."""


# ------------------------------------------------------------------------------------------------------------- slots
def slot_of(moment: datetime, slot_seconds: float) -> int:
    """Number of the slot `[start, end)` that a moment falls into, since the epoch.

    >>> from datetime import UTC
    >>> slot_of(datetime(1970, 1, 1, 0, 10, tzinfo=UTC), 300.0)
    2
    """
    return to_us(moment) // round(slot_seconds * 1e6)


def slot_start(slot: int, slot_seconds: float) -> datetime:
    """When a slot begins."""
    return from_us(slot * round(slot_seconds * 1e6))


# -------------------------------------------------------------------------------------------------- arms
def arm_prices(ticket: TicketType, multipliers: Sequence[float]) -> list[int]:
    """The prices that may be drawn, ascending, each once.

    >>> ticket = TicketType(name="stalls", list_price_minor=1000, floor_minor=850, cap_minor=1100)
    >>> arm_prices(ticket, (0.8, 0.85, 1.0, 1.1, 1.25))
    [850, 1000, 1100]
    """
    prices = (round(ticket.list_price_minor * multiplier) for multiplier in multipliers)
    return sorted({min(max(price, ticket.lowest_minor), ticket.highest_minor) for price in prices})


# ---------------------------------------------------------------------------------------------------------- policies
def in_force(policy: PricePolicy | None, slot: int, rules: PricingRules) -> list[ArmProbabilities]:
    """What a policy says of a slot; empty when there is none, or it is too old, or counts other slots."""
    if policy is None or policy.slot_seconds != rules.slot_seconds:
        return []
    # Judged at the slot's start: a price does not change because a policy ages in the middle of a slot.
    if slot_start(slot, rules.slot_seconds) - policy.occurred_at > timedelta(seconds=rules.max_age_seconds):
        return []
    return policy.upcoming if slot >= policy.first_slot else policy.current


def postponed(policy: PricePolicy, last: PricePolicy | None, slot: int, rules: PricingRules) -> PricePolicy:
    """The policy as it may be published in a slot: from the next one on, and until then what `last` says.

    Deciding can take longer than was thought; a price must not change in the middle of its slot all the same.
    """
    if slot < policy.first_slot:
        return policy
    return structs.replace(policy, first_slot=slot + 1, current=in_force(last, slot, rules))


def is_due_again(listing: EventListed, decided_at: datetime, *, now: datetime, rules: PricingRules) -> bool:
    """Whether an event needs another policy although nothing was heard of it since its last one.

    Not once it has begun: it is priced no more.
    """
    if now >= listing.starts_at:
        return False
    if listing.on_sale_at <= now and is_opening(listing, now):  # time alone tells a quiet opening from a rush
        return slot_of(now, rules.slot_seconds) > slot_of(decided_at, rules.slot_seconds)
    return (now - decided_at).total_seconds() > rules.max_age_seconds / 4


# ---------------------------------------------------------------------------------------------------------- the draw
def slot_draw(secret: bytes, event_id: str, ticket_type: str, slot: int) -> float:
    """A number in [0, 1) that every replica draws for this slot, and nobody without the secret foresees."""
    digest = hmac.digest(secret, frame("ibook price v1", event_id, ticket_type, str(slot)), "sha256")
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def draw_arm(probabilities: Sequence[float], uniform: float) -> int:
    """The arm whose stretch of the cumulated probabilities holds `uniform`.

    >>> [draw_arm([0.25, 0.5, 0.25], uniform) for uniform in (0.0, 0.25, 0.74, 0.75)]
    [0, 1, 1, 2]
    """
    total = 0.0
    for arm, probability in enumerate(probabilities):
        total += probability
        if uniform < total:
            return arm
    return len(probabilities) - 1


def choose_price(policy: PricePolicy | None, event_id: str, ticket: TicketType, *, slot: int, secret: bytes,
                 rules: PricingRules) -> PriceChoice:  # fmt: skip
    """The slot's price of a ticket type: the same for every buyer, in every replica.

    The list price when no policy can be used: none known, too old, or made for other bounds than the listing's.
    """
    arms = arms_for(policy, ticket, slot, rules)
    if policy is None or arms is None:
        return list_price(ticket)
    return drawn(arms, policy, event_id, slot=slot, secret=secret)


def drawn(arms: ArmProbabilities, policy: PricePolicy, event_id: str, *, slot: int, secret: bytes) -> PriceChoice:
    """The price that a slot draws from the arms of its ticket type."""
    arm = draw_arm(arms.probabilities, slot_draw(secret, event_id, arms.ticket_type, slot))
    return PriceChoice(
        arm=arm, price_minor=arms.prices_minor[arm], propensity=arms.probabilities[arm],
        policy_version=policy.version, source="policy", expected_sales=arms.expected_sales[arm],
        interval=arms.interval[arm], why=arms.why or "Learned from what sells.",
    )  # fmt: skip


def arms_for(policy: PricePolicy | None, ticket: TicketType, slot: int, rules: PricingRules) -> ArmProbabilities | None:
    """What a policy says of a ticket type in a slot; None when it says nothing, or was made for another listing."""
    arms = next((one for one in in_force(policy, slot, rules) if one.ticket_type == ticket.name), None)
    return arms if arms is not None and _fits(arms, ticket) else None


def list_price(ticket: TicketType) -> PriceChoice:
    """The list price, and what is believed of it without evidence."""
    return PriceChoice(
        arm=LIST_PRICE_ARM, price_minor=ticket.list_price_minor, propensity=1.0, policy_version=0,
        source="list_price", expected_sales=PRIOR_SALE_SHARE, interval=PRIOR_INTERVAL,
        why="List price: nothing that was learned fits the listing yet.",
    )  # fmt: skip


def _fits(arms: ArmProbabilities, ticket: TicketType) -> bool:
    same_list_price = arms.list_price_minor == ticket.list_price_minor
    return same_list_price and all(ticket.lowest_minor <= one <= ticket.highest_minor for one in arms.prices_minor)
