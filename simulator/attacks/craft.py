"""The craft all attackers share: accounts, cards, devices and addresses to work with, and how they buy.

They see the same pages, prices and events as everybody, hold seats as others do, and their ids look like all ids.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from simulator.attacks.pattern import Pattern
from simulator.catalogue import DAY_US, Event, Ticket
from simulator.engine import Pause, Process
from simulator.people import COUNTRIES, DOMAINS, Address, Card, User
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

    def account(self, ages_days: tuple[float, ...] = (0.01, 0.5, 20, 700)) -> User:
        """An account made or bought for the purpose, of any age up to one of `ages_days`."""
        rng = self.rng
        age_us = int(rng.choice(ages_days) * rng.random() * DAY_US)
        key = f"{rng.getrandbits(64)}"
        account = self.scene.world.people.newcomer(rng, key, self.scene.engine.now_us - age_us).users[0]
        return replace(account, email_domain=DOMAINS.draw(rng), office=None)

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
