"""The platform's own price log as decisions to evaluate a candidate on."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from msgspec.structs import replace

from ibook.candidates import Candidate, Columns, LearnerPrices, Prices, Situation
from ibook.errors import ConfigurationError
from ibook.learner_replay import prices_as_learned
from ibook.messages import ArmProbabilities, EventListed, PricePolicy, QuoteIssued, TicketType
from ibook.off_policy import Decisions, Floats
from ibook.pricing import PricingRules
from ibook.pricing_by_rule import elapsed_share
from ibook.reward_model import columns_of, predictions
from ibook.slot_book import SlotRecord

MODEL_ARMS = (0.0, 0.75, 0.85, 0.95, 1.05, 1.175, 1.325, 1.5)
"""Lower ends of the ranges of multiples that the reward model takes for one arm."""

RULES = PricingRules()
"""The settings' defaults."""


@dataclass
class PriceLog:
    """Slots whose price was drawn, each with what is known of it; and why others are left out."""

    situations: list[Situation] = field(default_factory=list)
    records: list[SlotRecord] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> offers."""


def price_log(
    records: Iterable[SlotRecord], listings: Mapping[str, EventListed], policies: Mapping[str, PricePolicy]
) -> PriceLog:
    """Settled slots with at least one offer."""
    log = PriceLog()
    for record in records:
        if record.outcome.offers <= 0:
            continue
        why = _left_out(record.decision, listings)
        if why:
            log.left_out[why] += record.outcome.offers
            continue
        listing = listings[record.decision.event_id]
        ticket = next(each for each in listing.ticket_types if each.name == record.decision.ticket_type)
        arms = _newest(policies.get(listing.event_id), ticket)
        log.situations.append(Situation(record.decision, listing, _as_then(ticket, record.decision), arms))
        log.records.append(record)
    return log


def _left_out(decision: QuoteIssued, listings: Mapping[str, EventListed]) -> str:
    listing = listings.get(decision.event_id)
    if not propensity_of(decision):
        return "were made by order, by rule or without a policy, where nothing was drawn"
    if not decision.list_price_minor:
        return "were journalled without their list price"
    if listing is None or all(each.name != decision.ticket_type for each in listing.ticket_types):
        return "are of events or ticket types that are not listed any more"
    return ""


def propensity_of(decision: QuoteIssued) -> float:
    """The chance that this price was shown; 0 when nothing was drawn."""
    if decision.total_propensity is not None:
        return decision.total_propensity
    return decision.propensity if decision.arm >= 0 else 0.0


def _as_then(ticket: TicketType, decision: QuoteIssued) -> TicketType:
    """The ticket type with the list price it had; floor and cap are today's, which its prices kept as far as known."""
    then = decision.list_price_minor or ticket.list_price_minor
    floor, cap = min(ticket.floor_minor, then), max(ticket.cap_minor, then)
    return replace(ticket, list_price_minor=then, floor_minor=floor, cap_minor=cap, published_low_minor=None,
                   published_high_minor=None)  # fmt: skip


def _newest(policy: PricePolicy | None, ticket: TicketType) -> ArmProbabilities | None:
    arms = policy.upcoming if policy else []
    fitting = (each for each in arms if each.list_price_minor == ticket.list_price_minor)
    return next((each for each in fitting if each.ticket_type == ticket.name), None)


def decisions_of(
    log: PriceLog, candidate: Candidate, rules: PricingRules = RULES, grace: timedelta = timedelta(0)
) -> Decisions:
    """The log's slots, weighed for a candidate; revenue in multiples of the list price. Raises ConfigurationError.

    `rules` and `grace` are those of the platform, for a candidate that learns.
    """
    shown = _shown(log, candidate, rules, grace)
    decisions, outcomes = [record.decision for record in log.records], [record.outcome for record in log.records]
    weights = [
        each.get(made.price_minor, 0.0) / propensity_of(made) for each, made in zip(shown, decisions, strict=True)
    ]
    reward = [
        each.revenue_minor / situation.ticket.list_price_minor
        for each, situation in zip(outcomes, log.situations, strict=True)
    ]
    n, clusters = _array([each.offers for each in outcomes]), _clusters(decisions)
    arms = np.array(
        [_model_arm(one.price_minor, situation) for one, situation in zip(decisions, log.situations, strict=True)]
    )
    model = predictions(_context(log), arms, _array(reward), n, clusters, len(MODEL_ARMS))
    return Decisions(
        weights=_array(weights), reward=_array(reward), n=n, clusters=clusters,
        model=model[np.arange(len(arms)), arms],
        baseline=_array([_expected(each, row, s) for each, row, s in zip(shown, model, log.situations, strict=True)]),
    )  # fmt: skip


def _shown(log: PriceLog, candidate: Candidate, rules: PricingRules, grace: timedelta) -> Sequence[Prices]:
    match candidate:
        case Columns():
            raise ConfigurationError("A candidate of kind `columns` needs a log with those columns: say --log FILE.")
        case LearnerPrices():
            outcomes = [record.outcome for record in log.records]
            return prices_as_learned(log.situations, outcomes, candidate, rules, grace)
        case _:
            return [candidate.prices(situation) for situation in log.situations]


def _expected(prices: Prices, predicted: Floats, situation: Situation) -> float:
    return sum(each * float(predicted[_model_arm(price, situation)]) for price, each in prices.items())


def _model_arm(price: int, situation: Situation) -> int:
    return int(np.searchsorted(MODEL_ARMS, price / situation.ticket.list_price_minor, side="right")) - 1


def _clusters(decisions: Sequence[QuoteIssued]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """A number for each event, ticket type and slot."""
    numbers: dict[tuple[str, str, int], int] = {}
    keys = [(each.event_id, each.ticket_type, each.slot) for each in decisions]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _context(log: PriceLog) -> Floats:
    """What the reward model sees of a slot: seats, time, category, price level; shape ``(n, n_columns)``."""
    situations = log.situations
    sold = [each.sold_share for each in situations]
    return np.column_stack([
        _array([0.0 if each is None else each for each in sold]),
        _array([float(each is None) for each in sold]),
        _array([elapsed_share(each.listing, each.decision.occurred_at) for each in situations]),
        np.log(_array([each.ticket.list_price_minor for each in situations])),
        columns_of(np.array([each.listing.category for each in situations], dtype=object)),
    ])  # fmt: skip


def _array(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)
