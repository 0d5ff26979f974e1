"""What prices would have earned: expectations over the visitors that came, by demand that only the simulation knows.

A `Market` is one ticket type on one day with everybody who was shown its price. The best fixed price knows all of a
run's visitors and keeps one price per ticket type; the oracle may change it every day. All revenues are expectations in
minor units, so that luck is no part of a comparison.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct

from simulator.demand import Demand

STEP_MINOR = 50
"""Prices on a grid are this far apart; floor, list price and cap are always on it."""


class Look(Struct, frozen=True):
    """Visitors of one segment who were shown a price, and the tickets they wanted together."""

    demand: Demand
    visitors: int
    tickets: int


class Market(Struct, frozen=True, kw_only=True):
    """One ticket type on one day."""

    event_id: str
    ticket_type: str
    day: int
    """Days since the epoch, UTC."""
    list_price_minor: int
    floor_minor: int
    cap_minor: int
    looks: tuple[Look, ...]

    @property
    def visitors(self) -> int:
        """How many were shown a price."""
        return sum(look.visitors for look in self.looks)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtTheCap:
    """For how many the best price is the highest allowed one: there, a price that only rises looks clever."""

    ticket_types: int
    ticket_types_at_cap: int
    events: int
    events_at_cap: int
    """Events whose most looked-at ticket type is at its cap."""


def price_grid(market: Market, step_minor: int = STEP_MINOR) -> tuple[int, ...]:
    """The prices from floor to cap, ends and list price included.

    >>> price_grid(Market(event_id="e", ticket_type="t", day=0, list_price_minor=210, floor_minor=126, cap_minor=336,
    ...                   looks=()))
    (126, 176, 210, 226, 276, 326, 336)
    """
    steps = range(market.floor_minor, market.cap_minor, step_minor)
    return tuple(sorted({*steps, market.list_price_minor, market.cap_minor}))


def sale_probability(markets: Iterable[Market], price_minor: float) -> float:
    """Share of the visitors who would buy at this price; 0 without visitors."""
    looks = [look for market in markets for look in market.looks]
    visitors = sum(look.visitors for look in looks)
    return sum(look.visitors * look.demand.probability(price_minor) for look in looks) / visitors if visitors else 0.0


def expected_tickets(markets: Iterable[Market], price_minor: float) -> float:
    """Tickets sold on average, were this the price, and seats no limit."""
    return sum(look.tickets * look.demand.probability(price_minor) for market in markets for look in market.looks)


def expected_revenue(markets: Iterable[Market], price_minor: float) -> float:
    """Revenue on average, were this the price, and seats no limit."""
    return price_minor * expected_tickets(markets, price_minor)


def best_price(markets: Sequence[Market], *, seat_worth_minor: float = 0.0) -> int:
    """The one price on the grid that earns most in markets of the same ticket type; the lower one in a tie.

    `seat_worth_minor` is what a seat would bring elsewhere: it is lost with every sale. Raises
    ValueError without markets.
    """
    if not markets:
        raise ValueError("no market to price")

    def gain(price_minor: int) -> float:
        return (price_minor - seat_worth_minor) * expected_tickets(markets, price_minor)

    return max(price_grid(markets[0]), key=gain)


def revenue_at_list(markets: Iterable[Market], seats: Mapping[str, int] | None = None) -> float:
    """Revenue on average at list prices; see `best_fixed` for `seats`."""
    return sum(
        _sold(groups, [group[0].list_price_minor for group in groups], left)
        for groups, left in _events(markets, seats, by_day=False)
    )


def best_fixed(markets: Iterable[Market], seats: Mapping[str, int] | None = None) -> float:
    """Revenue on average at the best price per ticket type, fixed for the whole run and known only in hindsight.

    `seats` limits the tickets each event can sell: where they are short, prices are as high as needed to sell just
    them, and what a price still sells too much earns nothing.
    """
    return sum(_best(groups, left) for groups, left in _events(markets, seats, by_day=False))


def oracle(markets: Iterable[Market], seats: Mapping[str, int] | None = None) -> float:
    """Revenue on average of somebody who knows each day's demand, and prices every ticket type anew every day."""
    return sum(_best(groups, left) for groups, left in _events(markets, seats, by_day=True))


def best_fixed_prices(markets: Iterable[Market], seats: Mapping[str, int] | None = None) -> dict[Market, int]:
    """The price of each market under `best_fixed`."""
    return _prices(markets, seats, by_day=False)


def oracle_prices(markets: Iterable[Market], seats: Mapping[str, int] | None = None) -> dict[Market, int]:
    """The price of each market under `oracle`."""
    return _prices(markets, seats, by_day=True)


def at_the_cap(markets: Iterable[Market]) -> AtTheCap:
    """How many ticket types and events have their best fixed price at the cap."""
    best: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for groups, _ in _events(markets, None, by_day=False):
        for group in groups:
            visitors = sum(market.visitors for market in group)
            best[group[0].event_id].append((visitors, best_price(group) == group[0].cap_minor))
    return AtTheCap(
        ticket_types=sum(map(len, best.values())),
        ticket_types_at_cap=sum(at_cap for types in best.values() for _, at_cap in types),
        events=len(best), events_at_cap=sum(max(types)[1] for types in best.values()),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- details
Groups = list[list[Market]]
"""Markets that share a price, of one event."""


def _events(
    markets: Iterable[Market], seats: Mapping[str, int] | None, *, by_day: bool
) -> Iterable[tuple[Groups, float]]:
    groups: dict[str, dict[tuple[str, int], list[Market]]] = defaultdict(lambda: defaultdict(list))
    for market in markets:
        groups[market.event_id][market.ticket_type, market.day if by_day else 0].append(market)
    for event_id, of_event in groups.items():
        yield list(of_event.values()), float("inf") if seats is None else seats[event_id]


def _prices(markets: Iterable[Market], seats: Mapping[str, int] | None, *, by_day: bool) -> dict[Market, int]:
    return {
        market: price
        for groups, left in _events(markets, seats, by_day=by_day)
        for group, price in zip(groups, _best_prices(groups, left), strict=True)
        for market in group
    }


def _best(groups: Groups, seats: float) -> float:
    return _sold(groups, _best_prices(groups, seats), seats)


def _best_prices(groups: Groups, seats: float) -> list[int]:
    """The best prices: those of the lowest worth of a seat at which no more are sold than there are."""
    low, high = 0.0, float(max(market.cap_minor for group in groups for market in group))
    prices = [best_price(group) for group in groups]
    if _tickets(groups, prices) > seats:
        for _ in range(30):
            worth = (low + high) / 2
            prices = [best_price(group, seat_worth_minor=worth) for group in groups]
            low, high = (worth, high) if _tickets(groups, prices) > seats else (low, worth)
        prices = [best_price(group, seat_worth_minor=high) for group in groups]
    return prices


def _tickets(groups: Groups, prices: list[int]) -> float:
    return sum(expected_tickets(group, price) for group, price in zip(groups, prices, strict=True))


def _sold(groups: Groups, prices: list[int], seats: float) -> float:
    """Revenue at these prices; where seats are short everybody is as likely to get one."""
    tickets = _tickets(groups, prices)
    revenue = sum(expected_revenue(group, price) for group, price in zip(groups, prices, strict=True))
    return revenue * min(1.0, seats / tickets) if tickets else 0.0
