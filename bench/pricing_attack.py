"""Somebody who wants the price to move: offers that are nobody's, mixed into what a policy learns from.

What an attack does to ours is printed beside what it does to plain Thompson sampling that keeps every reward it was
ever told: a refund takes a sale out of ours, and nothing out of that.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from bench.pricing_crowd import AT_LIST, MENU, Crowd
from bench.pricing_play import Offer, Seller, play
from bench.pricing_sellers import Learner

Attack = Literal["fake quotes", "self-purchases", "refund loops"]
ATTACKS: tuple[Attack, ...] = get_args(Attack)
SHARES = (0.01, 0.05)


class Attacked:
    """A policy under attack: for `share` of the offers one more is made, whenever the price is above list."""

    def __init__(self, seller: Seller, attack: Attack, share: float) -> None:
        self._seller, self._attack, self._share = seller, attack, share
        self._owed = 0.0

    def review(self, at: float, seats_left: int) -> None:
        """As without attack."""
        self._seller.review(at, seats_left)

    def shown(self, ticket: int, slot: int) -> int:
        """As without attack."""
        return self._seller.shown(ticket, slot)

    def learn(self, offer: Offer) -> None:
        """The offer, and perhaps one of the attacker's at the same price."""
        self._seller.learn(offer)
        self._owed += self._share
        if self._owed >= 1.0 and offer.price > AT_LIST:
            self._owed -= 1.0
            self._strike(offer)

    def _strike(self, offer: Offer) -> None:
        bought = 0 if self._attack == "fake quotes" else 1
        fake = Offer(offer.ticket, offer.price, offer.at, bought)
        self._seller.learn(fake)
        if self._attack == "refund loops" and isinstance(self._seller, Learner):
            self._seller.take_back(fake)


def moved(crowd: Crowd, make: Callable[[Crowd], Seller], attack: Attack, share: float) -> float:
    """Mean price shown under attack less that without, as a share of the list price."""
    menu = np.array(MENU)
    calm = play(crowd, make(crowd))
    attacked = play(crowd, Attacked(make(crowd), attack, share))
    return float(menu[attacked.menu].mean() - menu[calm.menu].mean())
