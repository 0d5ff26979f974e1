"""The same visitors again, under the prices of several policies: revenues that differ by nothing but the prices."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.record import Minor, RunRecord
from simulator.revenue import Market, best_fixed_prices, oracle_prices
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
class _Visitors:
    """The visitors of one market, one entry each; prices and probabilities of what was shown are one row per look."""

    event: int
    tickets: Floats
    fixed: dict[str, tuple[Minor, Floats]]
    """Price and probability of buying under each policy of one price."""
    look: NDArray[np.int64]
    shown: Floats
    weights: Floats
    """How often each of the prices shown was shown, as a share."""
    chances: Floats
    """Probability of buying, of shape (looks, prices shown)."""


def redraw(record: RunRecord, *, n: int = N_REDRAWS) -> Redraws | None:
    """Let the visitors of a run decide anew `n` times, each with one luck for all policies; None without visitors.

    Visitors of a ticket type are shown its prices in the proportions in which they were shown in the run, which is
    fair where a price does not depend on who looks. No event sells more seats than it had; where they are short,
    everybody is as likely to get one.
    """
    offers = _offers(record)
    markets = [
        market for market in record.markets
        if market.visitors and offers.get((market.event_id, market.ticket_type))
    ]  # fmt: skip
    events = sorted({market.event_id for market in markets})
    if not markets:
        return None
    seats = {event.event_id: event.remaining_before for event in record.events}
    left = {event_id: seats.get(event_id, 10**9) for event_id in events}
    limits = np.array([left[event_id] for event_id in events], dtype=np.float64)
    prices = {"best_fixed": best_fixed_prices(markets, left), "oracle": oracle_prices(markets, left)}
    crowd = [_visitors(market, events, offers, prices) for market in markets]
    revenue: dict[str, Floats] = {name: np.zeros(n) for name in POLICIES}
    for number in range(n):
        rng = np.random.default_rng([record.seed % 2**32, number])
        for name, earned in _redraw_once(crowd, rng, limits).items():
            revenue[name][number] = earned
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


def _visitors(
    market: Market, events: Sequence[str], offers: Offers, prices: Mapping[str, Mapping[Market, Minor]]
) -> _Visitors:
    looks = [look for look in market.looks if look.visitors]
    counts = [look.visitors for look in looks]

    def chances(price: float) -> Floats:
        return np.array([look.demand.probability(price) for look in looks])

    policies = {"list": market.list_price_minor, **{name: of[market] for name, of in prices.items()}}
    offered = offers[market.event_id, market.ticket_type]
    times = np.array([shown for _, shown in offered], dtype=np.float64)
    return _Visitors(
        event=events.index(market.event_id),
        tickets=np.repeat([look.tickets / look.visitors for look in looks], counts),
        fixed={name: (price, np.repeat(chances(price), counts)) for name, price in policies.items()},
        look=np.repeat(np.arange(len(looks)), counts),
        shown=np.array([price for price, _ in offered], dtype=np.float64),
        weights=times / times.sum(), chances=np.column_stack([chances(price) for price, _ in offered]),
    )  # fmt: skip


def _redraw_once(crowd: Sequence[_Visitors], rng: np.random.Generator, seats: Floats) -> dict[str, float]:
    sold = {name: np.zeros(seats.size) for name in POLICIES}
    earned = {name: np.zeros(seats.size) for name in POLICIES}
    for group in crowd:
        luck = rng.random(group.tickets.size)
        for name, (price, probability) in group.fixed.items():
            tickets = float(((luck < probability) * group.tickets).sum())
            sold[name][group.event] += tickets
            earned[name][group.event] += tickets * price
        drawn = rng.choice(group.shown.size, size=group.tickets.size, p=group.weights)
        bought = (luck < group.chances[group.look, drawn]) * group.tickets
        sold["shown"][group.event] += bought.sum()
        earned["shown"][group.event] += (bought * group.shown[drawn]).sum()
    return {
        name: float((earned[name] * np.minimum(1.0, seats / np.maximum(sold[name], 1e-9))).sum()) for name in POLICIES
    }
