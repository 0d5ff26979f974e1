"""Business: what the prices that were shown earn, against list prices, the best fixed prices, and an oracle.

All are judged by the hidden demand of the visitors who came, not by who happened to buy. How sure that is comes from
paired redraws: the same visitors, each with the same luck, are shown the price of every policy.
"""

from collections import defaultdict
from collections.abc import Sequence

from msgspec import Struct

from simulator.record import Minor, RunRecord
from simulator.revenue import at_the_cap, best_price
from simulator.validators.measure import Estimate, Meaning, Measure, Share, known, not_taken, share
from simulator.validators.redraws import POLICIES, Redraws, mean_of, redraw

MEASURES = {
    "business.over_list": Meaning("change", "expected revenue at the prices shown over that at list prices, less 1"),
    "business.of_best_fixed": Meaning("share", "expected revenue as a share of that at the best fixed prices"),
    "business.of_oracle": Meaning("share", "expected revenue as a share of an oracle's, who knows each day's demand"),
    "business.sell_through": Meaning("share", "share of the seats there were that were sold"),
    "business.quoted": Meaning("share", "share of the prices shown that came with a quote"),
}


class TicketPrice(Struct, frozen=True, kw_only=True):
    """A ticket type's prices, in minor units."""

    event: str
    """Name of the event."""
    ticket_type: str
    visitors: int
    list_price_minor: Minor
    floor_minor: Minor
    cap_minor: Minor
    mean_shown_minor: float
    best_minor: Minor
    """The best fixed price, seats no limit."""


class Business(Struct, frozen=True, kw_only=True):
    """What the shop earned and could have earned. Expectations in minor units, over the visitors who came."""

    shown: int
    """Prices shown."""
    quoted: Share
    moved: Share
    """Prices shown that are not the list price; none while no policy is in force."""
    sales: int
    """Settled purchases, less refunded ones."""
    tickets: int
    revenue_minor: Minor
    """What they brought in."""
    redraws: int
    """Paired redraws the estimates are means of; 0 when demand is not known."""
    revenue: dict[str, Estimate]
    """Per policy: `list`, `shown`, `best_fixed`, `oracle`."""
    over_list: Estimate | None
    """Shown over list, less 1."""
    of_best_fixed: Estimate | None
    of_oracle: Estimate | None
    oracle_is_best_fixed: bool
    """Whether nothing was shown on two days: the oracle reprices daily, and is no better than the best fixed prices."""
    sell_through: Share
    events: int
    """Events somebody looked at …"""
    events_with_best_price_at_cap: int
    """… and those whose best price is the highest allowed: there, a price that only rises looks clever."""
    prices: tuple[TicketPrice, ...]


def figures(record: RunRecord) -> Business:
    """Sales as they were, and expectations by the hidden demand."""
    shown = sum(price.shown for price in record.prices)
    before = sum(event.remaining_before for event in record.events)
    after = sum(event.remaining_after for event in record.events)
    drawn = redraw(record)
    cap = at_the_cap(record.markets)
    return Business(
        shown=shown, quoted=share(shown - min(shown, record.unquoted), shown), moved=share(_moved(record), shown),
        sales=sum(price.bought for price in record.prices), tickets=sum(price.tickets for price in record.prices),
        revenue_minor=sum(price.price_minor * price.tickets for price in record.prices),
        redraws=0 if drawn is None else drawn.n,
        revenue={} if drawn is None else {name: mean_of(drawn.revenue[name]) for name in POLICIES},
        over_list=_ratio(drawn, "list", less=1.0), of_best_fixed=_ratio(drawn, "best_fixed"),
        of_oracle=_ratio(drawn, "oracle"), oracle_is_best_fixed=_within_a_day(record),
        sell_through=share(max(0, before - after), before),
        events=cap.events, events_with_best_price_at_cap=cap.events_at_cap, prices=_prices(record),
    )  # fmt: skip


def measures(record: RunRecord, found: Business) -> tuple[Measure, ...]:
    """What thresholds may bound."""
    return (*_against(record, found), *_sold(record, found))


def paired(runs: Sequence[Business]) -> Estimate | None:
    """Revenue over list, less 1, over several runs; None with fewer than two that know it.

    Each run pairs its own visitors with themselves at list prices; this interval also holds the luck of learning,
    which one run has only once.
    """
    import numpy as np

    known_runs = [run.over_list.value for run in runs if run.over_list is not None]
    return mean_of(np.array(known_runs)) if len(known_runs) > 1 else None


def _against(record: RunRecord, found: Business) -> tuple[Measure, ...]:
    names = ("business.over_list", "business.of_best_fixed", "business.of_oracle")
    if found.shown and not found.quoted.count:
        return not_taken(names, "Everything was offered at list price: no quote was asked for, or none could be had.")
    if found.shown and not found.moved.count:
        return not_taken(names, "Every quote was at list price: no price policy was in force yet.")
    if found.over_list is None or found.of_best_fixed is None or found.of_oracle is None:
        return not_taken(names, "The demand behind the prices was not noted, or nobody was shown a price.")
    over, fixed, oracle = found.over_list, found.of_best_fixed, found.of_oracle
    return (
        known(names[0], over.value, found.shown,
              f"The prices shown earn {over.value:+.1%} over list prices ({over.low:+.1%} to {over.high:+.1%})."),
        known(names[1], fixed.value, found.shown,
              f"They earn {fixed.value:.1%} of the best fixed prices ({fixed.low:.1%} to {fixed.high:.1%})."),
        known(names[2], oracle.value, found.shown,
              "An oracle's prices are the best fixed ones: the same within one day." if found.oracle_is_best_fixed else
              f"They earn {oracle.value:.1%} of an oracle's prices ({oracle.low:.1%} to {oracle.high:.1%})."),
    )  # fmt: skip


def _sold(record: RunRecord, found: Business) -> tuple[Measure, ...]:
    if found.sell_through.value is None or found.quoted.value is None:
        return not_taken(("business.sell_through", "business.quoted"), "There was nothing on sale, or nobody looked.")
    quoted = (
        known("business.quoted", found.quoted.value, found.shown, f"{found.quoted} prices came with a quote.")
        if record.decided_by == "platform" else
        not_taken(("business.quoted",), "No platform was asked for quotes.")[0]
    )  # fmt: skip
    seats = f"{found.sell_through} seats were sold."
    return known("business.sell_through", found.sell_through.value, found.sell_through.of, seats), quoted


def _ratio(drawn: Redraws | None, policy: str, *, less: float = 0.0) -> Estimate | None:
    if drawn is None or not drawn.revenue[policy].all():
        return None
    return mean_of(drawn.revenue["shown"] / drawn.revenue[policy] - less)


def _within_a_day(record: RunRecord) -> bool:
    """Whether every ticket type was looked at on one day at most."""
    types = [(market.event_id, market.ticket_type) for market in record.markets]
    return len(types) == len(set(types))


def _moved(record: RunRecord) -> int:
    """How often a price was shown that is not its ticket type's list price."""
    at_list = {(event.event_id, ticket.name): ticket.list_price_minor for event in record.events
               for ticket in event.tickets}  # fmt: skip
    return sum(
        price.shown for price in record.prices if price.price_minor != at_list.get((price.event_id, price.ticket_type))
    )


def _prices(record: RunRecord) -> tuple[TicketPrice, ...]:
    """Ticket types by how many looked at them, most first."""
    names = {event.event_id: event.name for event in record.events}
    markets = defaultdict(list)
    for market in record.markets:
        markets[market.event_id, market.ticket_type].append(market)
    shown: defaultdict[tuple[str, str], list[tuple[Minor, int]]] = defaultdict(list)
    for price in record.prices:
        shown[price.event_id, price.ticket_type].append((price.price_minor, price.shown))
    rows = [
        TicketPrice(
            event=names.get(event_id, event_id), ticket_type=ticket_type,
            visitors=sum(market.visitors for market in group), list_price_minor=group[0].list_price_minor,
            floor_minor=group[0].floor_minor, cap_minor=group[0].cap_minor,
            mean_shown_minor=_mean(shown[event_id, ticket_type]), best_minor=best_price(group),
        )
        for (event_id, ticket_type), group in markets.items() if shown[event_id, ticket_type]
    ]  # fmt: skip
    return tuple(sorted(rows, key=lambda row: (-row.visitors, row.event, row.ticket_type)))


def _mean(prices: Sequence[tuple[Minor, int]]) -> float:
    return sum(price * n for price, n in prices) / max(1, sum(n for _, n in prices))
