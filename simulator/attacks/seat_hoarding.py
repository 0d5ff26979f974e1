"""Seat hoarding: bots put seats of one event into carts, let them go when the time is up, and hold them again.

Nobody else can buy these seats meanwhile. A few are bought, when a customer for them was found elsewhere.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from simulator.attacks.craft import MOST_TICKETS, Count, Craft, Odds
from simulator.attacks.pattern import Pattern
from simulator.attacks.ring import Means, Reaction, Ring
from simulator.catalogue import Event
from simulator.engine import Pause, Process
from simulator.visits import Intent, Visitor

PATTERN = Pattern(
    name="seat-hoarding",
    kind="abuse",
    share=0.0015,
    typical_purchases=3.6,
    tell=("Holds as regular as a clock on one event, far more of them than purchases, from a handful of devices."),
    look_alikes=("window_shopper",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How hard it is tried, and how hard to see."""

    bots: Count
    fresh: float
    """Accounts opened on the spot."""
    rounds: Count
    """How often each bot takes its seats."""
    seats: Count
    jitter: float
    """Share by which a bot's pauses differ."""
    sold: float
    """Of the seats held, those bought because a customer was found."""
    means: Means
    odds: Odds
    reaction: Reaction


STRENGTH = Strength(
    bots=(3, 8),
    fresh=0.3,
    rounds=(6, 16),
    seats=(3, MOST_TICKETS),
    jitter=0.02,
    sold=0.06,
    means=Means(devices=(2, 4), addresses=(2, 5), issuers=(1, 2)),
    odds=Odds(declines=0.05, passes=0.4),
    reaction=Reaction(after=2, changes=("devices", "addresses", "pace"), gives_up_after=2),
)
"""Assumed: that carts are filled and emptied by bots is reported, their numbers are not."""


def begin(craft: Craft, attack: int | None) -> Process:
    """A handful of bots on one event, one started after the other."""
    ring = Ring(craft, attack, STRENGTH.means, STRENGTH.reaction)
    event = craft.hot_event()
    for _ in range(craft.some(STRENGTH.bots)):
        craft.start(_hoard(craft, ring, event))
        yield craft.rng.uniform(*craft.tempo.ring_gap)


def _hoard(craft: Craft, ring: Ring, event: Event) -> Process:
    """One bot: the same pause before and after each hold, whoever else wants the seats."""
    front, first = craft.scene.storefront, craft.somebody(ring.device(), ring.address(), fresh=STRENGTH.fresh)
    yield _nearly(craft, craft.tempo.hold_seconds / 20)
    for _ in range(craft.some(STRENGTH.rounds)):
        visitor = replace(first, device_id=ring.device(), address=ring.address())
        n_seats = craft.some(STRENGTH.seats)
        hold_id = front.hold(visitor, event, n_seats) if craft.scene.on_sale(event, n_seats) else None
        yield ring.pause(_nearly(craft, craft.tempo.hold_seconds))
        if hold_id is not None and craft.chance(STRENGTH.sold):
            yield from _pay(craft, ring, visitor, event, hold_id, n_seats)
        elif hold_id is not None:
            front.release(visitor, event, hold_id, n_seats)
        if ring.has_given_up:
            return
        yield _nearly(craft, craft.tempo.hold_seconds / 20)


def _pay(
    craft: Craft, ring: Ring, visitor: Visitor, event: Event, hold_id: str, n_seats: int
) -> Generator[Pause, Any, None]:
    ticket = craft.scene.world.ticket(craft.rng, event)
    offer = yield from craft.scene.shown_price(visitor, event, ticket)
    intent = Intent(
        visitor=visitor, card=craft.card(ring.issuer()), event=event, ticket=ticket, n_tickets=n_seats, offer=offer,
        nature=craft.nature(PATTERN, ring.attack, STRENGTH.odds), hold_id=hold_id,
    )  # fmt: skip
    ring.heard((yield from craft.pay(intent)))


def _nearly(craft: Craft, seconds: float) -> float:
    return seconds * craft.rng.uniform(1 - STRENGTH.jitter, 1 + STRENGTH.jitter)
