"""A stolen card, used once or twice by somebody who bought its number: the fraud that is always there.

A fresh or bought account on a device of their own, mostly behind a proxy in the card's country. One person, one card,
no campaign: nothing repeats that could be counted.
"""

from dataclasses import dataclass, replace

from simulator.attacks.craft import Craft, Odds
from simulator.attacks.pattern import Pattern
from simulator.attacks.ring import Means, Reaction, Ring
from simulator.engine import Process
from simulator.people import Card
from simulator.scene import dwell

PATTERN = Pattern(
    name="stolen-card",
    kind="fraud",
    share=0.0055,
    typical_purchases=1.2,
    tell=(
        "A first order from a device nobody saw before, often of a young account, sometimes from another country "
        "or with a card that somebody else pays with."
    ),
    look_alikes=("new_user", "traveller"),
    is_campaign=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How hard it is tried, and how hard to see."""

    again: float
    """Buys once more after a success."""
    another_card: float
    """Has one more number to try after a setback."""
    fresh: float
    """Opens the account on the spot."""
    known_here: float
    """The card is one of a customer of this shop."""
    proxy: float
    """Comes from the card's country."""
    odds: Odds
    reaction: Reaction
    """Turned down, a fresh device; turned down again, somewhere else."""


STRENGTH = Strength(
    again=0.2,
    another_card=0.3,
    fresh=0.5,
    known_here=0.2,
    proxy=0.8,
    odds=Odds(declines=0.25, disputes=0.85, passes=0.1),
    reaction=Reaction(after=1, changes=("devices",), gives_up_after=1),
)
"""Assumed: as near to a traveller or a new customer as one purchase can be."""


def begin(craft: Craft, attack: int | None) -> Process:
    """One person with one card, or two."""
    thief = Ring(craft, attack, Means(devices=(1, 1), addresses=(1, 1)), STRENGTH.reaction)
    card = _stolen(craft)
    address = craft.address(card.country if craft.chance(STRENGTH.proxy) else None)
    visitor = craft.somebody(thief.device(), address, fresh=STRENGTH.fresh)
    while True:
        visitor = replace(visitor, device_id=thief.device())
        paid = yield from craft.buy(visitor, card, craft.loot(), craft.nature(PATTERN, attack, STRENGTH.odds))
        thief.heard(paid)
        goes_on = craft.chance(STRENGTH.again if paid.result == "paid" else STRENGTH.another_card)
        if not goes_on or thief.has_given_up:
            return
        card = card if paid.result == "paid" else _stolen(craft)
        yield thief.pause(dwell(craft.rng, 30.0))


def _stolen(craft: Craft) -> Card:
    if craft.chance(STRENGTH.known_here):
        return craft.rng.choice(craft.owner()[1])
    (issuer,) = craft.issuers((1, 1))
    return craft.card(issuer)
