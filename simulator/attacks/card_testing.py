"""Card testing: stolen numbers are tried on cheap tickets to find out which ones still work.

In a burst a script works through its list within a minute or two, on a handful of devices and addresses. Low and slow
it takes hours, one card at a time over more devices and a wider network, to stay under every count per hour. Either way
the numbers come from few issuers and most are declined.
"""

from dataclasses import dataclass, replace

from simulator.attacks.craft import SCRIPTED, Count, Craft, Odds, Order
from simulator.attacks.pattern import Pattern
from simulator.attacks.ring import Means, Reaction, Ring
from simulator.attacks.tempo import Span
from simulator.engine import Process
from simulator.people import Card
from simulator.scene import party_size
from simulator.visits import Visitor

BURST = Pattern(
    name="card-testing",
    kind="fraud",
    share=0.007,
    typical_purchases=28.0,
    tell="Dozens of cards on a handful of devices within a minute or two, most of them declined, on cheap seats.",
    look_alikes=("group", "office_ip", "family_device", "several_cards"),
)
SLOW = Pattern(
    name="card-testing-slow",
    kind="fraud",
    share=0.0065,
    typical_purchases=14.5,
    tell="One new card of the same few issuers after the other from a few networks over hours, most of them declined.",
    look_alikes=("office_ip", "several_cards", "new_user"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How hard it is tried, and how hard to see."""

    cards: Count
    means: Means
    pause: float
    """Median seconds on a page …"""
    spread: float = 0.6
    """… and how much they differ."""
    declines: Span
    """Share that issuers decline, drawn per ring: 40 to more than 90 % is reported."""
    reaction: Reaction
    another_account: float = 0.7
    """Another account for the next card …"""
    fresh: float = 0.5
    """… opened on the spot."""
    twice: float = 0.15
    """The card is tried a second time."""
    cheapest: float = 0.7
    """The cheapest seat, rather than any of the event."""
    single: float = 0.8
    """One ticket only."""


BURST_STRENGTH = Strength(
    cards=(15, 40), means=Means(devices=(2, 5), addresses=(1, 4), issuers=(1, 3)), pause=1.5, spread=SCRIPTED,
    declines=(0.5, 0.9),
    reaction=Reaction(after=7, changes=("cards", "devices", "addresses"), gives_up_after=2),
)  # fmt: skip
SLOW_STRENGTH = Strength(
    cards=(8, 20), means=Means(devices=(6, 14), addresses=(1, 3), networks=4, issuers=(2, 5)), pause=3.0,
    declines=(0.4, 0.8),
    reaction=Reaction(after=5, changes=("devices", "pace", "addresses", "cards"), gives_up_after=2),
)  # fmt: skip
"""Assumed: sized so that a household, a class that buys together and an office are between it and everybody else."""


def begin_burst(craft: Craft, attack: int | None) -> Process:
    """A script and its list, seconds from card to card."""
    return _work_through(craft, attack, BURST, BURST_STRENGTH, craft.tempo.burst_gap)


def begin_slow(craft: Craft, attack: int | None) -> Process:
    """The same list, minutes from card to card."""
    return _work_through(craft, attack, SLOW, SLOW_STRENGTH, craft.tempo.slow_gap)


def _work_through(craft: Craft, attack: int | None, pattern: Pattern, strength: Strength, gap: Span) -> Process:
    ring = Ring(craft, attack, strength.means, strength.reaction)
    odds = Odds(declines=craft.rng.uniform(*strength.declines), disputes=0.6, passes=0.03)
    visitor: Visitor | None = None
    for _ in range(craft.some(strength.cards)):
        device, address = ring.device(), ring.address()
        if visitor is None or craft.chance(strength.another_account):
            visitor = craft.somebody(device, address, fresh=strength.fresh)
        visitor = replace(visitor, device_id=device, address=address)
        craft.start(_try(craft, ring, visitor, craft.card(ring.issuer()), pattern, strength, odds))
        yield ring.pause(craft.rng.uniform(*gap))
        if ring.has_given_up:
            return


def _try(
    craft: Craft, ring: Ring, visitor: Visitor, card: Card, pattern: Pattern, strength: Strength, odds: Odds
) -> Process:
    for _ in range(2 if craft.chance(strength.twice) else 1):
        order = _cheap(craft, strength)
        nature = craft.nature(pattern, ring.attack, odds)
        ring.heard((yield from craft.buy(visitor, card, order, nature)))


def _cheap(craft: Craft, strength: Strength) -> Order:
    world = craft.scene.world
    event = craft.soon(lambda: world.cheap_event(craft.rng))
    ticket = world.cheapest_ticket(event) if craft.chance(strength.cheapest) else world.ticket(craft.rng, event)
    n_tickets = 1 if craft.chance(strength.single) else party_size(craft.rng, event)
    return Order(event, ticket, n_tickets, strength.pause, strength.spread)
