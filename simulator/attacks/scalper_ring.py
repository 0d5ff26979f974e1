"""A scalper ring buys out one hot event with many accounts, each of them below every limit per account.

The cards are virtual and paid for: nothing is declined much, nothing is disputed, and it is abuse rather than fraud.
What the accounts share is behind them: one or two issuers, one provider's networks, a rack of devices, one script's
timing.
"""

from dataclasses import dataclass

from simulator.attacks.craft import MOST_TICKETS, SCRIPTED, Count, Craft, Odds, Order
from simulator.attacks.pattern import Pattern
from simulator.attacks.ring import Means, Reaction, Ring
from simulator.catalogue import Event
from simulator.engine import Process
from simulator.visits import Visitor

PATTERN = Pattern(
    name="scalper-ring",
    kind="abuse",
    share=0.006,
    typical_purchases=28.0,
    tell=(
        "Many accounts with cards of one issuer, on a few networks and devices, each buying nearly the "
        "most it may of one event within minutes."
    ),
    look_alikes=("fan_club", "group"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How hard it is tried, and how hard to see."""

    accounts: Count
    """A case of 2025 had 49 accounts for one event, 277 for another; these are for a smaller town."""
    tickets: Count
    """Per account: 273 tickets for those 49 accounts, under a limit of six."""
    means: Means
    fresh: float
    """Accounts opened on the spot; the others were made or bought long before."""
    in_two: float
    """Buys them in two orders."""
    odds: Odds
    """Virtual cards are good ones, and numbers for text messages are rented by the thousand."""
    reaction: Reaction


STRENGTH = Strength(
    accounts=(12, 40),
    tickets=(4, MOST_TICKETS),
    means=Means(devices=(4, 10), addresses=(4, 9), networks=2, issuers=(1, 2)),
    fresh=0.15,
    in_two=0.15,
    odds=Odds(declines=0.04, passes=0.6),
    reaction=Reaction(after=4, changes=("devices", "addresses", "cards", "pace"), gives_up_after=3),
)
"""Assumed where no case is named: sized to be mistaken for a fan club."""


def begin(craft: Craft, attack: int | None) -> Process:
    """One account after the other goes for the same event."""
    ring = Ring(craft, attack, STRENGTH.means, STRENGTH.reaction)
    event = craft.hot_event()
    for _ in range(craft.some(STRENGTH.accounts)):
        visitor = craft.somebody(ring.device(), ring.address(), fresh=STRENGTH.fresh)
        craft.start(_buy_out(craft, ring, visitor, event))
        yield ring.pause(craft.rng.uniform(*craft.tempo.ring_gap))
        if ring.has_given_up:
            return


def _buy_out(craft: Craft, ring: Ring, visitor: Visitor, event: Event) -> Process:
    card, n_tickets = craft.card(ring.issuer()), craft.some(STRENGTH.tickets)
    first = n_tickets // 2 if craft.chance(STRENGTH.in_two) else n_tickets
    for n in filter(None, (first, n_tickets - first)):
        order = Order(event, craft.scene.world.ticket(craft.rng, event), n, pause=1.5, spread=SCRIPTED)
        ring.heard((yield from craft.buy(visitor, card, order, craft.nature(PATTERN, ring.attack, STRENGTH.odds))))
        yield craft.rng.uniform(*craft.tempo.ring_gap)
