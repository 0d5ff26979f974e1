"""How many offers are still to come: from the pace of the latest ones and the age of the sale.

Nobody tells the platform how popular an event is. What a sale's past says of its future is Lindy's law: at the present
pace it goes on for a small multiple of its age, and no longer than until the event begins. So an on-sale
that is over within the hour is seen as scarce within minutes, and a quiet month is not taken for a rush.
"""

from collections.abc import Mapping
from datetime import datetime

from ibook.bandit import Market
from ibook.clock import to_us
from ibook.messages import EventListed
from ibook.pricing_demand import DemandPrior
from ibook.rewards import PACE_BUCKETS, PACE_SECONDS, EventSums

AGES = 2.0
"""At the present pace a sale goes on for so many times its age; measured, and flat between 1 and 3."""
SHORTEST_SECONDS = 2 * PACE_SECONDS
LONGEST_SECONDS = PACE_BUCKETS * PACE_SECONDS
"""The pace is that of the last quarter of the sale so far, within these bounds."""


def offers_ahead(sums: EventSums, listing: EventListed, now: datetime) -> float:
    """Offers expected from now until the event begins; 0 when nothing was ever offered."""
    at = to_us(now) // 1_000_000
    begun = max(sums.began, to_us(listing.on_sale_at) // 1_000_000) if sums.began else at
    age, left = max(0, at - begun), max(0, to_us(listing.starts_at) // 1_000_000 - at)
    window = min(max(age / 4, SHORTEST_SECONDS), LONGEST_SECONDS)
    recent = sum(offers for start, offers in sums.pace.items() if start + PACE_SECONDS > at - window)
    covered = min(window, max(age, PACE_SECONDS))
    return recent / covered * min(left, AGES * max(age, SHORTEST_SECONDS))


def tickets_per_sale(sums: EventSums) -> float:
    """Mean tickets of a sale; two before there was any.

    >>> tickets_per_sale(EventSums())
    2.0
    """
    return (2.0 + sums.tickets) / (1.0 + sums.sales)


def market_of(
    listing: EventListed, sums: EventSums, *, seats_left: int | None, rivals: Mapping[str, int], prior: DemandPrior,
    now: datetime,
) -> Market:  # fmt: skip
    """All that is known around an event; the learner and the bench decide by the same."""
    return Market(
        seats_left=seats_left, offers_ahead=offers_ahead(sums, listing, now),
        tickets_per_sale=tickets_per_sale(sums), rivals=rivals, prior=prior,
    )  # fmt: skip
