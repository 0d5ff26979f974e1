"""`POST /v1/quotes` and `GET /v1/events/{event_id}/price`: the slot's price, from memory."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from ibook import experiments, metrics, pricing
from ibook.clock import Clock
from ibook.edges.price_snapshots import Snapshots
from ibook.messages import EventListed, PricePolicy, QuoteIssued, TicketType
from ibook.price_controls import control_in_force, frozen_price, in_effect, price_by_rule, too_old
from ibook.pricing import PriceChoice, PricingRules
from ibook.quotes import ACCOUNT, Quote, QuoteKeys, quote_keys, tag
from ibook.settings import Settings
from serving.journal import Journal
from serving.schemas import (
    EventPrices,
    ExpectedRevenue,
    ExpectedSales,
    Problem,
    QuoteRequest,
    QuoteResponse,
    TicketPrice,
)

REMEMBERED_KEYS = 100_000
"""Idempotency keys remembered beyond their slot; within a slot the key itself leads to the same quote."""

router = APIRouter(prefix="/v1", tags=["prices"])


class Remembered:
    """Quotes given for an idempotency key, until they expire; the oldest make room.

    Kept as JSON: a hundred thousand live objects would make Python's garbage collector stop requests for long.
    """

    def __init__(self, room: int = REMEMBERED_KEYS) -> None:
        self._room = room
        self._quotes: OrderedDict[tuple[str, str, str], tuple[datetime, str]] = OrderedDict()

    def find(self, request: QuoteRequest, now: datetime) -> QuoteResponse | None:
        """The quote given for the same request, if it is still valid."""
        expires_at, quote = self._quotes.get(self._key(request), (now, ""))
        return QuoteResponse.model_validate_json(quote) if now < expires_at else None

    def add(self, request: QuoteRequest, quote: QuoteResponse) -> None:
        """Remember a quote when the request has a key."""
        if request.idempotency_key is None:
            return
        self._quotes[self._key(request)] = quote.expires_at, quote.model_dump_json()
        if len(self._quotes) > self._room:
            self._quotes.popitem(last=False)

    @staticmethod
    def _key(request: QuoteRequest) -> tuple[str, str, str]:
        return request.event_id, request.ticket_type, request.idempotency_key or ""


@dataclass
class PriceDesk:
    """All that answering needs, in memory."""

    settings: Settings
    snapshots: Snapshots
    journal: Journal
    clock: Clock
    rules: PricingRules = field(init=False)
    keys: QuoteKeys = field(init=False)
    remembered: Remembered = field(default_factory=Remembered)
    _by_rule: dict[tuple[str, str], tuple[int, PriceChoice]] = field(default_factory=dict)
    """Event and ticket type -> the last slot that was priced by rule, and its price."""
    _chosen: dict[tuple[str, str], tuple[tuple[object, ...], PriceChoice]] = field(default_factory=dict)
    """Event and ticket type -> what its last price was chosen from, and that price: most requests ask for it again."""
    _steady: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.rules = PricingRules.of(self.settings)
        self.keys = quote_keys(self.settings)
        self._secret = self.settings.quote_secret.get_secret_value().encode()
        self._shares = experiments.shares_of(self.settings)

    def prices(self, event_id: str, ticket_type: str | None) -> EventPrices:
        """The current slot's prices of an event. Raises HTTPException 404 or 503."""
        listing, tickets = self._find(event_id, ticket_type)
        slot = pricing.slot_of(self.clock.now(), self.rules.slot_seconds)
        choices = [(ticket, self.choose(listing, ticket, slot)) for ticket in tickets]
        return EventPrices(
            event_id=event_id,
            currency=listing.currency,
            slot_ends_at=pricing.slot_start(slot + 1, self.rules.slot_seconds),
            policy_version=known.version if (known := self.snapshots.policies.get(event_id)) else 0,
            prices=[
                TicketPrice(
                    ticket_type=ticket.name,
                    price_minor=choice.price_minor,
                    list_price_minor=ticket.list_price_minor,
                    source=choice.source,
                )
                for ticket, choice in choices
            ],
        )

    def quote(self, request: QuoteRequest) -> QuoteResponse:
        """A signed price, journalled as an offer. Raises HTTPException 404 or 503."""
        now = self.clock.now()
        if request.idempotency_key is not None and (given := self.remembered.find(request, now)):
            return given
        listing, [ticket] = self._find(request.event_id, request.ticket_type)
        slot = pricing.slot_of(now, self.rules.slot_seconds)
        choice = self.choose(listing, ticket, slot)
        issued = self._issue(request, listing, choice, slot, now)
        if not self.journal.record(issued):
            # Nobody will learn from this offer, so it must not be part of the experiment.
            choice = pricing.list_price(ticket)
            issued = self._issue(request, listing, choice, slot, now)
        quote = _response(issued, choice)
        self.remembered.add(request, quote)
        metrics.QUOTES.labels(choice.source).inc()
        return quote

    def outdated(self) -> int:
        """Events whose policy is too old to be used."""
        slot = pricing.slot_of(self.clock.now(), self.rules.slot_seconds)
        return sum(too_old(policy, slot, self.rules) for policy in list(self.snapshots.policies.values()))

    def ordered(self) -> str:
        """Whose prices people have frozen or rolled back, in words; empty when nobody's are."""
        controls, now = self.snapshots.controls, self.clock.now()
        in_force = [key for key in list(controls) if control_in_force(controls, key, now) is controls.get(key)]
        return "all events" if "" in in_force else f"{len(in_force)} events" if in_force else ""

    def _find(self, event_id: str, ticket_type: str | None) -> tuple[EventListed, Sequence[TicketType]]:
        listing = self.snapshots.listings.get(event_id)
        if listing is None and not self.snapshots.loaded:
            raise HTTPException(503, f"Events are not known yet: {self.snapshots.problem}")
        if listing is None:
            raise HTTPException(404, f"Event {event_id!r} is not listed.")
        if ticket_type is None:
            return listing, listing.ticket_types
        found = [ticket for ticket in listing.ticket_types if ticket.name == ticket_type]
        if not found:
            raise HTTPException(404, f"Event {event_id!r} has no ticket type {ticket_type!r}.")
        return listing, found[:1]

    def policy(self, event_id: str, slot: int) -> PricePolicy | None:
        """The policy that decides an event's prices in a slot, learned or gone back to."""
        known = self.snapshots
        control = control_in_force(known.controls, event_id, self.clock.now())
        return in_effect(known.policies.get(event_id), control, slot, self.rules)

    def choose(self, listing: EventListed, ticket: TicketType, slot: int) -> PriceChoice:
        """The slot's price of a ticket type: by order, by rule, by policy, or the list price. Any thread may call."""
        known, event_id = self.snapshots, listing.event_id
        control = control_in_force(known.controls, event_id, self.clock.now())
        if control is not None and control.frozen:
            return frozen_price(ticket)
        learned = known.policies.get(event_id)
        basis = (slot, ticket, control, learned, known.experiment)
        chosen_from, choice = self._chosen.get((event_id, ticket.name), (None, None))
        if choice is None or chosen_from != basis:
            choice = self._choose(listing, ticket, slot, in_effect(learned, control, slot, self.rules))
            self._chosen[event_id, ticket.name] = basis, choice
        return choice

    def _choose(self, listing: EventListed, ticket: TicketType, slot: int, policy: PricePolicy | None) -> PriceChoice:
        event_id = listing.event_id
        with self._steady:
            begun, by_rule = self._by_rule.get((event_id, ticket.name), (None, None))
            if by_rule is not None and begun == slot:
                return by_rule  # seats sell and policies come in the middle of a slot; its price stays
            if too_old(policy, slot, self.rules):
                seats_left = self.snapshots.seats_left(event_id)
                choice = price_by_rule(listing, ticket, seats_left, slot, self.rules)
                self._by_rule[event_id, ticket.name] = slot, choice
                return choice
        trial = experiments.trial_of(self.snapshots.experiment, self._shares, slot, self.rules)
        return experiments.choose(
            policy, event_id, ticket, slot=slot, secret=self._secret, rules=self.rules, trial=trial
        )

    def _issue(
        self, request: QuoteRequest, listing: EventListed, choice: PriceChoice, slot: int, now: datetime
    ) -> QuoteIssued:
        key = request.idempotency_key
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
                nonce=secrets.token_bytes(8)
                if key is None
                else self.keys.repeatable_nonce(request.event_id, request.ticket_type, slot, key),
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
            buyer="" if request.buyer is None else self.keys.pseudonym(ACCOUNT, request.buyer),
        )


def _response(issued: QuoteIssued, choice: PriceChoice) -> QuoteResponse:
    (low, high), price = choice.interval, choice.price_minor
    return QuoteResponse(
        quote_id=issued.quote_id,
        event_id=issued.event_id,
        ticket_type=issued.ticket_type,
        price_minor=issued.price_minor,
        currency=issued.currency,
        expires_at=issued.expires_at,
        expected_sales=ExpectedSales(mean=choice.expected_sales, low=low, high=high),
        expected_revenue=ExpectedRevenue(mean=choice.expected_sales * price, low=low * price, high=high * price),
        explanation=choice.why,
        source=choice.source,
    )


_PROBLEMS: dict[int | str, dict[str, object]] = {code: {"model": Problem} for code in (404, 413, 422, 503)}


# An event id may hold a slash.
@router.get(
    "/events/{event_id:path}/price", response_model=EventPrices, responses=_PROBLEMS,
    summary="Current prices of an event, for lists",
)  # fmt: skip
async def get_price(
    request: Request,
    event_id: Annotated[str, Path(min_length=1, max_length=128)],
    ticket_type: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
) -> Response:
    """The slot's price per ticket type: the same for every buyer until the slot ends. No offer is counted."""
    desk: PriceDesk = request.app.state.desk
    return _json(desk.prices(event_id, ticket_type))


@router.post("/quotes", response_model=QuoteResponse, responses=_PROBLEMS, summary="A signed price to show to a buyer")
async def post_quote(request: Request, body: QuoteRequest) -> Response:
    """Ask for it when a price is shown, not when the buyer has decided: every shown price is an offer."""
    desk: PriceDesk = request.app.state.desk
    began = time.perf_counter()
    quote = desk.quote(body)
    metrics.QUOTE_SECONDS.observe(time.perf_counter() - began)
    return _json(quote)


def _json(body: BaseModel) -> Response:
    """As it is: FastAPI would check once more what was just made."""
    return Response(body.model_dump_json(), media_type="application/json")
