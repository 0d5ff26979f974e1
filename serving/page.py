"""`/prices`: what a promoter sees of prices, posteriors, seats, quotes and sales. Made here, loads nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi import Path as InPath
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ibook import pricing
from ibook.messages import ArmProbabilities, EventListed, TicketType
from ibook.money import amount, money
from ibook.price_controls import control_in_force
from ibook.price_history import SlotHistory
from ibook.pricing import RULE_ARM, PriceChoice
from serving.charts import Point, beliefs_chart, prices_chart
from serving.desk import PriceDesk
from serving.experiment_view import experiment_view
from serving.sales import Sales
from serving.slot_prices import is_over

EVENTS_SHOWN = 200
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


class View(NamedTuple):
    """What a page is made from."""

    desk: PriceDesk
    sales: Sales
    now: datetime

    def slots(self, event_id: str, ticket: TicketType) -> list[SlotHistory]:
        """The known slots of a ticket type."""
        history, lock = self.sales.history()
        with lock:
            return history.slots(event_id, ticket.name)


@router.get("/")
async def begin() -> Response:
    """There is one page."""
    return RedirectResponse("/prices", status_code=307)


@router.get("/prices")
def get_events(request: Request, q: Annotated[str, Query(max_length=100)] = "") -> Response:
    """Every event that is listed, or those whose name or id has the text: what is still on sale first."""
    view = _view(request)
    wanted = q.strip().casefold()
    listings = [
        listing
        for listing in list(view.desk.snapshots.listings.values())
        if wanted in listing.name.casefold() or wanted in listing.event_id.casefold()
    ]
    listings.sort(key=partial(_soonest_first, now=view.now))
    rows = [_row(view, listing) for listing in listings[:EVENTS_SHOWN]]
    more = max(0, len(listings) - EVENTS_SHOWN)
    trial = experiment_view(view.desk)
    return _page(view, "events", title="Prices", events=rows, asked=q, more=more, experiment=trial)


@router.get("/prices/{event_id:path}")
def get_event(request: Request, event_id: Annotated[str, InPath(min_length=1, max_length=128)]) -> Response:
    """One event: per ticket type its price, its history, and what is believed of each price."""
    view = _view(request)
    listing = view.desk.snapshots.listings.get(event_id)
    if listing is None:
        raise HTTPException(404, f"Event {event_id!r} is not listed.")
    tickets = [_ticket(view, listing, ticket) for ticket in listing.ticket_types]
    return _page(view, "event", title=listing.name, event=_about(view, listing), tickets=tickets)


def _soonest_first(listing: EventListed, now: datetime) -> tuple[bool, timedelta, str]:
    """What has begun comes last, the latest of it first: listings are many that nobody takes off the list."""
    return now >= listing.starts_at, abs(listing.starts_at - now), listing.event_id


def _view(request: Request) -> View:
    state = request.app.state
    return View(state.desk, state.sales, state.desk.clock.now())


def _page(view: View, name: str, **shown: Any) -> Response:
    snapshots = view.desk.snapshots
    sentences = [text for text in (snapshots.problem, view.sales.problem) if text]
    text = _templates.get_template(f"{name}.html.jinja").render(
        now=f"{view.now:%Y-%m-%d %H:%M:%S}", sentences=sentences, since=view.sales.since(), **shown
    )
    return HTMLResponse(text, headers=HEADERS)


def _row(view: View, listing: EventListed) -> dict[str, Any]:
    slots = [slot for ticket in listing.ticket_types for slot in view.slots(listing.event_id, ticket)]
    first = listing.ticket_types[0]
    return {
        "href": f"/prices/{quote(listing.event_id, safe='')}",
        "name": listing.name,
        "begins": f"{listing.starts_at:%Y-%m-%d %H:%M}",
        "seats": _seats(view, listing),
        "price": "over" if is_over(listing, view.now) else _price_now(view, listing, first),
        "quotes": sum(slot.quotes for slot in slots),
        "tickets": sum(slot.tickets for slot in slots),
    }


def _price_now(view: View, listing: EventListed, ticket: TicketType) -> str:
    return money(_choice(view, listing, ticket).price_minor, listing.currency)


def _about(view: View, listing: EventListed) -> dict[str, Any]:
    return {
        "name": listing.name,
        "venue": listing.venue,
        "begins": f"{listing.starts_at:%Y-%m-%d %H:%M}",
        "currency": listing.currency,
        "seats_sentence": _seats_sentence(view, listing),
        "follows": _follows(view, listing),
    }


def _follows(view: View, listing: EventListed) -> str:
    """What its prices follow when that is not what was learned, in a sentence; else empty."""
    if is_over(listing, view.now):
        return "It has begun: its sale is over."
    control = control_in_force(view.desk.snapshots.controls, listing.event_id, view.now)
    if control is None:
        return ""
    return f"Its prices are as {control.by or 'somebody'} ordered: {control.why or 'no reason given'}."


def _ticket(view: View, listing: EventListed, ticket: TicketType) -> dict[str, Any]:
    choice, slots = _choice(view, listing, ticket), view.slots(listing.event_id, ticket)
    return {
        "name": ticket.name,
        "price": amount(choice.price_minor, listing.currency),
        "why": choice.why,
        "list_price": amount(ticket.list_price_minor, listing.currency),
        "floor": amount(ticket.floor_minor, listing.currency),
        "cap": amount(ticket.cap_minor, listing.currency),
        "quotes": sum(slot.quotes for slot in slots),
        "tickets": sum(slot.tickets for slot in slots),
        "revenue": amount(sum(slot.revenue_minor for slot in slots), listing.currency),
        "history": _history_chart(view, listing, ticket, slots),
        "beliefs": _beliefs(view, listing, ticket),
    }


def _history_chart(view: View, listing: EventListed, ticket: TicketType, slots: Sequence[SlotHistory]) -> str:
    points = [
        Point(slot.slot, _begins(view, slot), slot.price_minor, slot.tickets, _told(view, slot, listing.currency))
        for slot in slots
    ]
    return prices_chart(
        points, list_price_minor=ticket.list_price_minor, low_minor=ticket.floor_minor, high_minor=ticket.cap_minor,
        currency=listing.currency, label=f"Prices of {ticket.name}",
    )  # fmt: skip


def _told(view: View, slot: SlotHistory, currency: str) -> str:
    price, how = amount(slot.price_minor, currency), ", by rule" if slot.arm == RULE_ARM else ""
    return f"{_begins(view, slot)}: {price}{how}, {slot.quotes} quotes, {slot.tickets} tickets"


def _begins(view: View, slot: SlotHistory) -> str:
    return f"{pricing.slot_start(slot.slot, view.desk.rules.slot_seconds):%m-%d %H:%M:%S}"


def _beliefs(view: View, listing: EventListed, ticket: TicketType) -> str:
    arms = _arms(view, listing.event_id, ticket.name)
    if arms is None:
        return ""
    return beliefs_chart(
        arms.prices_minor, arms.interval, arms.expected_sales, currency=listing.currency,
        label=f"Beliefs on {ticket.name}",
    )  # fmt: skip


def _arms(view: View, event_id: str, ticket_type: str) -> ArmProbabilities | None:
    slot = pricing.slot_of(view.now, view.desk.rules.slot_seconds)
    arms = pricing.in_force(view.desk.slot_prices.policy(event_id, slot), slot, view.desk.rules)
    return next((one for one in arms if one.ticket_type == ticket_type), None)


def _choice(view: View, listing: EventListed, ticket: TicketType) -> PriceChoice:
    slot = pricing.slot_of(view.now, view.desk.rules.slot_seconds)
    return view.desk.slot_prices.choose(listing, ticket, slot)


def _seats_sentence(view: View, listing: EventListed) -> str:
    left = view.desk.snapshots.seats_left(listing.event_id)
    if left is None:
        return f"It has {listing.capacity} seats; nobody has said how many are left."
    return f"{left} of {listing.capacity} seats are left."


def _seats(view: View, listing: EventListed) -> str:
    left = view.desk.snapshots.seats_left(listing.event_id)
    return "?" if left is None else str(left)
