"""Honest visitors: they look, decide by their hidden demand, hold, pay or leave.

Some of them look like an attack and are none: families on one device, offices behind one address, travellers,
newcomers, forgotten passwords, several cards after a decline, groups that buy together.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from simulator.catalogue import Event, Ticket
from simulator.engine import SECOND_US, Await, Pause, Process
from simulator.people import COUNTRIES, Card, Household, User
from simulator.scene import Scene, dwell, party_size
from simulator.shop import Paid
from simulator.visits import HONEST, Intent, Nature, Offer, Visitor

HASTY_PACE = 0.03
Entry = Literal["known", "login", "forgot", "new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How often honest people do what. Shares of visits; assumed where domain research gives no figure."""

    newcomer: float = 0.08
    forgot_password: float = 0.03
    new_device: float = 0.05
    traveller: float = 0.03
    group: float = 0.008
    log_in: float = 0.12
    bargain: float = 0.12
    """Looks for one cheap seat, as card testers do."""
    buys_more: float = 0.06
    """Stays for another purchase after a paid one."""
    family_device: float = 0.35
    office: float = 0.3
    mobile: float = 0.25
    looks_on: float = 0.5
    """After a price that was too high."""
    abandons: float = 0.08
    express: float = 0.12
    """Pays without holding seats first."""
    tries_again: float = 0.6
    """After the issuer declined."""
    issuer_declines: float = 0.035
    passes_challenge: float = 0.92
    disputes: float = 0.0015
    """Friendly fraud: an honest purchase reported as fraud."""
    refunds: float = 0.015
    gives_away: float = 0.03


@dataclass(frozen=True, slots=True)
class Wish:
    """What a group has agreed on, at whatever price."""

    event: Event
    ticket: Ticket
    n_tickets: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One visit: who, with which cards, how they come in, and what was agreed on before."""

    visitor: Visitor
    cards: tuple[Card, ...]
    entry: Entry
    look_alike: str = ""
    wish: Wish | None = None
    pace: float = 1.0
    """How much longer than others this visitor takes to look around."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a visitor decided to buy."""

    event: Event
    ticket: Ticket
    n_tickets: int
    offer: Offer


class Buyers:
    """Draws visits. `door` is yielded before each payment: it paces purchases."""

    def __init__(self, scene: Scene, rng: Random, door: Await, habits: Habits | None = None) -> None:
        self._scene, self._rng, self._door = scene, rng, door
        self._habits = habits or Habits()
        self._drawn = 0

    def arrivals(self, hasty: bool = False) -> list[tuple[float, Process]]:
        """The next visit, or the visits of a group: seconds until each begins, and the visit."""
        if hasty:
            return [(0.0, self._visit(replace(self._guest(), entry="known", pace=HASTY_PACE)))]
        if self._rng.random() < self._habits.group:
            return self._group()
        return [(0.0, self._visit(replace(self._guest(), pace=dwell(self._rng, 1.3, spread=0.8))))]

    # ------------------------------------------------------------------------------------------------ who comes
    def _guest(self) -> Guest:
        rng, habits = self._rng, self._habits
        if rng.random() < habits.newcomer:
            return self._newcomer()
        household = self._scene.world.household(rng)
        user = rng.choice(household.users)
        guest = self._at_home(household, user)
        luck = rng.random()
        if luck < habits.forgot_password:
            device = self._fresh_device() if rng.random() < 0.4 else guest.visitor.device_id
            return replace(guest, entry="forgot", look_alike="forgot_password",
                           visitor=replace(guest.visitor, device_id=device))  # fmt: skip
        if luck < habits.forgot_password + habits.new_device:
            return replace(guest, entry="login", look_alike="new_device",
                           visitor=replace(guest.visitor, device_id=self._fresh_device()))  # fmt: skip
        return guest

    def _at_home(self, household: Household, user: User) -> Guest:
        rng, habits, people = self._rng, self._habits, self._scene.world.people
        device, address, look_alike = user.device_id, household.home, ""
        luck = rng.random()
        if luck < habits.traveller:
            address, look_alike = people.address(rng, COUNTRIES.draw(rng)), "traveller"
        elif user.office is not None and luck < habits.traveller + habits.office:
            address, look_alike = user.office, "office_ip"
        elif luck > 1 - habits.mobile:
            address = people.carrier(household.country, rng.randrange(2_500))
        elif household.shared_device and rng.random() < habits.family_device:
            device, look_alike = household.shared_device, "family_device"
        entry: Entry = "login" if rng.random() < habits.log_in else "known"
        return Guest(visitor=Visitor(user, device, address), cards=user.cards, entry=entry, look_alike=look_alike)

    def _newcomer(self) -> Guest:
        rng = self._rng
        self._drawn += 1
        opened_us = self._scene.engine.now_us - int(rng.choice((5, 60, 900, 20_000)) * rng.random() * SECOND_US)
        household = self._scene.world.people.newcomer(rng, f"{rng.getrandbits(64)}/{self._drawn}", opened_us)
        user, address = household.users[0], household.home
        if rng.random() < 0.1:
            address = self._scene.world.people.address(rng, COUNTRIES.draw(rng))
        visitor = Visitor(user, user.device_id, address)
        return Guest(visitor=visitor, cards=user.cards, entry="new", look_alike="new_user")

    def _group(self) -> list[tuple[float, Process]]:
        """Friends or colleagues who agreed on an event and buy within a minute or two, some on one device."""
        rng, world = self._rng, self._scene.world
        event = world.cheap_event(rng) if rng.random() < 0.5 else world.event(rng)
        ticket = world.cheapest_ticket(event) if rng.random() < 0.4 else world.ticket(rng, event)
        office = world.people.office(rng.randrange(1_500))
        shared = self._fresh_device() if rng.random() < 0.5 else None
        alone = rng.random() < 0.5  # a class or club: one seat each
        visits = []
        for _ in range(rng.randint(4, 12)):
            guest = self._newcomer() if rng.random() < 0.4 else self._guest()
            visitor = replace(guest.visitor, address=office, device_id=shared or guest.visitor.device_id)
            member = replace(guest, visitor=visitor, look_alike="group", wish=Wish(event, ticket, 1 if alone else None))
            visits.append((rng.uniform(0, 100), self._visit(member)))
        return visits

    def _fresh_device(self) -> str:
        return self._scene.world.people.device(f"fresh/{self._rng.getrandbits(64)}")

    # ------------------------------------------------------------------------------------------------ a visit
    def _visit(self, guest: Guest) -> Process:
        yield from self._enter(guest)
        while True:
            choice = yield from self._choose(guest)
            if choice is None or not (yield from self._check_out(guest, choice)):
                return
            if guest.wish is not None or self._rng.random() >= self._habits.buys_more:
                return
            yield dwell(self._rng, 10.0)

    def _check_out(self, guest: Guest, choice: Choice) -> Generator[Pause, Any, bool]:
        """Hold, pay or leave; whether it was paid."""
        rng, front = self._rng, self._scene.storefront
        hold_id = None
        if rng.random() >= self._habits.express:
            hold_id = front.hold(guest.visitor, choice.event, choice.n_tickets)
            if hold_id is None:
                return False
        yield dwell(rng, 3.0 * min(1.0, guest.pace))
        paid = Paid("refused")
        if rng.random() >= self._habits.abandons:
            paid = yield from self._pay(guest, choice, hold_id)
        if paid.result != "paid" and hold_id is not None:
            yield dwell(rng, 4.0)
            front.release(guest.visitor, choice.event, hold_id, choice.n_tickets)
        elif paid.result == "paid" and rng.random() < self._habits.gives_away:
            yield dwell(rng, 30.0)
            front.transfer(guest.visitor, choice.event, paid.transaction_id, choice.n_tickets)
        return paid.result == "paid"

    def _enter(self, guest: Guest) -> Generator[Pause, Any, None]:
        rng, front = self._rng, self._scene.storefront
        if guest.entry == "new":
            front.change_account(guest.visitor, "opened")
            yield dwell(rng, 5.0, spread=1.0)
        elif guest.entry == "forgot":
            for _ in range(rng.randint(1, 5)):
                front.log_in(guest.visitor, succeeded=False)
                yield dwell(rng, 2.0)
            front.log_in(guest.visitor, succeeded=True)
            if rng.random() < 0.6:
                front.change_account(guest.visitor, "password")
            yield dwell(rng, 20.0, spread=1.0)
        elif guest.entry == "login":
            if rng.random() < 0.06:
                front.log_in(guest.visitor, succeeded=False)
                yield dwell(rng, 2.0)
            front.log_in(guest.visitor, succeeded=True)
            if guest.look_alike == "new_device" and rng.random() < 0.2:
                front.change_account(guest.visitor, rng.choice(("phone", "password", "email")))
                yield dwell(rng, 20.0, spread=1.0)

    def _choose(self, guest: Guest) -> Generator[Pause, Any, Choice | None]:
        rng, scene = self._rng, self._scene
        for _ in range(4):
            event, ticket, n_tickets = self._fancy(guest)
            if not scene.on_sale(event, n_tickets):
                continue
            scene.storefront.view(guest.visitor, event)
            offer = yield from scene.shown_price(event, ticket)
            yield dwell(rng, 3.0 * guest.pace)
            if guest.wish or rng.random() < ticket.demand.probability(offer.price_minor):
                return Choice(event, ticket, n_tickets, offer)
            if rng.random() >= self._habits.looks_on:
                return None
        return None

    def _fancy(self, guest: Guest) -> tuple[Event, Ticket, int]:
        """What the visitor looks at next."""
        rng, world = self._rng, self._scene.world
        if guest.wish is not None:
            return guest.wish.event, guest.wish.ticket, guest.wish.n_tickets or party_size(rng, guest.wish.event)
        if rng.random() < self._habits.bargain:
            event = world.cheap_event(rng)
            return event, world.cheapest_ticket(event), 1
        event = world.event(rng)
        return event, world.ticket(rng, event), party_size(rng, event)

    # ----------------------------------------------------------------------------------------------- checkout
    def _pay(self, guest: Guest, choice: Choice, hold_id: str | None) -> Generator[Pause, Any, Paid]:
        rng = self._rng
        card, look_alike = guest.cards[0 if rng.random() < 0.8 else -1], guest.look_alike
        paid = Paid("refused")
        for _ in range(3):
            yield self._door
            offer = yield from self._still_good(choice)
            intent = Intent(
                visitor=guest.visitor, card=card, event=choice.event, ticket=choice.ticket,
                n_tickets=choice.n_tickets, offer=offer, nature=self._nature(look_alike), hold_id=hold_id,
            )  # fmt: skip
            paid = yield from self._scene.paid(intent)
            if paid.result != "declined" or rng.random() >= self._habits.tries_again:
                break
            yield dwell(rng, 4.0)
            if rng.random() < 0.7:
                card, look_alike = self._other_card(guest), look_alike or "several_cards"
        return paid

    def _still_good(self, choice: Choice) -> Generator[Pause, Any, Offer]:
        """The price that was shown, or today's when that quote has run out."""
        expires_us = choice.offer.expires_us
        if expires_us is None or self._scene.engine.now_us < expires_us:
            return choice.offer
        return (yield from self._scene.shown_price(choice.event, choice.ticket))

    def _other_card(self, guest: Guest) -> Card:
        people, rng = self._scene.world.people, self._rng
        if len(guest.cards) > 1:
            return rng.choice(guest.cards[1:])
        return people.card(rng, guest.cards[0].country, f"spare/{guest.visitor.user.user_id}")

    def _nature(self, look_alike: str) -> Nature:
        rng, habits = self._rng, self._habits
        disputes = rng.random() < habits.disputes
        codes = ("insufficient_funds", "do_not_honor", "incorrect_cvc", "expired_card")
        return Nature(
            pattern="friendly" if disputes else HONEST, look_alike=look_alike, disputes=disputes,
            decline_code=rng.choice(codes) if rng.random() < habits.issuer_declines else "",
            passes_challenge=rng.random() < habits.passes_challenge, refunds=rng.random() < habits.refunds,
        )  # fmt: skip
