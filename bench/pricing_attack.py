"""Somebody who wants the price to move: offers that are nobody's, mixed into what a policy learns from.

What an attack does to ours is printed beside what it does to the same learner undefended, which counts every reward it
was ever told, and to plain Thompson sampling, which is. Ours leaves out what an identity does too often, by the rewards
worker's caps, and a refund takes its sale out. The attacker has IDENTITIES accounts, is patient, and strikes whenever
the price is above list: few strikes a day and account are below every cap, and count.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from bench.pricing_crowd import AT_LIST, MENU, Crowd, Ints
from bench.pricing_play import SLOT_SECONDS, Offer, Seller, play
from bench.pricing_sellers import Learner
from ibook.identity_caps import CapRules, Counts, IdentityCaps

Attack = Literal["fake quotes", "self-purchases", "refund loops"]
ATTACKS: tuple[Attack, ...] = get_args(Attack)
SHARES = (0.01, 0.05)
IDENTITIES = 3
BOUNDS = {0.01: 0.03, 0.05: 0.1}
"""No attack of such a share may move the mean price further, as a share of the list price."""


class Attacked:
    """A policy under attack: for `share` of the offers one more is made, whenever the price is above list."""

    def __init__(self, seller: Seller, attack: Attack, share: float, *, defended: bool = True) -> None:
        self._seller, self._attack, self._share = seller, attack, share
        self._defended = defended and isinstance(seller, Learner)
        self._owed = 0.0
        self._strikes = 0
        counts: dict[str, Counts] = {}
        self._caps = IdentityCaps(counts, CapRules())

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
        self._strikes += 1
        bought = 0 if self._attack == "fake quotes" else 1
        fake = Offer(offer.ticket, offer.price, offer.at, bought)
        if self._defended and not self._counts(fake):
            return
        self._seller.learn(fake)
        if self._defended and self._attack == "refund loops" and isinstance(self._seller, Learner):
            self._seller.take_back(fake)

    def _counts(self, fake: Offer) -> bool:
        """As the rewards worker decides it."""
        who, at_us = f"attacker {self._strikes % IDENTITIES}", round(fake.at * 1e6)
        slot = int(fake.at // SLOT_SECONDS)
        if not self._caps.offer("event", str(fake.ticket), who, slot=slot, at_us=at_us):
            return False
        if fake.tickets and not self._caps.sale("event", [who], at_us=at_us):
            return False
        if self._attack == "refund loops":
            self._caps.refund("event", [who], at_us=at_us)
        return True


def mean_price(played_menu: Ints) -> float:
    """Mean price shown, as a share of the list price."""
    return float(np.array(MENU)[played_menu].mean())


def moved(crowd: Crowd, make: Callable[[Crowd], Seller], *, defended: bool) -> dict[Attack, dict[float, float]]:
    """Mean price shown under each attack less that without, as a share of the list price."""
    calm = mean_price(play(crowd, make(crowd)).menu)
    return {
        attack: {
            share: mean_price(play(crowd, Attacked(make(crowd), attack, share, defended=defended)).menu) - calm
            for share in SHARES
        }
        for attack in ATTACKS
    }  # fmt: skip
