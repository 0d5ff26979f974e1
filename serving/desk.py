"""What the price API answers, from memory: the slot's prices of an event for lists, and a price as a signed quote."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import get_args

from fastapi import HTTPException

from ibook import metrics, pricing
from ibook.clock import Clock
from ibook.edges.price_snapshots import Snapshots
from ibook.messages import EventListed, QuoteIssued, TicketType
from ibook.price_controls import control_in_force
from ibook.pricing import PriceChoice, PricingRules, Source
from ibook.quotes import ACCOUNT, Quote, QuoteKeys, quote_keys, tag
from ibook.settings import Settings
from serving.answers import quote_response, ticket_price
from serving.journal import Journal
from serving.remembered import Remembered
from serving.schemas import EventPrices, QuoteRequest
from serving.slot_prices import Basis, SlotPrices, forget_what_is_over, is_over


@dataclass
class PriceDesk:
    """All that answering needs, in memory. Quotes and lists are for the event loop alone."""

    settings: Settings
    snapshots: Snapshots
    journal: Journal
    clock: Clock
    rules: PricingRules = field(init=False)
    keys: QuoteKeys = field(init=False)
    slot_prices: SlotPrices = field(init=False)
    remembered: Remembered = field(default_factory=Remembered)
    _lists: dict[tuple[str, str | None], tuple[Basis, bytes]] = field(default_factory=dict)
    """Event, and ticket type if one was asked for -> what the last answer was made from, and the answer."""
    _offers: dict[tuple[str, str], tuple[Basis, bytes]] = field(default_factory=dict)
    """Event and ticket type -> what the last quote was made from, and what all such quotes have in common."""
    _tidied: int = 0
    """The slot at whose begin what is no longer on sale was forgotten."""

    def __post_init__(self) -> None:
        self.rules = PricingRules.of(self.settings)
        self.keys = quote_keys(self.settings)
        self.slot_prices = SlotPrices(self.settings, self.snapshots, self.clock)
        self._counted = {source: metrics.QUOTES.labels(source) for source in get_args(Source)}

    def prices(self, event_id: str, ticket_type: str | None) -> bytes:
        """The current slot's prices of an event, as JSON of EventPrices. Raises HTTPException 404, 410 or 503."""
        known, now = self.snapshots, self.clock.now()
        slot = self._slot(now)
        control = control_in_force(known.controls, event_id, now)
        listing = known.listings.get(event_id)
        basis = (slot, listing, is_over(listing, now), control, known.policies.get(event_id), known.experiment)
        made_from, answer = self._lists.get((event_id, ticket_type), (None, b""))
        if made_from != basis:
            answer = self._prices(event_id, ticket_type, slot, now).model_dump_json().encode()
            self._lists[event_id, ticket_type] = basis, answer
        return answer

    def _prices(self, event_id: str, ticket_type: str | None, slot: int, now: datetime) -> EventPrices:
        listing, tickets = self._find(event_id, ticket_type, now)
        choices = [(ticket, self.slot_prices.choose(listing, ticket, slot)) for ticket in tickets]
        return EventPrices(
            event_id=event_id,
            currency=listing.currency,
            slot_ends_at=pricing.slot_start(slot + 1, self.rules.slot_seconds),
            policy_version=known.version if (known := self.snapshots.policies.get(event_id)) else 0,
            prices=[ticket_price(ticket, choice) for ticket, choice in choices],
        )

    def quote(self, request: QuoteRequest, asked_by: str) -> bytes:
        """A signed price, journalled as an offer, as JSON of QuoteResponse; `asked_by` is the id of an API key.

        Raises HTTPException 404, 410 or 503.
        """
        now = self.clock.now()
        if given := self.remembered.find(request, asked_by, now):
            return given
        slot = self._slot(now)
        listing, [ticket] = self._find(request.event_id, request.ticket_type, now)
        choice = self.slot_prices.choose(listing, ticket, slot)
        issued = self._issue(request, asked_by, listing, choice, slot, now)
        if not self.journal.record(issued):
            # Nobody will learn from this offer, so it must not be part of the experiment.
            choice = pricing.list_price(ticket)
            issued = self._issue(request, asked_by, listing, choice, slot, now)
        answer = self._answer(issued, choice)
        self.remembered.add(request, asked_by, answer, issued.expires_at)
        self._counted[choice.source].inc()
        return answer

    def _slot(self, now: datetime) -> int:
        """The slot of a request; the first one of a slot forgets what was prepared for events that are over."""
        slot = pricing.slot_of(now, self.rules.slot_seconds)
        if slot != self._tidied:
            self._tidied = slot
            self.slot_prices.forget_what_is_over(now)
            forget_what_is_over((self._lists, self._offers), self.snapshots, now)
        return slot

    def _find(self, event_id: str, ticket_type: str | None, now: datetime) -> tuple[EventListed, Sequence[TicketType]]:
        listing = self.snapshots.listings.get(event_id)
        if listing is None and not self.snapshots.loaded:
            what = f"Event {event_id!r} is" if self.snapshots.begun else "Events are"
            raise HTTPException(503, f"{what} not known yet: {self.snapshots.problem}")
        if listing is None:
            raise HTTPException(404, f"Event {event_id!r} is not listed.")
        if is_over(listing, now):  # an offer that nobody could use would teach that its price was too high
            raise HTTPException(410, f"Event {event_id!r} has begun: its sale is over.")
        if ticket_type is None:
            return listing, listing.ticket_types
        found = [ticket for ticket in listing.ticket_types if ticket.name == ticket_type]
        if not found:
            raise HTTPException(404, f"Event {event_id!r} has no ticket type {ticket_type!r}.")
        return listing, found[:1]

    def _issue(
        self, request: QuoteRequest, asked_by: str, listing: EventListed, choice: PriceChoice, slot: int, now: datetime
    ) -> QuoteIssued:
        # All quotes of a slot expire together, so that a repeated request gives the same token anywhere.
        slot_end = pricing.slot_start(slot + 1, self.rules.slot_seconds)
        expires_at = slot_end + timedelta(seconds=self.settings.quote_ttl_seconds)
        quote_id = self.keys.sign(
            Quote(
                event_tag=tag(request.event_id),
                ticket_tag=tag(request.ticket_type),
                price_minor=choice.price_minor,
                slot=slot,
                expires_at=expires_at,
                nonce=self._nonce(request, asked_by, slot),
            )
        )
        return QuoteIssued(
            message_id=quote_id,
            occurred_at=now,
            quote_id=quote_id,
            event_id=request.event_id,
            ticket_type=request.ticket_type,
            currency=listing.currency,
            price_minor=choice.price_minor,
            slot=slot,
            arm=choice.arm,
            propensity=choice.propensity,
            policy_version=choice.policy_version,
            expires_at=expires_at,
            decided_by=choice.decided_by,
            experiment=choice.experiment,
            shares=choice.shares,
            total_propensity=choice.total_propensity,
            list_price_minor=next(t.list_price_minor for t in listing.ticket_types if t.name == request.ticket_type),
            seats_left=self.snapshots.seats_left(request.event_id),
            before_sale=now < listing.on_sale_at,
            buyer="" if request.buyer is None else self.keys.pseudonym(ACCOUNT, request.buyer),
        )

    def _nonce(self, request: QuoteRequest, asked_by: str, slot: int) -> bytes:
        key = request.idempotency_key
        if key is None:
            return secrets.token_bytes(8)
        return self.keys.repeatable_nonce(
            request.event_id, request.ticket_type, slot, key, buyer=request.buyer or "", asked_by=asked_by
        )

    def _answer(self, issued: QuoteIssued, choice: PriceChoice) -> bytes:
        """All but its id is the same for everybody in the slot, and written once."""
        offer, basis = (issued.event_id, issued.ticket_type), (choice, issued.expires_at, issued.currency)
        made_from, common = self._offers.get(offer, (None, b""))
        if made_from != basis:
            common = quote_response(issued, choice).model_dump_json(exclude={"quote_id"}).encode()
            self._offers[offer] = basis, common
        return b'{"quote_id":"%b",%b' % (issued.quote_id.encode(), common[1:])
