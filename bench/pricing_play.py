"""One event sold under one policy: who buys, when the seats are gone, and what the policy is told of it and when."""

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.pricing_crowd import AT_LIST, Crowd, Floats, Ints
from ibook.settings import Settings

SLOT_SECONDS = 300.0
SETTLES_SECONDS = 60.0
"""From a price shown to the payment, where there is one; without one an offer is known to be over when …"""
LAPSES_SECONDS = float(Settings.model_fields["quote_ttl_seconds"].default) + float(
    Settings.model_fields["quote_grace_seconds"].default
)
"""… so long has passed since the end of its slot."""
FEWEST_OFFERS, MORE_OFFERS = 16, 0.06
"""A policy is asked anew after so many offers, or this share of those so far; the platform asks within a second of
each reward."""
LONGEST_SECONDS, MORE_AGE = 900.0, 0.25
"""And after so long, or this share of the sale's age."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What became of a price that was shown. `price` is an index into the menu."""

    ticket: int
    price: int
    at: float
    """Seconds since the epoch."""
    tickets: int
    """Bought; 0 when nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What an event came to."""

    revenue: Floats
    """Per visitor in order, in minor units: 0 for who did not buy or found no seats."""
    menu: Ints
    """The price each was shown; AT_LIST for who found no seats."""
    unsold: int
    sold_out: bool


class Seller(Protocol):
    """A policy that learns while it sells."""

    def review(self, at: float, seats_left: int) -> None:
        """Decide anew. `at` is in seconds since the epoch."""
        ...

    def shown(self, ticket: int, slot: int) -> int:
        """The price of a ticket type in a slot, an index into the menu."""
        ...

    def learn(self, offer: Offer) -> None:
        """Something became of an offer."""
        ...


def play_fixed(crowd: Crowd, menu: Ints) -> Played:
    """Sell at prices known beforehand, an index into the menu per visitor."""
    return _outcome(crowd, menu, crowd.n)


def play(crowd: Crowd, seller: Seller) -> Played:
    """Sell at the prices of somebody who learns."""
    menu = np.full(crowd.n, AT_LIST)
    slots = (crowd.times // SLOT_SECONDS).astype(np.int64)
    waiting: list[tuple[float, int, Offer]] = []
    left, done = crowd.seats, 0
    opened = crowd.event.on_sale_us / 1e6
    reviewed = opened - SLOT_SECONDS
    seller.review(reviewed, left)
    while done < crowd.n and left > 0:
        now = float(crowd.times[done])
        while waiting and waiting[0][0] <= now:
            seller.learn(heappop(waiting)[2])
        for at in _reviews(reviewed, now):
            seller.review(at, left)
        reviewed = now
        until = now + max(LONGEST_SECONDS, MORE_AGE * (now - opened))
        chunk = slice(
            done, min(done + max(FEWEST_OFFERS, int(MORE_OFFERS * done)), int(np.searchsorted(crowd.times, until)))
        )
        menu[chunk] = _shown(crowd, seller, slots, chunk)
        bought = np.where(crowd.buys(chunk, menu[chunk]), crowd.party[chunk], 0)
        served = _served(bought, left)
        for index in range(served):
            offer = _offer(crowd, chunk.start + index, menu, int(bought[index]))
            heappush(waiting, (_known_at(offer, slots[chunk.start + index]), chunk.start + index, offer))
        left -= int(bought[:served].sum())
        done = chunk.start + served
        if served < len(bought):
            break
    return _outcome(crowd, menu, done)


def _reviews(last: float, now: float) -> list[float]:
    """When a policy is asked anew; over hours without an offer it is asked on, so that its prices may step."""
    return [at for at in (now - 7200.0, now - 3600.0) if at > last] + [now]


def _shown(crowd: Crowd, seller: Seller, slots: Ints, chunk: slice) -> Ints:
    pairs = crowd.ticket[chunk] + 1000 * slots[chunk]
    every, where = np.unique(pairs, return_inverse=True)
    return np.array([seller.shown(int(pair % 1000), int(pair // 1000)) for pair in every])[where]


def _offer(crowd: Crowd, index: int, menu: Ints, tickets: int) -> Offer:
    return Offer(int(crowd.ticket[index]), int(menu[index]), float(crowd.times[index]), tickets)


def _known_at(offer: Offer, slot: int) -> float:
    return offer.at + SETTLES_SECONDS if offer.tickets else (slot + 1) * SLOT_SECONDS + LAPSES_SECONDS


def _served(bought: NDArray[np.int64], left: int) -> int:
    """How many come until somebody wants more seats than there are: then the sale is over."""
    gone = np.cumsum(bought) > left
    return int(np.argmax(gone)) if gone.any() else len(bought)


def _outcome(crowd: Crowd, menu: Ints, n: int) -> Played:
    bought = np.where(crowd.buys(slice(0, n), menu[:n]), crowd.party[:n], 0)
    served = _served(bought, crowd.seats)
    revenue = np.zeros(crowd.n)
    revenue[:served] = bought[:served] * crowd.prices[crowd.ticket[:served], menu[:served]]
    unsold = crowd.seats - int(bought[:served].sum())
    return Played(revenue=revenue, menu=menu, unsold=unsold, sold_out=served < crowd.n)


# ------------------------------------------------------------------------------------------ who knows everything
def best_fixed(crowd: Crowd) -> Ints:
    """One price per ticket type, the best for these visitors; known in hindsight only."""
    demand = _demand(crowd, by_day=False)
    return np.asarray(_dearer_if_short(crowd, demand)[0, crowd.ticket])


def oracle(crowd: Crowd) -> Ints:
    """A price per ticket type and day, by somebody who knows each day's demand and who will come."""
    demand = _demand(crowd, by_day=True)
    return np.asarray(_dearer_if_short(crowd, demand)[_group(crowd), crowd.ticket])


def _group(crowd: Crowd) -> Ints:
    return np.asarray(crowd.regime * crowd.chances.shape[1] + crowd.day)


def _demand(crowd: Crowd, *, by_day: bool) -> Floats:
    """Expected tickets, shape ``(n_groups, n_types, n_prices)``; groups are days, or one for all."""
    regimes, days, types, segments, prices = crowd.chances.shape
    wanted = np.zeros((regimes, days, types, segments))
    np.add.at(wanted, (crowd.regime, crowd.day, crowd.ticket, crowd.segment), crowd.party)
    tickets = (wanted[..., None] * crowd.chances).sum(axis=3).reshape(regimes * days, types, prices)
    return np.asarray(tickets if by_day else tickets.sum(axis=0, keepdims=True), dtype=np.float64)


def _dearer_if_short(crowd: Crowd, demand: Floats) -> Ints:
    """The best prices, at the lowest worth of a seat at which no more are sold than there are; per group and type."""

    def at(worth: float) -> Ints:
        return np.asarray(np.argmax((crowd.prices[None] - worth) * demand, axis=2))

    def sold(menu: Ints) -> float:
        return float(np.take_along_axis(demand, menu[..., None], axis=2).sum())

    def earns(menu: Ints) -> float:
        taken = np.take_along_axis(demand, menu[..., None], axis=2)[..., 0]
        revenue = float((np.take_along_axis(crowd.prices[None], menu[..., None], axis=2)[..., 0] * taken).sum())
        return revenue * min(1.0, crowd.seats / max(1.0, float(taken.sum())))

    low, high = 0.0, float(crowd.prices.max())
    if sold(at(0.0)) <= crowd.seats:
        return at(0.0)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if sold(at(middle)) > crowd.seats else (low, middle)
    return max(at(low), at(high), key=earns)


def list_price(crowd: Crowd) -> Ints:
    """List price for all."""
    return np.full(crowd.n, AT_LIST)
