"""The price of a slot, chosen once: by order, by rule, by policy, or the list price."""

import dataclasses
import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ibook import experiments
from ibook.clock import Clock
from ibook.edges.price_snapshots import Snapshots
from ibook.messages import EventListed, PricePolicy, TicketType
from ibook.price_controls import control_in_force, frozen_price, in_effect, price_by_rule, too_old
from ibook.pricing import PriceChoice, PricingRules
from ibook.settings import Settings

Basis = tuple[object, ...]
"""All that a price depends on."""
Offered = tuple[str, str]
"""Event and ticket type."""


class SlotPrices:
    """Chooses prices, and keeps those of the last slot. Any thread may call."""

    def __init__(self, settings: Settings, snapshots: Snapshots, clock: Clock) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._rules = PricingRules.of(settings)
        self._secret = settings.quote_secret.get_secret_value().encode()
        self._shares = experiments.shares_of(settings)
        self._by_rule: dict[Offered, tuple[Basis, PriceChoice]] = {}
        """The last slot that was priced by rule, what held in it, and its price."""
        self._chosen: dict[Offered, tuple[Basis, PriceChoice]] = {}
        """What the last price was chosen from, and that price: most requests ask for it again."""
        self._steady = threading.Lock()

    def policy(self, event_id: str, slot: int) -> PricePolicy | None:
        """The policy that decides an event's prices in a slot, learned or gone back to."""
        known = self._snapshots
        control = control_in_force(known.controls, event_id, self._clock.now())
        return in_effect(known.policies.get(event_id), control, slot, self._rules)

    def choose(self, listing: EventListed, ticket: TicketType, slot: int) -> PriceChoice:
        """The slot's price of a ticket type: by order, by rule, by policy, or the list price."""
        known, event_id = self._snapshots, listing.event_id
        control = control_in_force(known.controls, event_id, self._clock.now())
        if control is not None and control.frozen:
            return frozen_price(ticket)
        learned = known.policies.get(event_id)
        basis = (slot, listing, ticket, control, learned, known.experiment)
        chosen_from, choice = self._chosen.get((event_id, ticket.name), (None, None))
        if choice is None or chosen_from != basis:
            steady = (slot, _sold_as(listing), ticket, control)
            choice = self._choose(listing, ticket, slot, in_effect(learned, control, slot, self._rules), steady)
            if control is not None:  # what was gone back to does not learn: it is not what the experiment compares
                choice = dataclasses.replace(choice, decided_by="")
            self._chosen[event_id, ticket.name] = basis, choice
        return choice

    def forget_what_is_over(self, now: datetime) -> None:
        """Of events that have begun, or were taken off the list."""
        forget_what_is_over((self._by_rule, self._chosen), self._snapshots, now)

    def _choose(
        self, listing: EventListed, ticket: TicketType, slot: int, policy: PricePolicy | None, steady: Basis
    ) -> PriceChoice:
        event_id = listing.event_id
        with self._steady:
            made_from, by_rule = self._by_rule.get((event_id, ticket.name), (None, None))
            if by_rule is not None and made_from == steady:
                return by_rule  # seats sell and policies come in the middle of a slot; its price stays
            if too_old(policy, slot, self._rules):
                seats_left = self._snapshots.seats_left(event_id)
                choice = price_by_rule(listing, ticket, seats_left, slot, self._rules)
                self._by_rule[event_id, ticket.name] = steady, choice
                return choice
        trial = experiments.trial_of(self._snapshots.experiment, self._shares, slot, self._rules)
        return experiments.choose(
            policy, event_id, ticket, slot=slot, secret=self._secret, rules=self._rules, trial=trial
        )


def is_over(listing: EventListed | None, now: datetime) -> bool:
    """Whether the event has begun, or was taken off the list."""
    return listing is None or now >= listing.starts_at


def forget_what_is_over(prepared: Iterable[dict[tuple[str, Any], Any]], known: Snapshots, now: datetime) -> None:
    """Of what is kept by event id and something else."""
    for each in prepared:
        for key in list(each):  # a copy: the page's threads add to it
            if is_over(known.listings.get(key[0]), now):
                each.pop(key, None)


def _sold_as(listing: EventListed) -> Basis:
    """What the rule's price depends on, beside the ticket type, until somebody changes the listing."""
    return listing.currency, listing.capacity, listing.on_sale_at, listing.starts_at
