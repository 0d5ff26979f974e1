"""What every behaviour needs at hand, and the details that honest and dishonest visitors share."""

from collections.abc import Generator
from dataclasses import dataclass
from math import exp
from random import Random
from typing import Any

from simulator.catalogue import Event, Ticket
from simulator.draws import Weighted
from simulator.engine import SECOND_US, Engine, Pause
from simulator.shop import Paid, Shop
from simulator.storefront import Storefront
from simulator.truth import Truth
from simulator.visits import Intent, Offer, Visitor
from simulator.world import World

PARTY_SIZES = {
    "sports": Weighted([(1, 22), (2, 44), (3, 14), (4, 15), (6, 5)]),
    "concerts": Weighted([(1, 20), (2, 50), (3, 13), (4, 14), (6, 3)]),
    "family": Weighted([(1, 8), (2, 20), (3, 30), (4, 30), (5, 12)]),
    "cultural": Weighted([(1, 30), (2, 52), (3, 8), (4, 8), (6, 2)]),
}
"""Tickets per order."""

RUSH_US = 1800 * SECOND_US
"""How long visitors wait in line after sales have opened …"""
RUSH_WAIT_SECONDS = 12.0
"""… and for how long, in the median. Assumed."""
IMPATIENT = 0.1
"""Whoever goes faster than this is at the front of the line."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A world and the shop in it, at work."""

    world: World
    engine: Engine
    storefront: Storefront
    shop: Shop
    truth: Truth

    def in_line(self, rng: Random, event: Event, pace: float) -> Generator[Pause, Any, None]:
        """Wait one's turn where the doors have just opened and everybody wants in."""
        if self.engine.now_us - event.on_sale_us < RUSH_US and pace > IMPATIENT:
            yield dwell(rng, RUSH_WAIT_SECONDS)

    def shown_price(self, visitor: Visitor, event: Event, ticket: Ticket) -> Generator[Pause, Any, Offer]:
        """Ask for the price and wait for it."""
        offer: Offer = yield self.storefront.ask_price(visitor, event, ticket)
        return offer

    def paid(self, intent: Intent) -> Generator[Pause, Any, Paid]:
        """Press "pay" and wait for what comes of it."""
        answer: Paid = yield self.shop.pay(intent)
        return answer

    def on_sale(self, event: Event, n_tickets: int) -> bool:
        """Whether an event sells so many tickets now."""
        return (
            event.on_sale_us <= self.engine.now_us < event.starts_us and self.storefront.seats_left(event) >= n_tickets
        )


def dwell(rng: Random, median: float, *, spread: float = 0.6) -> float:
    """Seconds a person takes: lognormal around `median`, never more than eight times as long."""
    return min(8 * median, median * exp(rng.normalvariate(0.0, spread)))


def party_size(rng: Random, event: Event) -> int:
    """How many tickets somebody wants."""
    return PARTY_SIZES[event.category].draw(rng)
