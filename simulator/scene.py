"""What every behaviour needs at hand, and the details that honest and dishonest visitors share."""

from collections.abc import Generator
from dataclasses import dataclass
from math import log
from random import Random
from typing import Any

from simulator.catalogue import Event, Ticket
from simulator.engine import Engine, Pause
from simulator.shop import Paid, Shop
from simulator.storefront import Storefront
from simulator.truth import Truth
from simulator.visits import Intent, Offer
from simulator.world import World

PARTY_SIZES = {
    "sports": ((1, 2, 3, 4, 6), (22, 44, 14, 15, 5)), "concerts": ((1, 2, 3, 4, 6), (20, 50, 13, 14, 3)),
    "family": ((1, 2, 3, 4, 5), (8, 20, 30, 30, 12)), "cultural": ((1, 2, 3, 4, 6), (30, 52, 8, 8, 2)),
}  # fmt: skip
"""Tickets per order and their weights."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A world and the shop in it, at work."""

    world: World
    engine: Engine
    storefront: Storefront
    shop: Shop
    truth: Truth

    def shown_price(self, event: Event, ticket: Ticket) -> Generator[Pause, Any, Offer]:
        """Ask for the price and wait for it."""
        offer: Offer = yield self.storefront.ask_price(event, ticket)
        return offer

    def paid(self, intent: Intent) -> Generator[Pause, Any, Paid]:
        """Press "pay" and wait for what comes of it."""
        answer: Paid = yield self.shop.pay(intent)
        return answer

    def on_sale(self, event: Event, n_tickets: int) -> bool:
        """Whether an event sells so many tickets now."""
        return self.engine.now_us < event.starts_us and self.storefront.seats_left(event) >= n_tickets


def dwell(rng: Random, median: float, *, spread: float = 0.6) -> float:
    """Seconds a person takes: lognormal around `median`, never more than eight times as long."""
    return min(8 * median, rng.lognormvariate(log(median), spread))


def party_size(rng: Random, event: Event) -> int:
    """How many tickets somebody wants."""
    sizes, weights = PARTY_SIZES[event.category]
    return rng.choices(sizes, weights)[0]
