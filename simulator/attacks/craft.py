"""The craft all attackers share: accounts, cards, devices and addresses to work with, and how they buy.

They see the same pages, prices and events as everybody, hold seats as others do, and their ids look like all ids.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from math import exp
from random import Random
from typing import Any

from simulator.attacks.pattern import Pattern
from simulator.attacks.tempo import Tempo
from simulator.catalogue import DAY_US, Category, Event, Ticket
from simulator.engine import SECOND_US, Pause, Process
from simulator.people import COUNTRIES, DOMAINS, Address, Card
from simulator.scene import Scene, dwell, party_size
from simulator.shop import Paid
from simulator.visits import Intent, Nature, Visitor

Count = tuple[int, int]
"""Fewest and most; drawn evenly."""
Issuer = tuple[str, str]
"""First six digits and country."""
SCRIPTED = 0.15
"""Spread of a script's pauses. Assumed: reports only say that bots are even where people are not."""
DECLINE_CODES = ("incorrect_cvc", "do_not_honor", "insufficient_funds", "expired_card")
FRESH_SECONDS = (5, 60, 900, 20_000)
"""An account opened on the spot is of any age up to one of these, as honest newcomers' are."""
BOUGHT_DAYS = (60.0, 700.0)
"""One that was bought is of any age up to one of these. Assumed."""
TASTE: dict[Category, float] = {"concerts": 1.0, "cultural": 0.6, "family": 0.5, "sports": 0.45}
"""How gladly each is bought to be resold: 12 % of the orders for concerts were turned down, 5 % of those for sports."""
HURRY, HURRY_DAYS = 5.0, 12.0
"""How much rather an event of today than one far off: orders on the day were fraud five times as often as those of 60
days before. That it fades within days is assumed."""
TRIES = 50
"""Events considered before the last one is taken."""
MOST_TICKETS = 6
"""What the shop sells to one order at most; groups buy as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """What comes of a purchase, as probabilities."""

    declines: float
    """The issuer says no."""
    disputes: float = 0.0
    """The card holder reports it, once settled."""
    passes: float
    """A challenge is passed."""
    refunds: float = 0.0
    refunds_late: float = 0.0
    """Of the refunds, those asked for shortly before the event."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be bought, and how long each page is looked at (median, seconds)."""

    event: Event
    ticket: Ticket
    n_tickets: int
    pause: float = 3.0
    spread: float = 0.6
    """How much that differs from page to page: sigma of its logarithm. A script's hardly does."""


class Craft:
    """A scene and what it takes to attack in it; everything drawn comes from `rng`."""

    def __init__(self, scene: Scene, rng: Random, tempo: Tempo) -> None:
        self.scene, self.rng, self.tempo = scene, rng, tempo

    def start(self, process: Process) -> None:
        """Let somebody else go about it meanwhile."""
        self.scene.engine.start(process)

    def some(self, count: Count) -> int:
        """How many."""
        return self.rng.randint(*count)

    def chance(self, probability: float) -> bool:
        """Whether something happens that does with this probability."""
        return self.rng.random() < probability

    # ---------------------------------------------------------------------------------------- what to work with
    def device(self) -> str:
        """A device never seen before."""
        return self.scene.world.people.device(f"fresh/{self.rng.getrandbits(64)}")

    def somebody(
        self, device: str, address: Address, *, fresh: float, ages_days: tuple[float, ...] = BOUGHT_DAYS
    ) -> Visitor:
        """A stranger to the shop: opens an account now with probability `fresh`, and bought an older one else."""
        rng, is_fresh = self.rng, self.chance(fresh)
        age_us = rng.random() * (rng.choice(FRESH_SECONDS) * SECOND_US if is_fresh else rng.choice(ages_days) * DAY_US)
        opened_us = self.scene.engine.now_us - int(age_us)
        account = self.scene.world.people.newcomer(rng, f"{rng.getrandbits(64)}", opened_us).users[0]
        visitor = Visitor(replace(account, email_domain=DOMAINS.draw(rng), office=None), device, address)
        if is_fresh:
            self.scene.storefront.change_account(visitor, "opened")
        return visitor

    def issuers(self, count: Count, *, but_not: tuple[Issuer, ...] = ()) -> tuple[Issuer, ...]:
        """Whose numbers are at hand."""
        others = [issuer for issuer in self.scene.world.people.bins if issuer not in but_not]
        return tuple(self.rng.sample(others, self.some(count)))

    def card(self, issuer: Issuer) -> Card:
        """A card never seen before: stolen, generated or virtual."""
        number, country = issuer
        return self.scene.world.people.card(self.rng, country, f"{self.rng.getrandbits(64)}", number)

    def address(self, country: str | None = None) -> Address:
        """An address in a country, or anywhere."""
        return self.scene.world.people.address(self.rng, country or COUNTRIES.draw(self.rng))

    def network(self, n: int) -> tuple[Address, ...]:
        """`n` addresses side by side, as they are rented."""
        first = self.address()
        subnet = first.ip.rsplit(".", 1)[0]
        near = [Address(f"{subnet}.{self.rng.randrange(1, 255)}", first.country) for _ in range(n - 1)]
        return first, *near

    def owner(self) -> tuple[Visitor, tuple[Card, ...]]:
        """An account of the town, as its owner uses it at home, and the owner's cards."""
        household = self.scene.world.household(self.rng)
        user = self.rng.choice(household.users)
        return Visitor(user, user.device_id, household.home), user.cards

    # ------------------------------------------------------------------------------------------ what to do with it
    def anything(self) -> Order:
        """What anybody might buy."""
        event = self.scene.world.event(self.rng)
        return Order(event, self.scene.world.ticket(self.rng, event), party_size(self.rng, event))

    def loot(self) -> Order:
        """What resells well, and soon: before anybody asks."""
        event = self.soon(lambda: self.scene.world.event(self.rng), TASTE)
        return Order(event, self.scene.world.ticket(self.rng, event), party_size(self.rng, event))

    def soon(self, draw: Callable[[], Event], taste: Mapping[Category, float] | None = None) -> Event:
        """One of the events that `draw` gives, rather one that begins soon and is to the `taste`."""
        for _ in range(TRIES):
            event = draw()
            days = max(0.0, (event.starts_us - self.scene.engine.now_us) / DAY_US)
            hurry = 1 / HURRY + (1 - 1 / HURRY) * exp(-days / HURRY_DAYS)
            if self.chance(hurry * (taste[event.category] if taste else 1.0)):
                break
        return event

    def hot_event(self) -> Event:
        """One of the events that most people want."""
        return max((self.scene.world.event(self.rng) for _ in range(3)), key=lambda event: event.popularity)

    def nature(self, pattern: Pattern, attack: int | None, odds: Odds, *, is_evident: bool = True) -> Nature:
        """The truth about a purchase of this pattern."""
        declined, code = self.chance(odds.declines), self.rng.choice(DECLINE_CODES)
        return Nature(
            is_fraud=pattern.kind == "fraud", is_abuse=pattern.kind == "abuse", is_evident=is_evident,
            pattern=pattern.name, attack=attack, decline_code=code if declined else "",
            passes_challenge=self.chance(odds.passes), disputes=self.chance(odds.disputes),
            refunds=self.chance(odds.refunds), refunds_late=self.chance(odds.refunds_late),
        )  # fmt: skip

    def buy(self, visitor: Visitor, card: Card, order: Order, nature: Nature) -> Generator[Pause, Any, Paid]:
        """View, hold mostly, and pay; what the shop said."""
        rng, front = self.rng, self.scene.storefront
        yield dwell(rng, order.pause, spread=order.spread)
        if not self.scene.on_sale(order.event, order.n_tickets):
            return Paid("sold_out")
        front.view(visitor, order.event)
        offer = yield from self.scene.shown_price(visitor, order.event, order.ticket)
        yield dwell(rng, order.pause, spread=order.spread)
        hold_id = front.hold(visitor, order.event, order.n_tickets) if self.chance(0.85) else None
        yield dwell(rng, order.pause, spread=order.spread)
        intent = Intent(
            visitor=visitor, card=card, event=order.event, ticket=order.ticket, n_tickets=order.n_tickets,
            offer=offer, nature=nature, hold_id=hold_id,
        )  # fmt: skip
        return (yield from self.pay(intent))

    def pay(self, intent: Intent) -> Generator[Pause, Any, Paid]:
        """Press "pay"; what the shop said. Held seats are let go a moment later when nothing came of it."""
        paid = yield from self.scene.paid(intent)
        if paid.result != "paid" and intent.hold_id is not None:
            yield dwell(self.rng, 1.5)
            self.scene.storefront.release(intent.visitor, intent.event, intent.hold_id, intent.n_tickets)
        return paid

    def hand_on(self, visitor: Visitor, order: Order, paid: Paid) -> Generator[Pause, Any, None]:
        """Transfer paid tickets to somebody else, a little later."""
        if paid.result == "paid":
            yield dwell(self.rng, self.tempo.takeover_gap, spread=1.0)
            self.scene.storefront.transfer(visitor, order.event, paid.transaction_id, order.n_tickets)
