"""The price decision: draws from the posterior of demand, the programme on each, then the guards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zlib import crc32

import numpy as np
import scipy.special
from numpy.typing import NDArray
from river import bandit, proba

from ibook.ids import frame, message_id
from ibook.messages import ArmProbabilities, EventListed, PricePolicy, TicketType
from ibook.pricing import PRIOR_OFFERS, PRIOR_SALE_SHARE, PricingRules, arm_prices, in_force, slot_of, slot_start
from ibook.pricing_boldness import boldness, gained_by_trying
from ibook.pricing_by_rule import with_rule_price
from ibook.pricing_change import Explained, draws_of, explained, likely, mixed
from ibook.pricing_demand import CurveFit, DemandPrior, PriceSums, TileSums, beta_of, decayed
from ibook.pricing_guards import (
    PROBABILITY_FLOOR,
    Anchor,
    allowed,
    guarded,
    hour_of,
    is_opening,
    next_anchor,
    opening_anchor,
)
from ibook.pricing_programme import solve, to_probabilities

THOMPSON_DRAWS = 4096
PROGRAMME_DRAWS = 192
WORTH_TRYING = 0.1
"""A price that less of the posterior's own draws choose is not tried."""


def prior(price_minor: int, list_price_minor: int) -> proba.Beta:
    """What is believed of a price that was never shown.

    Demand of unit elasticity, which studies of sports tickets cannot reject (Hakes et al.): every price is expected
    to earn the same, so no arm starts ahead.
    """
    share = min(0.9, PRIOR_SALE_SHARE * list_price_minor / price_minor)
    return _beta(PRIOR_OFFERS * share, PRIOR_OFFERS * (1.0 - share))


def posterior(tiles: TileSums, before: proba.Beta, *, as_of: datetime, half_life_seconds: float) -> proba.Beta:
    """River's Beta posterior of P(sale | offer): the prior and every tile's sums, halved per half-life of age.

    Built from its parameters because `proba.Beta.update` takes no weights.
    """
    offers, sales = decayed(tiles, as_of=as_of, half_life_seconds=half_life_seconds)
    return _beta(float(before.alpha) + sales, float(before.beta) + offers - sales)


def mean(of: proba.Beta) -> float:
    """Expected P(sale | offer).

    >>> mean(proba.Beta(1, 3))
    0.25
    """
    return float(of.alpha / (of.alpha + of.beta))


def interval95(of: proba.Beta) -> tuple[float, float]:
    """Central 95 % interval of P(sale | offer).

    >>> low, high = interval95(proba.Beta(2, 2))
    >>> round(low, 3), round(high, 3)
    (0.094, 0.906)
    """
    low, high = scipy.special.betaincinv(of.alpha, of.beta, (0.025, 0.975))
    return float(low), float(high)


def _beta(alpha: float, beta: float) -> proba.Beta:
    return proba.Beta(alpha, beta)  # River says int; its formulas take any positive number


class RevenueThompson(bandit.ThompsonSampling):  # type: ignore[misc]  # River's classes are Any to mypy
    """River's Thompson sampling over given posteriors, where an arm is worth its price times P(sale | offer)."""

    def __init__(self, prices: Sequence[int], posteriors: Sequence[proba.Beta], seed: int) -> None:
        super().__init__(reward_obj=proba.Beta(), seed=seed)
        self.prices = prices
        self.posteriors = posteriors

    def _pull(self, arm_ids: Sequence[int]) -> int:
        return max(arm_ids, key=lambda arm: self.prices[arm] * self.posteriors[arm].sample())

    def shares(self, n_draws: int = THOMPSON_DRAWS) -> NDArray[np.float64]:
        """How often each arm would be pulled, shape ``(n_arms,)``: `n_draws` pulls at once."""
        alphas = np.array([one.alpha for one in self.posteriors], dtype=np.float64)
        betas = np.array([one.beta for one in self.posteriors], dtype=np.float64)
        draws = np.random.default_rng(self.seed).beta(alphas, betas, size=(n_draws, len(alphas)))
        winners = np.argmax(draws * np.asarray(self.prices, dtype=np.float64), axis=1)
        return np.bincount(winners, minlength=len(alphas)) / n_draws


Wanted = Mapping[str, Mapping[int, float]]
"""Ticket type -> price in minor units -> tickets."""


@dataclass(frozen=True, kw_only=True)
class Market:
    """What is known around an event when its prices are decided."""

    seats_left: int | None = None
    """None when nobody said: then seats are no limit."""
    offers_ahead: float = 0.0
    """Offers expected until the event begins."""
    tickets_per_sale: float = 1.0
    rivals: Mapping[str, int] = field(default_factory=dict)
    """Ticket type -> what the cheapest competitor asks, in minor units."""
    prior: DemandPrior = field(default_factory=DemandPrior)
    """What events of its category and promoter were like."""

    wanted: Wanted | None = None
    """Tickets wanted until then at the prices of late, where that is known instead."""

    @property
    def offers_to_learn_for(self) -> float:
        """Offers that may repay what is tried out now. None in a sale's first hour: much of a rush is over before
        anybody knows which of its offers have lapsed."""
        return 0.0 if self.wanted is not None else self.offers_ahead

    @property
    def seats_per_offer(self) -> float:
        """Sales that an offer may lead to on average, for the seats to last; infinite when they are no limit."""
        tickets = self.offers_ahead * self.tickets_per_sale
        return float("inf") if self.seats_left is None or tickets <= 0 else self.seats_left / tickets


NO_MARKET = Market()


@dataclass(frozen=True)
class Belief:
    """What is believed of one ticket type: its allowed prices, and draws of P(sale | offer) for all its prices."""

    ticket: TicketType
    prices: list[int]
    anchor: Anchor
    within: NDArray[np.bool_]
    draws: NDArray[np.float64]
    """Shape ``(n_draws, n_prices)``."""
    offers: float
    """Decayed offers it rests on."""
    curve: CurveFit


def believe(ticket: TicketType, ways: Sequence[Explained], weights: NDArray[np.float64], *, anchor: Anchor,
            step: float, rules: PricingRules, seed: int) -> Belief:  # fmt: skip
    """The posterior of a ticket type's prices: draws of each explanation of its offers by how likely it is."""
    prices = arm_prices(ticket, rules.multipliers)
    draws = draws_of(ways, weights, len(prices), np.random.default_rng(seed), PROGRAMME_DRAWS)
    within = allowed(prices, ticket, anchor, step)
    offers = float(ways[0].counts.offers.sum())
    return Belief(ticket, prices, anchor, within, draws, offers, mixed(ways, weights))


def decide(beliefs: Sequence[Belief], market: Market) -> list[ArmProbabilities]:
    """How likely each price of each ticket type is drawn: the programme over all of them, then the guards.

    The types share the event's seats; each has the share of offers it had so far.
    """
    offers = np.array([belief.offers + 1.0 for belief in beliefs])
    weights = offers / offers.sum()
    repaid = market.offers_to_learn_for
    rows = [_bold_and_full(one, weight * repaid) for one, weight in zip(beliefs, weights, strict=True)]
    shares = solve(
        [np.asarray(belief.prices, dtype=np.float64)[belief.within] for belief in beliefs],
        [draws[:, belief.within] for draws, belief in zip(rows, beliefs, strict=True)], weights,
        _seats_per_offer(beliefs, rows, market),
    )  # fmt: skip
    return [_published(belief, share, market) for belief, share in zip(beliefs, shares, strict=True)]


def _seats_per_offer(beliefs: Sequence[Belief], rows: Sequence[NDArray[np.float64]],
                     market: Market) -> float | NDArray[np.float64]:  # fmt: skip
    """As the market says; or, where it knows tickets wanted at some prices, per draw: by the offers those come from."""
    if market.wanted is None or market.seats_left is None:
        return market.seats_per_offer
    offered = np.zeros(2 * PROGRAMME_DRAWS)
    for belief, draws in zip(beliefs, rows, strict=True):
        for price, tickets in market.wanted.get(belief.ticket.name, {}).items():
            offered += tickets / draws[:, np.argmin(np.abs(np.array(belief.prices) - price))]
    return np.asarray(market.seats_left / np.maximum(offered, 1e-9), dtype=np.float64)


def _bold_and_full(belief: Belief, offers_ahead: float) -> NDArray[np.float64]:
    """Draws to decide by, drawn in towards their mean as far as trying out is not repaid; and after them the
    posterior's own: what hardly any of those would choose is not tried."""
    draws = belief.draws
    gained = gained_by_trying(
        np.array(belief.prices)[belief.within] / belief.ticket.list_price_minor, draws[:, belief.within],
        slope_variance=float(belief.curve.covariance[1, 1]), offers_ahead=offers_ahead,
    )  # fmt: skip
    average = draws.mean(axis=0)
    return np.concatenate([average + boldness(gained) * (draws - average), draws])


def _published(belief: Belief, solved: NDArray[np.float64], market: Market) -> ArmProbabilities:
    """`solved` is the programme's answer to each row of `_bold_and_full`."""
    shares = to_probabilities(solved[:PROGRAMME_DRAWS])
    worth_trying = belief.within.copy()
    worth_trying[belief.within] = (shares >= PROBABILITY_FLOOR) | (
        to_probabilities(solved[PROGRAMME_DRAWS:]) >= WORTH_TRYING
    )
    spread = np.zeros(len(belief.prices))
    spread[belief.within] = shares
    alpha, beta = beta_of(belief.draws)
    low, high = scipy.special.betaincinv(alpha, beta, np.array([0.025, 0.975])[:, None])
    return ArmProbabilities(
        ticket_type=belief.ticket.name,
        list_price_minor=belief.ticket.list_price_minor,
        prices_minor=belief.prices,
        probabilities=guarded(spread, worth_trying),
        expected_sales=[round(float(one), 6) for one in alpha / (alpha + beta)],
        interval=[(round(float(one), 6), round(float(other), 6)) for one, other in zip(low, high, strict=True)],
        anchor_minor=belief.anchor.price_minor,
        anchor_hour=belief.anchor.hour,
        why=explain(belief, shares, market),
    )


def explain(belief: Belief, shares: NDArray[np.float64], market: Market) -> str:
    """A sentence for the shop's staff."""
    prices = np.asarray(belief.prices, dtype=np.float64)[belief.within]
    change = float(prices @ shares) / belief.ticket.list_price_minor - 1.0
    level = "about list price" if abs(change) < 0.01 else f"{abs(change):.0%} {'above' if change > 0 else 'below'} list"
    chance = float(belief.draws[:, belief.within].mean(axis=0) @ shares)
    wanted = market.offers_ahead * market.tickets_per_sale * chance
    if market.wanted is not None:
        wanted = sum(sum(tickets.values()) for tickets in market.wanted.values())
    seats = (
        f"; {market.seats_left} seats are left for about {wanted:.0f} buyers' tickets"
        if market.seats_left is not None and wanted >= 1.0
        else ""
    )
    return f"On average {level}, learned from {belief.offers:.0f} recent offers{seats}."


@dataclass(frozen=True)
class Decision:
    """A policy, and what was learned of the demand curves of those ticket types that had offers."""

    policy: PricePolicy
    curves: list[CurveFit]


def next_policy(listing: EventListed, sums: Mapping[str, PriceSums], last: PricePolicy | None, *, now: datetime,
                rules: PricingRules, market: Market = NO_MARKET) -> PricePolicy:  # fmt: skip
    """The policy of `next_decision`."""
    return next_decision(listing, sums, last, now=now, rules=rules, market=market).policy


def next_decision(listing: EventListed, sums: Mapping[str, PriceSums], last: PricePolicy | None, *, now: datetime,
                  rules: PricingRules, market: Market = NO_MARKET) -> Decision:  # fmt: skip
    """The policy from the next slot on; it carries on what `last`, the newest one published, says of this slot.

    `sums` are by ticket type. The same arguments give the same policy.
    """
    slot = slot_of(now, rules.slot_seconds)
    version = last.version + 1 if last else 1
    before = {one.ticket_type: one for one in last.upcoming} if last else {}
    start, hour = slot_start(slot + 1, rules.slot_seconds), hour_of(slot + 1, rules.slot_seconds)
    opening = is_opening(listing, start)
    every = explained(listing, sums, as_of=start, rules=rules, rivals=market.rivals, prior=market.prior)
    weights = likely(every)
    beliefs = [
        believe(
            ticket, ways, weights, rules=rules,
            anchor=opening_anchor(ticket, hour) if opening else next_anchor(ticket, before.get(ticket.name), hour),
            step=rules.opening_step if opening else rules.max_step,
            seed=crc32(frame(listing.event_id, ticket.name, str(version), str(rules.seed))),
        )
        for ticket, ways in zip(listing.ticket_types, every, strict=True)
    ]  # fmt: skip
    policy = PricePolicy(
        message_id=message_id("policy", listing.event_id, str(version)),
        occurred_at=now,
        event_id=listing.event_id,
        version=version,
        slot_seconds=rules.slot_seconds,
        first_slot=slot + 1,
        currency=listing.currency,
        current=in_force(last, slot, rules),
        upcoming=[
            with_rule_price(each, listing, seats_left=market.seats_left, now=slot_start(slot + 1, rules.slot_seconds))
            for each in decide(beliefs, market)
        ],
    )
    return Decision(policy, [belief.curve for belief in beliefs if belief.offers > 0.0])
