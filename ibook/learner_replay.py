"""The learner with other settings, led through a log: before each slot it decides by what had been settled by then.

What it would have shown depends on the past alone, so weighing the log by it is honest although it learns from the
same log. It learns from what was sold at the prices that were shown, not at those it would have shown.
"""

import dataclasses
import heapq
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from ibook.bandit import next_policy
from ibook.candidates import LearnerPrices, Prices, Situation
from ibook.clock import to_us
from ibook.errors import ConfigurationError
from ibook.messages import PricePolicy, PriceReward
from ibook.pricing import PricingRules
from ibook.pricing_demand import DemandPrior
from ibook.pricing_forecast import market_of
from ibook.rewards import EventSums, fold
from ibook.slot_book import Outcome

MOST_POLICIES = 5000
"""Each takes about ten milliseconds."""


def prices_as_learned(
    situations: Sequence[Situation], outcomes: Sequence[Outcome], candidate: LearnerPrices, rules: PricingRules,
    grace: timedelta,
) -> list[Prices]:  # fmt: skip
    """What the learner would have shown in each situation. Raises ConfigurationError for a log that is too long."""
    rules = dataclasses.replace(
        rules, half_life_seconds=candidate.half_life_seconds or rules.half_life_seconds,
        max_step=candidate.max_step or rules.max_step,
        multipliers=tuple(candidate.multiples) if candidate.multiples else rules.multipliers,
    )  # fmt: skip
    if len({(each.decision.event_id, each.decision.slot) for each in situations}) > MOST_POLICIES:
        raise ConfigurationError(f"The learner is led through {MOST_POLICIES:,} slots at most: choose a later --since.")
    shown: list[Prices] = [{} for _ in situations]
    for event_id in {each.decision.event_id for each in situations}:
        places = [place for place, each in enumerate(situations) if each.decision.event_id == event_id]
        places.sort(key=lambda place: situations[place].decision.occurred_at)
        for place, prices in _of_event(places, situations, outcomes, rules, grace):
            shown[place] = prices
    return shown


def _of_event(
    places: Sequence[int], situations: Sequence[Situation], outcomes: Sequence[Outcome], rules: PricingRules,
    grace: timedelta,
) -> Iterator[tuple[int, Prices]]:  # fmt: skip
    sums, open_slots = EventSums(), list[tuple[datetime, int]]()
    policy: PricePolicy | None = None
    slot: int | None = None
    for place in places:
        situation = situations[place]
        now = situation.decision.occurred_at
        while open_slots and open_slots[0][0] <= now:
            _, settled = heapq.heappop(open_slots)
            fold(sums, _reward(situations[settled], outcomes[settled], settled), rules.half_life_seconds)
        if policy is None or slot != situation.decision.slot:
            policy, slot = _next(situation, sums, policy, now, rules), situation.decision.slot
        yield place, _prices(situation, policy)
        heapq.heappush(open_slots, (situation.decision.expires_at + grace, place))


def _next(
    situation: Situation, sums: EventSums, last: PricePolicy | None, now: datetime, rules: PricingRules
) -> PricePolicy:
    market = market_of(
        situation.listing,
        sums,
        seats_left=situation.decision.seats_left,
        rivals={},
        prior=DemandPrior(),
        now=now,
        rules=rules,
    )
    return next_policy(situation.listing, sums.prices, last, now=now, rules=rules, market=market)


def _prices(situation: Situation, policy: PricePolicy) -> Prices:
    arms = next((each for each in policy.upcoming if each.ticket_type == situation.ticket.name), None)
    if arms is None or arms.list_price_minor != situation.ticket.list_price_minor:
        return {situation.ticket.list_price_minor: 1.0}
    return {price: each for price, each in zip(arms.prices_minor, arms.probabilities, strict=True) if each > 0.0}


def _reward(situation: Situation, outcome: Outcome, place: int) -> PriceReward:
    """All rewards of a slot as one."""
    decision = situation.decision
    return PriceReward(
        message_id=decision.message_id, occurred_at=decision.occurred_at, event_id=decision.event_id,
        quote_id=decision.quote_id, ticket_type=decision.ticket_type, arm=decision.arm,
        price_minor=decision.price_minor, slot=decision.slot, offered_at=decision.occurred_at, offers=outcome.offers,
        sales=outcome.sales, revenue_minor=outcome.revenue_minor, source_partition=place,
        sequence=to_us(decision.occurred_at),
    )  # fmt: skip
