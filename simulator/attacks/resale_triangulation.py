"""Resale triangulation: tickets are sold cheaply elsewhere, and bought here with a stolen card once somebody has paid.

The accounts are those of honest buyers who lend them for money: old, with a clean past, on their usual device. Every
customer's order is paid with another stolen card from an address in the card's country, and the tickets are handed to
that customer soon after. Orders come when customers come, hours apart, never in bursts, and no login fails. It appears
only late in a run: a model trained before has never seen it.
"""

from dataclasses import dataclass, replace

from simulator.attacks.craft import Count, Craft, Odds
from simulator.attacks.pattern import Pattern
from simulator.attacks.ring import Means, Reaction, Ring
from simulator.engine import Process
from simulator.people import Card
from simulator.scene import dwell
from simulator.visits import Visitor

PATTERN = Pattern(
    name="resale-triangulation",
    kind="fraud",
    share=0.005,
    typical_purchases=6.0,
    tell=(
        "An old account on its usual device pays each order with another card from another address, and "
        "hands every order on."
    ),
    look_alikes=("several_cards", "gift_buyer"),
    begins=0.7,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How hard it is tried, and how hard to see."""

    mules: Count
    """Buyers who lend their account and device."""
    orders: Count
    """Customers in all."""
    proxy: float
    """Orders from an address in the card's country; the others come from the mule's home."""
    hands_on: float
    issuers: Count
    odds: Odds
    """Numbers that were tested before they were sold."""
    reaction: Reaction


STRENGTH = Strength(
    mules=(1, 3),
    orders=(3, 10),
    proxy=0.7,
    hands_on=0.9,
    issuers=(3, 6),
    odds=Odds(declines=0.15, disputes=0.8, passes=0.15),
    reaction=Reaction(after=2, changes=("cards", "pace"), gives_up_after=3),
)
"""Assumed: nothing in it happens fast, and nothing in it is new but the card."""


def begin(craft: Craft, attack: int | None) -> Process:
    """Fills one customer's order after the other."""
    seller = Ring(craft, attack, Means(devices=(1, 1), addresses=(1, 1), issuers=STRENGTH.issuers), STRENGTH.reaction)
    mules = [craft.owner()[0] for _ in range(craft.some(STRENGTH.mules))]
    for _ in range(craft.some(STRENGTH.orders)):
        mule, card = craft.rng.choice(mules), craft.card(seller.issuer())
        visitor = replace(mule, address=craft.address(card.country)) if craft.chance(STRENGTH.proxy) else mule
        craft.start(_fill(craft, seller, visitor, card))
        yield seller.pause(dwell(craft.rng, craft.tempo.order_gap, spread=1.0))
        if seller.has_given_up:
            return


def _fill(craft: Craft, seller: Ring, visitor: Visitor, card: Card) -> Process:
    order = craft.loot()
    paid = yield from craft.buy(visitor, card, order, craft.nature(PATTERN, seller.attack, STRENGTH.odds))
    seller.heard(paid)
    if craft.chance(STRENGTH.hands_on):
        yield from craft.hand_on(visitor, order, paid)
