"""How much is still to come, seen from what has come so far, and what a market is like."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import scipy.special

from ibook.bandit import Market, Wanted
from ibook.messages import EventListed
from ibook.pricing import PricingRules
from ibook.pricing_course import Seen, still_to_come
from ibook.pricing_demand import DemandPrior, TileSums
from ibook.pricing_young import WIDTH_SECONDS
from ibook.rewards import DAY_SECONDS, PACE_BUCKETS, PACE_SECONDS, EventSums

YOUNG_SECONDS = 3600.0
"""For so long what has come is known by tickets sold: offers are counted only when their quotes have lapsed."""
SETTLES_SECONDS = 60.0
"""By then a sale is known to be one."""
SHORTEST_SECONDS = 60.0
"""A sale is looked at as if it had been watched for so long at least."""
MOST_ABOVE = 2.0
"""Of the list price: how far above it a sale is taken to have been."""
STRETCHES = 12
"""Of time, by which the offers of a sale's first half day are counted."""
LATEST_SECONDS = 0.8 * PACE_BUCKETS * PACE_SECONDS
"""An older sale is looked at by its days, and by its latest hours, of this length."""
MOST_STRETCHES = 24
"""So many groups of days at most."""
RUSH = 2.0
"""Tickets wanted per seat that the prices of the opening are made for. Whoever comes in a sale's first minutes nearly
always comes in a rush, since to a quiet sale next to nobody does: so those prices are the ones a rush calls for."""


def offers_ahead(sums: EventSums, listing: EventListed, now: datetime, lapse_seconds: float = 0.0,
                 seats_left: int | None = None) -> float:  # fmt: skip
    """Offers expected from now until the event begins; 0 when nothing was ever offered or sold. Those that may not have
    lapsed yet play no part."""
    opens, life, age = _times(listing, now)
    watched = _watched(sums, listing)
    until = max(age - lapse_seconds, watched + PACE_SECONDS)
    recent = [(start + PACE_SECONDS / 2 - opens, n) for start, n in sums.pace.items()]
    if until - watched > LATEST_SECONDS:
        edges, counts = _by_days(sums, recent, opens, watched, until)
    else:
        edges, counts = _counted(recent, watched, until)
    sold = (1.0 + max(0, sums.sales)) / (2.0 + max(0, sums.offers, sums.sales))
    each = sold * tickets_per_sale(sums)
    edges, counts = _with_unseen(edges, counts, _unseen(sums, listing, seats_left) / each)
    seen = Seen(edges=edges, counts=counts, tickets=sum(counts) * each, life=life)
    return sum(counts) * still_to_come(seen, age=age, capacity=listing.capacity)


def tickets_wanted(sums: EventSums, listing: EventListed, now: datetime, prior: DemandPrior,
                   seats_left: int | None = None) -> Wanted | None:  # fmt: skip
    """Tickets of a type that are wanted from now on at a price, while a sale is young; those of a rush before it,
    whoever may have asked by then."""
    if now < listing.on_sale_at:
        of_type = RUSH * listing.capacity / len(listing.ticket_types)
        return {ticket.name: {ticket.list_price_minor: of_type} for ticket in listing.ticket_types}
    opens, life, age = _times(listing, now)
    watched = _watched(sums, listing)
    if age - watched > YOUNG_SECONDS:
        return None
    until = max(age - SETTLES_SECONDS, watched + SHORTEST_SECONDS)
    edges, counts = _counted(_at_list_price(sums, listing, prior), watched, until)
    each = tickets_per_sale(sums)
    unseen = _unseen(sums, listing, seats_left) / each
    edges, counts = _with_unseen(edges, counts, unseen)
    seen = Seen(edges=edges, counts=counts, tickets=sum(counts) * each, life=life)
    ahead = each * still_to_come(seen, age=age, capacity=listing.capacity)
    wanted = {
        name: {price: ahead * _sold(cells, opens, opens + until) for price, cells in prices.items()}
        for name, prices in sums.young.items()
    }
    for ticket in listing.ticket_types if unseen else ():
        of = wanted.setdefault(ticket.name, {})
        usual = ticket.list_price_minor
        of[usual] = of.get(usual, 0.0) + ahead * unseen / len(listing.ticket_types)
    return wanted


def _unseen(sums: EventSums, listing: EventListed, seats_left: int | None) -> float:
    """Tickets sold before anybody told us of the sale, at list price for all we know; by the seats that are gone."""
    if seats_left is None or not _watched(sums, listing):
        return 0.0
    return float(max(0, listing.capacity - seats_left - max(0, sums.tickets)))


def _with_unseen(edges: list[float], counts: list[float], unseen: float) -> tuple[list[float], list[float]]:
    """With the stretch before it was watched: a pace of minutes says little beside what weeks came to."""
    return ([0.0, *edges], [unseen, *counts]) if unseen else (edges, counts)


def _sold(cells: TileSums, since: float, until: float) -> int:
    """Sales between two instants, in seconds since the epoch; none where more was taken back."""
    return max(0, sum(sales for start, (_, sales) in cells.items() if since <= _middle(start) <= until))


def _at_list_price(sums: EventSums, listing: EventListed, prior: DemandPrior) -> list[tuple[float, float]]:
    """Age and number of the sales of the last hour: those there would have been at list price."""
    opens, level, slope = listing.on_sale_at.timestamp(), prior.mean[0], prior.mean[1]
    at_list = {ticket.name: ticket.list_price_minor for ticket in listing.ticket_types}

    def more(name: str, price: int) -> float:
        # A list price that was corrected makes prices of before absurd multiples of it.
        above = min(MOST_ABOVE, price / at_list.get(name, price) - 1.0)
        return float(scipy.special.expit(level) / scipy.special.expit(level + slope * above))

    return [
        (_middle(start) - opens, sales * more(name, price))
        for name, prices in sums.young.items() for price, cells in prices.items()
        for start, (_, sales) in cells.items()
    ]  # fmt: skip


def _by_days(sums: EventSums, recent: Sequence[tuple[float, float]], opens: float, first: float,
             last: float) -> tuple[list[float], list[float]]:  # fmt: skip
    """The days of an older sale, several together where there are many, and its latest hours; and what lies in each.

    Latest hours are not divided: they'd show day and night.
    """
    since = last - LATEST_SECONDS
    days = [age for day in sums.days if first < (age := day * DAY_SECONDS - opens) < since]
    edges = [first, *sorted(days)[:: 1 + len(days) // MOST_STRETCHES], since, last]
    later = [sum(n for at, n in recent if at > edge) for edge in edges[-2:]]
    by_day = sorted((day * DAY_SECONDS - opens, n) for day, n in sums.days.items())
    so_far = [0.0, *(float(sum(n for age, n in by_day if age < edge)) for edge in edges[1:-2])]
    so_far += [float(sums.offers - n) for n in later]
    return edges, np.maximum(np.diff(so_far), 0.0).tolist()


def _middle(start: int) -> float:
    return start + WIDTH_SECONDS / 2


def _counted(points: Sequence[tuple[float, float]], first: float, last: float) -> tuple[list[float], list[float]]:
    """Equal stretches between two ages, and what lies in each; what came before sales opened tells nothing of them."""
    edges = np.linspace(first, last, STRETCHES + 1)
    ages, weights = np.array([point for point in points if point[0] >= 0.0], dtype=np.float64).reshape(-1, 2).T
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


def tickets_per_sale(sums: EventSums) -> float:
    """Mean tickets of a sale; two before there was any.

    >>> tickets_per_sale(EventSums())
    2.0
    """
    return (2.0 + max(0, sums.tickets)) / (1.0 + max(0, sums.sales))


def market_of(
    listing: EventListed, sums: EventSums, *, seats_left: int | None, rivals: Mapping[str, int], prior: DemandPrior,
    now: datetime, rules: PricingRules,
) -> Market:  # fmt: skip
    """All that is known around an event; the learner and the bench decide by the same."""
    return Market(
        seats_left=seats_left, offers_ahead=offers_ahead(sums, listing, now, rules.lapse_seconds, seats_left),
        wanted=tickets_wanted(sums, listing, now, prior, seats_left), tickets_per_sale=tickets_per_sale(sums),
        rivals=rivals, prior=prior,
    )  # fmt: skip
