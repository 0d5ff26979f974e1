"""Who visits the shop: people as they are, some of whom look like an attack and are none.

Families on one device, offices behind one address, travellers, newcomers, forgotten passwords, groups and fan clubs
that buy together, gifts, people who hold seats and only dream, people who keep calling off.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from simulator.catalogue import Event, Ticket
from simulator.demand import Segment
from simulator.engine import SECOND_US, Engine
from simulator.people import COUNTRIES, N_CARRIER_ADDRESSES, N_OFFICES, Card, Household, User
from simulator.scene import dwell
from simulator.visits import Visitor
from simulator.world import World

HASTY_PACE = 0.03
Entry = Literal["known", "login", "forgot", "new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How often honest people do what. Shares of visits; assumed where domain research gives no figure."""

    newcomer: float = 0.08
    forgot_password: float = 0.03
    new_device: float = 0.05
    traveller: float = 0.03
    group: float = 0.006
    fan_club: float = 0.0025
    """Many fans take many seats of one event at once, some with the club's card: like a ring of scalpers."""
    window_shopper: float = 0.03
    """Holds seats again and again and gives them back: like hoarding."""
    dream_comes_true: float = 0.4
    """Share of them who buy in the end."""
    gift_buyer: float = 0.025
    """Buys for others and hands the tickets over: like a looted account."""
    hands_over: float = 0.75
    calls_off: float = 0.45
    """Share of orders that people who keep calling off give back: like refund abuse."""
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


@dataclass(slots=True, kw_only=True)
class Guest:
    """One visit: who, with which cards, how they come in, and what was agreed on before."""

    visitor: Visitor
    cards: tuple[Card, ...]
    entry: Entry
    segment: Segment
    look_alike: str = ""
    wish: Wish | None = None
    pace: float = 1.0
    """How much longer than others this visitor takes to look around."""


class Guests:
    """Draws guests."""

    def __init__(self, world: World, engine: Engine, rng: Random, habits: Habits) -> None:
        self._world, self._engine, self._rng, self.habits = world, engine, rng, habits
        self._drawn = 0

    def arrivals(self, hasty: bool) -> list[tuple[float, Guest]]:
        """The next guest, or the members of a group, with the seconds until each arrives.

        A hasty guest knows what to buy and does not look around.
        """
        if hasty:
            guest = self._guest()
            guest.entry, guest.pace = "known", HASTY_PACE
            if guest.look_alike == "window_shopper":
                guest.look_alike = ""
            return [(0.0, guest)]
        luck = self._rng.random()
        if luck < self.habits.group:
            return self._group()
        if luck > 1 - self.habits.fan_club:
            return self._fan_club()
        delay, guest = self._rng.random(), self._guest()
        guest.pace = dwell(self._rng, 1.3, spread=0.8)
        return [(delay, guest)]

    def _guest(self) -> Guest:
        rng, habits = self._rng, self.habits
        if rng.random() < habits.newcomer:
            return self._newcomer()
        household = self._world.household(rng)
        user = rng.choice(household.users)
        guest = self._at_home(household, user)
        luck = rng.random()
        if luck < habits.forgot_password:
            device = self._fresh_device() if rng.random() < 0.4 else guest.visitor.device_id
            guest.entry, guest.look_alike = "forgot", "forgot_password"
            guest.visitor = replace(guest.visitor, device_id=device)
        elif luck < habits.forgot_password + habits.new_device:
            guest.entry, guest.look_alike = "login", "new_device"
            guest.visitor = replace(guest.visitor, device_id=self._fresh_device())
        elif luck > 1 - habits.window_shopper:
            guest.look_alike = "window_shopper"
        elif luck > 1 - habits.window_shopper - habits.gift_buyer:
            guest.look_alike = "gift_buyer"
        return guest

    def _at_home(self, household: Household, user: User) -> Guest:
        rng, habits, people = self._rng, self.habits, self._world.people
        device, address, look_alike = user.device_id, household.home, "honest_refund" if household.calls_off else ""
        luck = rng.random()
        if luck < habits.traveller:
            address, look_alike = people.address(rng, COUNTRIES.draw(rng)), "traveller"
        elif user.office is not None and luck < habits.traveller + habits.office:
            address, look_alike = user.office, "office_ip"
        elif luck > 1 - habits.mobile:
            address = people.carrier(household.country, rng.randrange(N_CARRIER_ADDRESSES))
        elif household.shared_device and rng.random() < habits.family_device:
            device, look_alike = household.shared_device, "family_device"
        entry: Entry = "login" if rng.random() < habits.log_in else "known"
        segment: Segment = "tourists" if look_alike == "traveller" else household.segment
        return Guest(
            visitor=Visitor(user, device, address), cards=user.cards, entry=entry, segment=segment,
            look_alike=look_alike,
        )  # fmt: skip

    def _newcomer(self) -> Guest:
        rng = self._rng
        self._drawn += 1
        opened_us = self._engine.now_us - int(rng.choice((5, 60, 900, 20_000)) * rng.random() * SECOND_US)
        household = self._world.people.newcomer(rng, f"{rng.getrandbits(64)}/{self._drawn}", opened_us)
        user, address = household.users[0], household.home
        if rng.random() < 0.1:
            address = self._world.people.address(rng, COUNTRIES.draw(rng))
        visitor = Visitor(user, user.device_id, address)
        return Guest(visitor=visitor, cards=user.cards, entry="new", segment=household.segment, look_alike="new_user")

    def _group(self) -> list[tuple[float, Guest]]:
        """Friends or colleagues who agreed on an event and buy within a minute or two, some on one device."""
        rng, world = self._rng, self._world
        event = world.cheap_event(rng) if rng.random() < 0.5 else world.event(rng)
        ticket = world.cheapest_ticket(event) if rng.random() < 0.4 else world.ticket(rng, event)
        office = world.people.office(rng.randrange(N_OFFICES))
        shared = self._fresh_device() if rng.random() < 0.5 else None
        alone = rng.random() < 0.5  # a class or club: one seat each
        members = []
        for _ in range(rng.randint(4, 12)):
            guest = self._newcomer() if rng.random() < 0.4 else self._guest()
            visitor = replace(guest.visitor, address=office, device_id=shared or guest.visitor.device_id)
            member = replace(guest, visitor=visitor, look_alike="group", wish=Wish(event, ticket, 1 if alone else None))
            members.append((rng.uniform(0, 100), member))
        return members

    def _fan_club(self) -> list[tuple[float, Guest]]:
        """Members at home and in the clubhouse, all after the same event within minutes, as many seats as they may."""
        rng, world = self._rng, self._world
        event, clubhouse = world.event(rng, "fans"), world.people.office(rng.randrange(N_OFFICES))
        issuer, country = rng.choice(world.people.bins)
        members = []
        for _ in range(rng.randint(6, 16)):
            guest = self._newcomer() if rng.random() < 0.15 else self._guest()
            if rng.random() < 0.4:
                guest = replace(guest, visitor=replace(guest.visitor, address=clubhouse))
            if rng.random() < 0.5:
                card = world.people.card(rng, country, f"club/{issuer}/{guest.visitor.user.user_id}", issuer)
                guest = replace(guest, cards=(card, *guest.cards))
            wish = Wish(event, world.ticket(rng, event), rng.choice((2, 3, 4, 4, 6)))
            members.append((rng.expovariate(1 / 90), replace(guest, look_alike="fan_club", wish=wish)))
        return members

    def _fresh_device(self) -> str:
        return self._world.people.device(f"fresh/{self._rng.getrandbits(64)}")
