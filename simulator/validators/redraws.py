"""The same visitors again, under the prices of several policies: revenues that differ by nothing but the prices."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.record import Minor, RunRecord
from simulator.revenue import Look, Market, best_fixed_prices, oracle_prices
from simulator.validators.measure import Estimate

POLICIES = ("list", "shown", "best_fixed", "oracle")
N_REDRAWS = 20
Floats = NDArray[np.float64]
Offers = dict[tuple[str, str], list[tuple[Minor, int]]]
"""Prices shown and how often, per event and ticket type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redraws:
    """Revenue in minor units per policy, one value for each redraw."""

    n: int
    revenue: dict[str, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crowd:
    """One entry per visitor: what each pays and how likely each buys under a policy, and how many seats that takes."""

    event: NDArray[np.int64]
    tickets: Floats
    price: dict[str, Floats]
    probability: dict[str, Floats]


def redraw(record: RunRecord, *, n: int = N_REDRAWS) -> Redraws | None:
    """Let the visitors of a run decide anew `n` times, each with one luck for all policies; None without visitors.

    Visitors of a ticket type are shown its prices in the proportions in which they were shown in the run, which is
    fair where a price does not depend on who looks. No event sells more seats than it had; where they are short,
    everybody is as likely to get one.
    """
    offers = _offers(record)
    markets = [market for market in record.markets if offers.get((market.event_id, market.ticket_type))]
    events = sorted({market.event_id for market in markets})
    if not any(market.visitors for market in markets):
        return None
    seats = {event.event_id: event.remaining_before for event in record.events}
    left = {event_id: seats.get(event_id, 10**9) for event_id in events}
    limits = np.array([left[event_id] for event_id in events], dtype=np.float64)
    prices = {"best_fixed": best_fixed_prices(markets, left), "oracle": oracle_prices(markets, left)}
    revenue: dict[str, Floats] = {name: np.zeros(n) for name in POLICIES}
    for number in range(n):
        rng = np.random.default_rng([record.seed % 2**32, number])
        crowd = _crowd(markets, events, offers, prices, rng)
        luck = rng.random(crowd.event.size)
        for name in POLICIES:
            revenue[name][number] = _revenue(crowd, name, luck, limits)
    return Redraws(n=n, revenue=revenue)


def mean_of(values: Floats) -> Estimate:
    """The mean with its 95 % interval by Student's t; the mean itself at both ends of a single value."""
    from scipy.stats import t

    mean = float(values.mean())
    if values.size < 2:
        return Estimate(value=mean, low=mean, high=mean)
    half = float(t.ppf(0.975, values.size - 1)) * float(values.std(ddof=1)) / values.size**0.5
    return Estimate(value=mean, low=mean - half, high=mean + half)


def _offers(record: RunRecord) -> Offers:
    offers: defaultdict[tuple[str, str], list[tuple[Minor, int]]] = defaultdict(list)
    for price in record.prices:
        if price.shown:
            offers[price.event_id, price.ticket_type].append((price.price_minor, price.shown))
    return dict(offers)


def _crowd(
    markets: Sequence[Market], events: Sequence[str], offers: Offers, prices: Mapping[str, Mapping[Market, Minor]],
    rng: np.random.Generator,
) -> _Crowd:  # fmt: skip
    number = {event_id: index for index, event_id in enumerate(events)}
    event, tickets = [], []
    price: dict[str, list[Floats]] = {name: [] for name in POLICIES}
    probability: dict[str, list[Floats]] = {name: [] for name in POLICIES}
    for market in markets:
        fixed = {"list": market.list_price_minor, **{name: of[market] for name, of in prices.items()}}
        for look in (look for look in market.looks if look.visitors):
            event.append(np.full(look.visitors, number[market.event_id]))
            tickets.append(np.full(look.visitors, look.tickets / look.visitors))
            for name, shown in fixed.items():
                price[name].append(np.full(look.visitors, float(shown)))
                probability[name].append(np.full(look.visitors, look.demand.probability(shown)))
            shown_prices, chances = _shown(look, offers[market.event_id, market.ticket_type], rng)
            price["shown"].append(shown_prices)
            probability["shown"].append(chances)
    return _Crowd(
        event=np.concatenate(event), tickets=np.concatenate(tickets),
        price={name: np.concatenate(parts) for name, parts in price.items()},
        probability={name: np.concatenate(parts) for name, parts in probability.items()},
    )  # fmt: skip


def _shown(look: Look, offers: Sequence[tuple[Minor, int]], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A price for each visitor, out of those shown, and how likely each buys at it."""
    prices = np.array([price for price, _ in offers], dtype=np.float64)
    weights = np.array([shown for _, shown in offers], dtype=np.float64)
    drawn = rng.choice(prices.size, size=look.visitors, p=weights / weights.sum())
    chances = np.array([look.demand.probability(price) for price, _ in offers])
    return prices[drawn], chances[drawn]


def _revenue(crowd: _Crowd, policy: str, luck: Floats, seats: Floats) -> float:
    bought = (luck < crowd.probability[policy]) * crowd.tickets
    sold = np.bincount(crowd.event, bought, seats.size)
    earned = np.bincount(crowd.event, bought * crowd.price[policy], seats.size)
    return float((earned * np.minimum(1.0, seats / np.maximum(sold, 1e-9))).sum())
