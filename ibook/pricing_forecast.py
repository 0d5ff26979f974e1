"""How much is still to come: from the pace of the latest offers and the age of the sale.

Nobody tells the platform how popular an event is. What a sale's past says of its future is Lindy's law: at the present
pace it goes on for a small multiple of its age, and no longer than until the event begins. So an on-sale
that is over within the hour is seen as scarce within minutes, and a quiet month is not taken for a rush.
"""

from collections.abc import Mapping
from datetime import datetime

from ibook.bandit import Market, Wanted
from ibook.messages import EventListed
from ibook.pricing import PricingRules
from ibook.pricing_demand import DemandPrior
from ibook.rewards import PACE_BUCKETS, PACE_SECONDS, EventSums

AGES = 3.0
"""At the present pace a sale goes on for so many times its age. Measured: less sells a rush out too cheaply, more
leaves seats empty."""
SHORTEST_SECONDS = 2 * PACE_SECONDS
LONGEST_SECONDS = PACE_BUCKETS * PACE_SECONDS / 2
"""The pace is that of the last quarter of the sale so far, within these bounds."""
YOUNG_SECONDS = 3600.0
"""So long after the opening the pace is that of tickets sold: offers are counted only when their quotes have lapsed."""
RUSH = 2.0
"""Tickets wanted per seat that the prices of the opening are made for. Whoever comes in a sale's first minutes nearly
always comes in a rush, since to a quiet sale next to nobody does: so those prices are the ones a rush calls for."""


def offers_ahead(sums: EventSums, listing: EventListed, now: datetime, lapse_seconds: float = 0.0) -> float:
    """Offers expected from now until the event begins; 0 when nothing was ever offered. Those that may not have lapsed
    yet play no part."""
    age, left = _age_and_left(sums, listing, now)
    end = now.timestamp() - lapse_seconds
    window = min(max(age / 4, SHORTEST_SECONDS), LONGEST_SECONDS)
    recent = sum(n for start, n in sums.pace.items() if end - window < start + PACE_SECONDS <= end + PACE_SECONDS / 2)
    covered = min(window, max(age, PACE_SECONDS))
    return recent / covered * min(left, AGES * max(age, SHORTEST_SECONDS))


def tickets_wanted(sums: EventSums, listing: EventListed, now: datetime) -> Wanted | None:
    """Tickets of a type that are wanted from now on at a price, while a sale is young; those of a rush before it."""
    if now < listing.on_sale_at and not sums.began:
        each = RUSH * listing.capacity / len(listing.ticket_types)
        return {ticket.name: {ticket.list_price_minor: each} for ticket in listing.ticket_types}
    age, left = _age_and_left(sums, listing, now)
    if age > YOUNG_SECONDS:
        return None
    window = min(max(age, PACE_SECONDS), SHORTEST_SECONDS)
    ahead = tickets_per_sale(sums) * min(left, AGES * max(age, SHORTEST_SECONDS)) / window
    return {
        name: {
            price: ahead * sum(sales for start, (_, sales) in cells.items() if start > now.timestamp() - window)
            for price, cells in prices.items()
        }
        for name, prices in sums.young.items()
    }


def _age_and_left(sums: EventSums, listing: EventListed, now: datetime) -> tuple[float, float]:
    """Of the sale, in seconds."""
    at, opens = now.timestamp(), listing.on_sale_at.timestamp()
    begun = max(sums.began, opens) if sums.began else max(at, opens)
    return max(0.0, at - begun), max(0.0, listing.starts_at.timestamp() - at)


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
        wanted=tickets_wanted(sums, listing, now), tickets_per_sale=tickets_per_sale(sums), rivals=rivals,
        prior=prior,
    )  # fmt: skip
