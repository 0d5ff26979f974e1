"""What offers teach: River's Beta posterior of each price, and Thompson sampling of revenue over them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from zlib import crc32

import numpy as np
import scipy.special
from numpy.typing import NDArray
from river import bandit, proba

from ibook.ids import frame, message_id
from ibook.messages import ArmProbabilities, EventListed, PricePolicy, TicketType
from ibook.pricing import PRIOR_OFFERS, PRIOR_SALE_SHARE, PricingRules, arm_prices, in_force, slot_of, slot_start

PROBABILITY_FLOOR = 0.02
"""Every allowed arm keeps being tried, so that its propensity never makes a weight explode."""
UNITS = 1 << 16
"""Probabilities are multiples of 1/UNITS: exact in a float, so they sum to exactly 1."""
THOMPSON_DRAWS = 4096

TileSums = Mapping[int, tuple[int, int]]
"""Tile start in seconds since the epoch -> offers, sales."""
PriceSums = Mapping[int, TileSums]
"""Price in minor units -> its tiles."""


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
    alpha, beta = float(before.alpha), float(before.beta)
    now = as_of.timestamp()
    for start, (offers, sales) in sorted(tiles.items()):
        weight = 0.5 ** (max(0.0, now - start) / half_life_seconds)
        alpha += weight * sales
        beta += weight * (offers - sales)
    return _beta(alpha, beta)


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


def with_floor(shares: NDArray[np.float64], floor: float = PROBABILITY_FLOOR) -> list[float]:
    """Shares that sum to about 1 as probabilities of at least `floor` that sum to exactly 1.

    What the floors leave is shared out in whole UNITS by largest remainder.

    >>> with_floor(np.array([0.0, 1.0]))
    [0.0200042724609375, 0.9799957275390625]
    """
    lowest = int(np.ceil(floor * UNITS))
    free = UNITS - lowest * len(shares)
    quotas = np.asarray(shares, dtype=np.float64) / np.sum(shares) * free
    units = np.floor(quotas).astype(np.int64)
    remainders = np.argsort(units - quotas, kind="stable")
    units[remainders[: free - int(units.sum())]] += 1
    return [(lowest + int(one)) / UNITS for one in units]


def arm_probabilities(ticket: TicketType, sums: PriceSums, *, as_of: datetime, rules: PricingRules,
                      seed: int) -> ArmProbabilities:  # fmt: skip
    """How likely each price of a ticket type is drawn, given what offers came to."""
    prices = arm_prices(ticket, rules.multipliers)
    posteriors = [
        posterior(
            sums.get(price, {}), prior(price, ticket.list_price_minor), as_of=as_of,
            half_life_seconds=rules.half_life_seconds,
        )
        for price in prices
    ]  # fmt: skip
    return ArmProbabilities(
        ticket_type=ticket.name,
        list_price_minor=ticket.list_price_minor,
        prices_minor=prices,
        probabilities=with_floor(RevenueThompson(prices, posteriors, seed).shares()),
        expected_sales=[round(mean(one), 6) for one in posteriors],
        interval=[(round(low, 6), round(high, 6)) for low, high in map(interval95, posteriors)],
    )


def next_policy(listing: EventListed, sums: Mapping[str, PriceSums], last: PricePolicy | None, *, now: datetime,
                rules: PricingRules) -> PricePolicy:  # fmt: skip
    """The policy from the next slot on; it carries on what `last`, the newest one published, says of this slot.

    `sums` are by ticket type. The same arguments give the same policy.
    """
    slot = slot_of(now, rules.slot_seconds)
    version = last.version + 1 if last else 1
    as_of = slot_start(slot + 1, rules.slot_seconds)
    upcoming = [
        arm_probabilities(
            ticket, sums.get(ticket.name, {}), as_of=as_of, rules=rules,
            seed=crc32(frame(listing.event_id, ticket.name, str(version), str(rules.seed))),
        )
        for ticket in listing.ticket_types
    ]  # fmt: skip
    return PricePolicy(
        message_id=message_id("policy", listing.event_id, str(version)),
        occurred_at=now,
        event_id=listing.event_id,
        version=version,
        slot_seconds=rules.slot_seconds,
        first_slot=slot + 1,
        currency=listing.currency,
        current=in_force(last, slot, rules),
        upcoming=upcoming,
    )
