"""The craft all attackers share: accounts, cards, devices and addresses to work with, and how they buy.

They see the same pages, prices and events as everybody, hold seats as others do, and their ids look like all ids.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from math import exp
from random import Random
from typing import Any

from simulator.attacks.pattern import Pattern
from simulator.catalogue import DAY_US, Category, Event, Ticket
from simulator.engine import SECOND_US, Pause, Process
from simulator.people import COUNTRIES, DOMAINS, Address, Card
from simulator.scene import Scene, dwell, party_size
from simulator.shop import Paid
from simulator.visits import Intent, Nature, Visitor

Span = tuple[float, float]
"""Smallest and largest; drawn evenly."""
Count = tuple[int, int]
"""Fewest and most; drawn evenly."""
Issuer = tuple[str, str]
"""First six digits and country."""
DECLINE_CODES = ("incorrect_cvc", "do_not_honor", "insufficient_funds", "expired_card")
FRESH_SECONDS = (5, 60, 900, 20_000)
"""An account opened on the spot is of any age up to one of these, as honest newcomers' are."""
BOUGHT_DAYS = (60.0, 700.0)
"""One that was bought is of any age up to one of these. Assumed."""
TASTE: dict[Category, float] = {"concerts": 1.0, "cultural": 0.6, "family": 0.5, "sports": 0.45}
"""How gladly each is bought to be resold: 12 % of the orders for concerts were turned down, 5 % of those for sports."""
HURRY, HURRY_DAYS = 12.0, 10.0
"""How much rather an event of today than one far off, fading in days: orders on the day were fraud five times as often
as those of 60 days before. More here, for testers and the buyer's own fraud do not look at the date."""
MOST_TICKETS = 6
"""What the shop sells to one order at most; groups buy as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """Seconds between the steps of an attack; a minute's demo needs them shorter than a day's history."""

    burst_gap: Span = (0.5, 4.0)
    slow_gap: Span = (60.0, 600.0)
    stuffing_gap: Span = (0.3, 3.0)
    takeover_gap: float = 25.0
    """Median between credential change and purchase, and between purchase and what is done with the tickets."""
    ring_gap: Span = (2.0, 7.0)
    hold_seconds: float = 300.0
    """How long a bot keeps seats before the shop would take them back."""
    order_gap: float = 5_000.0
    """Median between two customers' orders."""
    lie_low: float = 900.0
    """Median pause of a ring that has been stopped and changes something."""


LIVE_TEMPO = Tempo(
    burst_gap=(0.15, 0.7), slow_gap=(2.0, 12.0), stuffing_gap=(0.05, 0.4), takeover_gap=3.0, ring_gap=(0.2, 0.8),
    hold_seconds=5.0, order_gap=4.0, lie_low=4.0,
)  # fmt: skip


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
        for _ in range(50):
            order = self.anything()
            days = (order.event.starts_us - self.scene.engine.now_us) / DAY_US
            hurry = 1 / HURRY + (1 - 1 / HURRY) * exp(-max(0.0, days) / HURRY_DAYS)
            if self.chance(TASTE[order.event.category] * hurry):
                break
        return order

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
        yield dwell(rng, order.pause)
        if not self.scene.on_sale(order.event, order.n_tickets):
            return Paid("sold_out")
        front.view(visitor, order.event)
        offer = yield from self.scene.shown_price(order.event, order.ticket)
        yield dwell(rng, order.pause)
        hold_id = front.hold(visitor, order.event, order.n_tickets) if self.chance(0.85) else None
        yield dwell(rng, order.pause)
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
