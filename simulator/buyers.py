"""Honest visitors: they look, decide by their hidden demand, hold, pay or leave."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random
from typing import Any

from simulator.catalogue import Event, Ticket
from simulator.demand import Demand
from simulator.engine import SECOND_US, Await, Pause, Process
from simulator.guests import Guest, Guests, Habits
from simulator.people import Card
from simulator.scene import Scene, dwell, party_size
from simulator.shop import Paid
from simulator.visits import HONEST, Intent, Nature, Offer


@dataclass(frozen=True, slots=True)
class Choice:
    """What a visitor decided to buy."""

    event: Event
    ticket: Ticket
    n_tickets: int
    offer: Offer


class Buyers:
    """Draws visits. `door` is yielded before each payment: it paces purchases, and hears who `missed` theirs."""

    def __init__(
        self, scene: Scene, rng: Random, door: Await, habits: Habits, missed: Callable[[], None] = lambda: None
    ) -> None:
        self._scene, self._rng, self._door, self._habits, self._missed = scene, rng, door, habits, missed
        self._guests = Guests(scene.world, scene.engine, rng, habits)

    @property
    def habits(self) -> Habits:
        """What honest people do how often; may be set anew while they are at it: who is in the shop changes too."""
        return self._habits

    @habits.setter
    def habits(self, habits: Habits) -> None:
        self._habits = self._guests.habits = habits

    def arrivals(self, hasty: bool = False) -> list[tuple[float, Process]]:
        """The next visit, or the visits of a group: seconds until each begins, and the visit."""
        return [(delay, self._visit(guest)) for delay, guest in self._guests.arrivals(hasty)]

    def _visit(self, guest: Guest) -> Process:
        yield from self._enter(guest)
        if guest.look_alike == "window_shopper" and not (yield from self._dream(guest)):
            return
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
        elif paid.result == "paid" and rng.random() < self._gives_away(guest):
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
            yield dwell(rng, 2.0)
            if rng.random() < 0.6:
                front.change_account(guest.visitor, "password")
            yield dwell(rng, 20.0, spread=1.0)
        elif guest.entry == "login":
            if rng.random() < 0.06:
                front.log_in(guest.visitor, succeeded=False)
                yield dwell(rng, 2.0)
            front.log_in(guest.visitor, succeeded=True)
            yield dwell(rng, 2.0)
            if guest.look_alike == "new_device" and rng.random() < 0.2:
                front.change_account(guest.visitor, rng.choice(("phone", "password", "email")))
                yield dwell(rng, 20.0, spread=1.0)

    def _dream(self, guest: Guest) -> Generator[Pause, Any, bool]:
        """Put seats into the cart, think about them, give them back, again and again; whether to buy after all."""
        rng, front = self._rng, self._scene.storefront
        for _ in range(rng.randint(1, 3)):
            event, ticket, n_seats = self._fancy(guest)
            if not self._scene.on_sale(event, n_seats):
                continue
            front.view(guest.visitor, event)
            yield from self._looked_at(guest, event, ticket, n_seats)
            yield dwell(rng, 3.0)
            hold_id = front.hold(guest.visitor, event, n_seats)
            yield dwell(rng, 5.0)
            if hold_id is not None:
                front.release(guest.visitor, event, hold_id, n_seats)
                yield dwell(rng, 2.0)
        return rng.random() < self._habits.dream_comes_true

    def _gives_away(self, guest: Guest) -> float:
        return self._habits.hands_over if guest.look_alike == "gift_buyer" else self._habits.gives_away

    def _looked_at(
        self, guest: Guest, event: Event, ticket: Ticket, n_tickets: int
    ) -> Generator[Pause, Any, tuple[Offer, Demand]]:
        """The price a visitor is shown, and how the visitor decides; who has agreed on something does not."""
        demand = self._scene.world.demand(event, ticket, guest.segment)
        offer = yield from self._scene.shown_price(guest.visitor, event, ticket)
        if guest.wish is None:
            self._scene.storefront.looked(event, ticket, demand, n_tickets)
        return offer, demand

    def _choose(self, guest: Guest) -> Generator[Pause, Any, Choice | None]:
        rng, scene = self._rng, self._scene
        for _ in range(4):
            event, ticket, n_tickets = self._fancy(guest)
            if not scene.on_sale(event, n_tickets):
                continue
            yield from scene.in_line(rng, event, guest.pace)
            scene.storefront.view(guest.visitor, event)
            offer, demand = yield from self._looked_at(guest, event, ticket, n_tickets)
            yield dwell(rng, 3.0 * guest.pace)
            if guest.wish or rng.random() < demand.probability(offer.price_minor):
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
        event = world.event(rng, guest.segment)
        return event, world.ticket(rng, event), party_size(rng, event)

    # ----------------------------------------------------------------------------------------------- checkout
    def _pay(self, guest: Guest, choice: Choice, hold_id: str | None) -> Generator[Pause, Any, Paid]:
        rng = self._rng
        card, look_alike = guest.cards[0 if rng.random() < 0.8 else -1], guest.look_alike
        paid = Paid("refused")
        for _ in range(3):
            offer = yield from self._valid_offer(guest, choice, choice.offer, for_seconds=5.0)
            if offer.price_minor > choice.offer.price_minor and not self._stays(guest, choice, offer):
                break
            yield self._door
            offer = yield from self._valid_offer(guest, choice, offer, for_seconds=0.0)
            intent = Intent(
                visitor=guest.visitor, card=card, event=choice.event, ticket=choice.ticket,
                n_tickets=choice.n_tickets, offer=offer, nature=self._nature(look_alike), hold_id=hold_id,
            )  # fmt: skip
            paid = yield from self._scene.paid(intent)
            if paid.result == "sold_out":
                self._missed()
            if paid.result != "declined" or rng.random() >= self._habits.tries_again:
                break
            yield dwell(rng, 4.0)
            if rng.random() < 0.7:
                card, look_alike = self._other_card(guest), look_alike or "several_cards"
        return paid

    def _valid_offer(
        self, guest: Guest, choice: Choice, offer: Offer, *, for_seconds: float
    ) -> Generator[Pause, Any, Offer]:
        """The offer, or a new one when it holds no longer than that."""
        until_us = self._scene.engine.now_us + int(for_seconds * SECOND_US)
        if offer.expires_us is None or until_us < offer.expires_us:
            return offer
        return (yield from self._scene.shown_price(guest.visitor, choice.event, choice.ticket))

    def _stays(self, guest: Guest, choice: Choice, offer: Offer) -> bool:
        """Who wanted to buy at the old price wants to at a higher one with P(higher) / P(old)."""
        demand = self._scene.world.demand(choice.event, choice.ticket, guest.segment)
        share = demand.probability(offer.price_minor) / demand.probability(choice.offer.price_minor)
        return guest.wish is not None or self._rng.random() < share

    def _other_card(self, guest: Guest) -> Card:
        people, rng = self._scene.world.people, self._rng
        if len(guest.cards) > 1:
            return rng.choice(guest.cards[1:])
        return people.card(rng, guest.cards[0].country, f"spare/{guest.visitor.user.user_id}")

    def _nature(self, look_alike: str) -> Nature:
        rng, habits = self._rng, self._habits
        disputes = rng.random() < habits.disputes
        refunds = rng.random() < (habits.calls_off if look_alike == "honest_refund" else habits.refunds)
        codes = ("insufficient_funds", "do_not_honor", "incorrect_cvc", "expired_card")
        return Nature(
            pattern="friendly" if disputes else HONEST, look_alike=look_alike, disputes=disputes,
            decline_code=rng.choice(codes) if rng.random() < habits.issuer_declines else "",
            passes_challenge=rng.random() < habits.passes_challenge, refunds=refunds,
        )  # fmt: skip
