"""How much is still to come, seen from what has come so far, and what a market is like."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import scipy.special

from ibook.bandit import Market, Wanted
from ibook.messages import EventListed
from ibook.pricing import PricingRules
from ibook.pricing_course import Seen, still_to_come
from ibook.pricing_demand import DemandPrior
from ibook.rewards import PACE_BUCKETS, PACE_SECONDS, EventSums

YOUNG_SECONDS = 3600.0
"""For so long what has come is known by tickets sold: offers are counted only when their quotes have lapsed."""
SETTLES_SECONDS = 60.0
"""By then a sale is known to be one."""
STRETCHES = 12
"""Of time, by which the offers of a sale's first half day are counted."""
LATEST_SECONDS = 0.8 * PACE_BUCKETS * PACE_SECONDS
"""Of an older sale, the offers of so long are set against all before."""
RUSH = 2.0
"""Tickets wanted per seat that the prices of the opening are made for. Whoever comes in a sale's first minutes nearly
always comes in a rush, since to a quiet sale next to nobody does: so those prices are the ones a rush calls for."""


def offers_ahead(sums: EventSums, listing: EventListed, now: datetime, lapse_seconds: float = 0.0) -> float:
    """Offers expected from now until the event begins; 0 when nothing was ever offered. Those that may not have lapsed
    yet play no part."""
    opens, life, age = _times(listing, now)
    until = max(age - lapse_seconds, _watched(sums, listing) + PACE_SECONDS)
    recent = [(start + PACE_SECONDS / 2 - opens, n) for start, n in sums.pace.items()]
    known = [(at, n) for at, n in recent if at <= until]
    total = _offers(sums)
    edges, counts = _counted(known, _watched(sums, listing), until)
    if until - edges[0] > LATEST_SECONDS:
        latest = sum(n for at, n in known if at > until - LATEST_SECONDS)
        before = total - sum(n for at, n in recent if at > until - LATEST_SECONDS)
        edges, counts = [edges[0], until - LATEST_SECONDS, until], [max(0.0, before), latest]
    sold = (1.0 + sums.sales) / (2.0 + max(total, sums.sales))
    seen = Seen(edges=edges, counts=counts, tickets=sum(counts) * sold * tickets_per_sale(sums), life=life)
    return sum(counts) * still_to_come(seen, age=age, capacity=listing.capacity)


def tickets_wanted(sums: EventSums, listing: EventListed, now: datetime, prior: DemandPrior) -> Wanted | None:
    """Tickets of a type that are wanted from now on at a price, while a sale is young; those of a rush before it."""
    if now < listing.on_sale_at and not sums.began:
        each = RUSH * listing.capacity / len(listing.ticket_types)
        return {ticket.name: {ticket.list_price_minor: each} for ticket in listing.ticket_types}
    _, life, age = _times(listing, now)
    watched = _watched(sums, listing)
    if age - watched > YOUNG_SECONDS:
        return None
    edges, counts = _counted(_at_list_price(sums, listing, prior), watched, max(age - SETTLES_SECONDS, watched + 60.0))
    each = tickets_per_sale(sums)
    seen = Seen(edges=edges, counts=counts, tickets=sum(counts) * each, life=life)
    ahead = each * still_to_come(seen, age=age, capacity=listing.capacity)
    return {
        name: {price: ahead * sum(sales for _, sales in cells.values()) for price, cells in prices.items()}
        for name, prices in sums.young.items()
    }


def _at_list_price(sums: EventSums, listing: EventListed, prior: DemandPrior) -> list[tuple[float, float]]:
    """Age and number of the sales of the last hour: those there would have been at list price."""
    opens, level, slope = listing.on_sale_at.timestamp(), prior.mean[0], prior.mean[1]
    at_list = {ticket.name: ticket.list_price_minor for ticket in listing.ticket_types}

    def more(name: str, price: int) -> float:
        above = price / at_list.get(name, price) - 1.0
        return float(scipy.special.expit(level) / scipy.special.expit(level + slope * above))

    return [
        (start - opens, sales * more(name, price))
        for name, prices in sums.young.items() for price, cells in prices.items()
        for start, (_, sales) in cells.items()
    ]  # fmt: skip


def _counted(points: Sequence[tuple[float, float]], first: float, last: float) -> tuple[list[float], list[float]]:
    """Equal stretches between two ages, and what lies in each."""
    edges = np.linspace(first, last, STRETCHES + 1)
    ages, weights = np.array(points, dtype=np.float64).reshape(-1, 2).T
    counts, _ = np.histogram(np.clip(ages, first, None), edges, weights=weights)
    return edges.tolist(), np.maximum(counts, 0.0).tolist()


def _times(listing: EventListed, now: datetime) -> tuple[float, float, float]:
    """When sales open, in seconds since the epoch; how long they go on, and since when they do, in seconds."""
    opens, starts = listing.on_sale_at.timestamp(), listing.starts_at.timestamp()
    life = max(1.0, starts - opens)
    return opens, life, min(max(0.0, now.timestamp() - opens), life)


def _watched(sums: EventSums, listing: EventListed) -> float:
    """Age of the sale since which its offers were counted: nobody told us of those before."""
    since = min(sums.began or float("inf"), listing.occurred_at.timestamp())
    return max(0.0, since - listing.on_sale_at.timestamp())


def _offers(sums: EventSums) -> int:
    return sum(offers for of in sums.prices.values() for tiles in of.values() for offers, _ in tiles.values())


def tickets_per_sale(sums: EventSums) -> float:
    """Mean tickets of a sale; two before there was any.

    >>> tickets_per_sale(EventSums())
    2.0
    """
    return (2.0 + sums.tickets) / (1.0 + sums.sales)


def market_of(
    listing: EventListed, sums: EventSums, *, seats_left: int | None, rivals: Mapping[str, int], prior: DemandPrior,
    now: datetime, rules: PricingRules,
) -> Market:  # fmt: skip
    """All that is known around an event; the learner and the bench decide by the same."""
    return Market(
        seats_left=seats_left, offers_ahead=offers_ahead(sums, listing, now, rules.lapse_seconds),
        wanted=tickets_wanted(sums, listing, now, prior), tickets_per_sale=tickets_per_sale(sums), rivals=rivals,
        prior=prior,
    )  # fmt: skip
