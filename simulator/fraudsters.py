"""Attackers: card testing in bursts and low and slow, account takeover, and the single stolen card.

They see the same pages, prices and events as everybody, hold seats as others do, and their ids look like all ids.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random
from typing import Any

from simulator.catalogue import DAY_US, Event, Ticket
from simulator.engine import Pause, Process
from simulator.people import COUNTRIES, DOMAINS, Address, Card, User
from simulator.scene import Scene, dwell, party_size
from simulator.shop import Paid
from simulator.visits import Intent, Nature, Visitor

Span = tuple[float, float]
CAMPAIGNS = ("card-testing", "card-testing-slow", "account-takeover")
"""Patterns whose purchases belong together; a stolen card is used alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """Seconds between the steps of an attack; a minute's demo needs them shorter than a day's history."""

    burst_gap: Span = (0.5, 4.0)
    slow_gap: Span = (60.0, 600.0)
    takeover_gap: float = 25.0
    """Median between credential change and purchase, and between two victims."""


LIVE_TEMPO = Tempo(burst_gap=(0.15, 0.7), slow_gap=(2.0, 12.0), takeover_gap=3.0)


@dataclass(frozen=True, slots=True)
class Kit:
    """What a card tester works with."""

    number: int | None
    devices: tuple[str, ...]
    addresses: tuple[Address, ...]
    issuers: tuple[tuple[str, str], ...]
    decline_rate: float
    pattern: str
    pause: float
    """Median seconds on a page."""


class Fraudsters:
    """Draws attacks. Each is a behaviour that starts the attempts of its campaign."""

    def __init__(self, scene: Scene, rng: Random, tempo: Tempo) -> None:
        self._scene, self._rng, self._tempo = scene, rng, tempo
        self._patterns: dict[str, Callable[[int | None], Process]] = {
            "card-testing": self._card_testing_burst,
            "card-testing-slow": self._card_testing_slow,
            "account-takeover": self._account_takeover,
            "stolen-card": self._stolen_card,
        }

    @property
    def patterns(self) -> tuple[str, ...]:
        """What can be launched."""
        return tuple(self._patterns)

    def launch(self, pattern: str) -> int | None:
        """Begin an attack now; its number, None for a single stolen card. Raises KeyError for an unknown pattern."""
        begin = self._patterns[pattern]
        number = self._scene.truth.begin_attack(pattern, self._scene.engine.now_us) if pattern in CAMPAIGNS else None
        self._scene.engine.start(begin(number))
        return number

    # ------------------------------------------------------------------------------------------- card testing
    def _card_testing_burst(self, number: int | None) -> Process:
        """Many cards within a minute or two on very few devices and addresses."""
        kit = self._kit("card-testing", number, devices=(2, 5), addresses=(1, 4), issuers=(1, 3), pause=1.5)
        return self._test_cards(kit, self._rng.randint(15, 40), self._tempo.burst_gap)

    def _card_testing_slow(self, number: int | None) -> Process:
        """The same over hours, with more devices and addresses, one card at a time."""
        kit = self._kit("card-testing-slow", number, devices=(6, 14), addresses=(4, 10), issuers=(2, 5), pause=3.0)
        return self._test_cards(kit, self._rng.randint(8, 20), self._tempo.slow_gap)

    def _kit(
        self, pattern: str, number: int | None, *, devices: tuple[int, int], addresses: tuple[int, int],
        issuers: tuple[int, int], pause: float,
    ) -> Kit:  # fmt: skip
        rng, people = self._rng, self._scene.world.people
        country = COUNTRIES.draw(rng)
        first = people.address(rng, country)
        subnet = first.ip.rsplit(".", 1)[0]
        near = [Address(f"{subnet}.{rng.randrange(1, 255)}", country) for _ in range(rng.randint(*addresses) - 1)]
        return Kit(
            number=number,
            devices=tuple(self._device() for _ in range(rng.randint(*devices))),
            addresses=(first, *near),
            issuers=tuple(rng.sample(people.bins, rng.randint(*issuers))),
            decline_rate=rng.uniform(0.4, 0.8), pattern=pattern, pause=pause,
        )  # fmt: skip

    def _test_cards(self, kit: Kit, n_cards: int, gap: Span) -> Process:
        rng = self._rng
        account = self._account()
        for _ in range(n_cards):
            if rng.random() < 0.7:
                account = self._account()
            visitor = Visitor(account, rng.choice(kit.devices), rng.choice(kit.addresses))
            self._scene.engine.start(self._test_card(kit, visitor, self._stolen(rng.choice(kit.issuers))))
            yield rng.uniform(*gap)

    def _test_card(self, kit: Kit, visitor: Visitor, card: Card) -> Process:
        rng, world = self._rng, self._scene.world
        for _ in range(1 if rng.random() < 0.85 else 2):
            event = world.cheap_event(rng)
            cheap = rng.random() < 0.7
            ticket = world.cheapest_ticket(event) if cheap else world.ticket(rng, event)
            nature = self._nature(kit.pattern, kit.number, declines=kit.decline_rate, disputes=0.6, passes=0.03)
            n_tickets = 1 if rng.random() < 0.8 else party_size(rng, event)
            yield from self._buy(visitor, card, event, ticket, n_tickets, nature, pause=kit.pause)

    # --------------------------------------------------------------------------------------- account takeover
    def _account_takeover(self, number: int | None) -> Process:
        """A list of leaked passwords worked through: some logins fail, some accounts buy within minutes."""
        rng = self._rng
        devices = [self._device() for _ in range(rng.randint(2, 6))]
        for _ in range(rng.randint(2, 6)):
            address = self._scene.world.people.address(rng, COUNTRIES.draw(rng))
            self._scene.engine.start(self._take_over(number, rng.choice(devices), address))
            yield dwell(rng, self._tempo.takeover_gap, spread=1.0)

    def _take_over(self, number: int | None, device: str, address: Address) -> Process:
        rng, front = self._rng, self._scene.storefront
        household = self._scene.world.household(rng)
        user = rng.choice(household.users)
        if rng.random() < 0.5:  # through a proxy in the victim's country
            address = self._scene.world.people.address(rng, household.country)
        visitor = Visitor(user, device, address)
        for _ in range(rng.choice((0, 0, 0, 0, 1, 3))):
            front.log_in(visitor, succeeded=False)
            yield dwell(rng, 1.5)
        front.log_in(visitor, succeeded=True)
        if rng.random() < 0.5:
            front.change_account(visitor, rng.choice(("email", "password", "phone")))
        yield dwell(rng, self._tempo.takeover_gap, spread=1.0)
        for _ in range(rng.choice((1, 1, 1, 2))):
            yield from self._loot(number, visitor)

    def _loot(self, number: int | None, visitor: Visitor) -> Generator[Pause, Any, None]:
        rng, scene = self._rng, self._scene
        event = scene.world.event(rng)
        ticket = scene.world.ticket(rng, event)
        nature = self._nature("account-takeover", number, declines=0.08, disputes=0.8, passes=0.15)
        n_tickets = max(2, party_size(rng, event))
        paid = yield from self._buy(visitor, visitor.user.cards[0], event, ticket, n_tickets, nature, pause=3.0)
        if paid.result == "paid" and rng.random() < 0.6:
            yield dwell(rng, self._tempo.takeover_gap, spread=1.0)
            scene.storefront.transfer(visitor, event, paid.transaction_id, n_tickets)

    # -------------------------------------------------------------------------------------------- stolen card
    def _stolen_card(self, number: int | None) -> Process:
        """One person with one stolen card: the fraud that is always there, outside any campaign."""
        rng, world = self._rng, self._scene.world
        owner = world.household(rng)
        card = rng.choice(rng.choice(owner.users).cards)
        address = world.people.address(rng, card.country if rng.random() < 0.75 else COUNTRIES.draw(rng))
        visitor = Visitor(self._account(), self._device(), address)
        for _ in range(rng.choice((1, 1, 1, 1, 2))):
            event = world.event(rng)
            ticket = world.ticket(rng, event)
            nature = self._nature("stolen-card", number, declines=0.25, disputes=0.85, passes=0.1)
            yield from self._buy(visitor, card, event, ticket, party_size(rng, event), nature, pause=3.0)
            yield dwell(rng, 30.0)

    # ------------------------------------------------------------------------------------------------ details
    def _buy(
        self, visitor: Visitor, card: Card, event: Event, ticket: Ticket, n_tickets: int, nature: Nature, *,
        pause: float,
    ) -> Generator[Pause, Any, Paid]:  # fmt: skip
        rng, scene = self._rng, self._scene
        if not scene.on_sale(event, n_tickets):
            return Paid("sold_out")
        scene.storefront.view(visitor, event)
        offer = yield from scene.shown_price(event, ticket)
        yield dwell(rng, pause)
        hold_id = scene.storefront.hold(visitor, event, n_tickets) if rng.random() < 0.85 else None
        yield dwell(rng, pause)
        intent = Intent(visitor=visitor, card=card, event=event, ticket=ticket, n_tickets=n_tickets, offer=offer,
                        nature=nature, hold_id=hold_id)  # fmt: skip
        paid = yield from scene.paid(intent)
        if paid.result != "paid" and hold_id is not None:
            scene.storefront.release(visitor, event, hold_id, n_tickets)
        return paid

    def _nature(self, pattern: str, attack: int | None, *, declines: float, disputes: float, passes: float) -> Nature:
        rng = self._rng
        codes = ("incorrect_cvc", "do_not_honor", "insufficient_funds", "expired_card")
        return Nature(
            is_fraud=True, pattern=pattern, attack=attack, disputes=rng.random() < disputes,
            decline_code=rng.choice(codes) if rng.random() < declines else "", passes_challenge=rng.random() < passes,
        )  # fmt: skip

    def _account(self) -> User:
        """An account made or bought for the purpose: minutes to two years old."""
        rng = self._rng
        age_us = int(rng.choice((0.01, 0.5, 20, 700)) * rng.random() * DAY_US)
        key = f"{rng.getrandbits(64)}"
        account = self._scene.world.people.newcomer(rng, key, self._scene.engine.now_us - age_us).users[0]
        return User(account.user_id, account.cards, account.device_id, DOMAINS.draw(rng), account.opened_us, None)

    def _stolen(self, issuer: tuple[str, str]) -> Card:
        number, country = issuer
        return self._scene.world.people.card(self._rng, country, f"{self._rng.getrandbits(64)}", number)

    def _device(self) -> str:
        return self._scene.world.people.device(f"fresh/{self._rng.getrandbits(64)}")
