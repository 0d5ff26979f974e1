"""The shop's pages: what visitors do there before and after paying becomes ticket activity."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from ibook import messages as m
from ibook import topics
from simulator.attention import DAY_US
from simulator.catalogue import Event, Ticket
from simulator.demand import Demand
from simulator.engine import Await
from simulator.feed import Feed
from simulator.inventory import Inventory
from simulator.revenue import Look, Market
from simulator.visits import Offer, Visitor


class Prices(Protocol):
    """Where prices come from."""

    def ask(self, event: Event, ticket: Ticket, buyer: str, key: str, answer: Callable[[Offer], None]) -> None:
        """Call `answer` with the price to show to this account, now or later. `key` makes asking again harmless."""
        ...


class ListPrices:
    """Every ticket at its list price, without a quote."""

    def ask(self, event: Event, ticket: Ticket, buyer: str, key: str, answer: Callable[[Offer], None]) -> None:
        """Answer at once."""
        answer(Offer(ticket.list_price_minor))


@dataclass(frozen=True, slots=True)
class _Looks:
    ticket: Ticket
    by_demand: dict[Demand, list[int]]
    """Visitors, and the tickets they wanted."""


class Storefront:
    """Visits as messages, seats as holds, prices as questions."""

    def __init__(self, feed: Feed, inventory: Inventory, prices: Prices) -> None:
        self._feed = feed
        self._inventory = inventory
        self.prices = prices
        self.is_open = True
        """Once closed, who asks for a price never gets an answer: the visit ends there."""
        self.shown: Counter[str] = Counter()
        """Prices shown per event."""
        self.shown_at: Counter[tuple[str, str, int]] = Counter()
        """Prices shown per event, ticket type and price."""
        self._looks: dict[tuple[str, str, int], _Looks] = {}
        self.last_price_minor: dict[tuple[str, str], int] = {}
        """Last price shown, per event and ticket type."""

    def view(self, visitor: Visitor, event: Event) -> None:
        """Look at an event's page."""
        self._publish(visitor, m.EventViewed(**self._feed.stamp(), **_who(visitor), event_id=event.event_id))

    def ask_price(self, visitor: Visitor, event: Event, ticket: Ticket) -> Await:
        """To be yielded: comes back with an Offer."""

        def ask(resume: Callable[[Offer], None]) -> None:
            if not self.is_open:
                return
            key, buyer = self._feed.ids.next(), visitor.user.user_id
            self.prices.ask(event, ticket, buyer, key, lambda offer: resume(self._show(event, ticket, offer)))

        return ask

    def looked(self, event: Event, ticket: Ticket, demand: Demand, n_tickets: int) -> None:
        """Note, for whoever judges prices later, how somebody decides who was shown a price and is free to decide."""
        key = event.event_id, ticket.name, self._feed.now_us // DAY_US
        looks = self._looks.get(key)
        if looks is None:
            looks = self._looks[key] = _Looks(ticket, {})
        counts = looks.by_demand.setdefault(demand, [0, 0])
        counts[0] += 1
        counts[1] += n_tickets

    def markets(self) -> tuple[Market, ...]:
        """Who was shown prices since the doors opened, per ticket type and day, in the order they came."""
        return tuple(
            Market(
                event_id=event_id, ticket_type=name, day=day, list_price_minor=looks.ticket.list_price_minor,
                floor_minor=looks.ticket.floor_minor, cap_minor=looks.ticket.cap_minor,
                looks=tuple(Look(demand, *counts) for demand, counts in looks.by_demand.items()),
            )
            for (event_id, name, day), looks in self._looks.items()
        )  # fmt: skip

    def hold(self, visitor: Visitor, event: Event, n_seats: int) -> str | None:
        """Put seats into the cart: the hold's id, or None when there are not enough left."""
        if not self._inventory.take(event.event_id, n_seats):
            return None
        hold_id = self._feed.ids.next()
        self._publish(visitor, m.SeatsHeld(
            **self._feed.stamp(), **_who(visitor), event_id=event.event_id, hold_id=hold_id, n_seats=n_seats,
        ))  # fmt: skip
        return hold_id

    def release(self, visitor: Visitor, event: Event, hold_id: str, n_seats: int) -> None:
        """Give held seats back."""
        self._inventory.put_back(event.event_id, n_seats)
        self._publish(visitor, m.SeatsReleased(
            **self._feed.stamp(), **_who(visitor), event_id=event.event_id, hold_id=hold_id, n_seats=n_seats,
        ))  # fmt: skip

    def log_in(self, visitor: Visitor, *, succeeded: bool) -> None:
        """Try to log in."""
        self._publish(visitor, m.LoginAttempted(**self._feed.stamp(), **_who(visitor), succeeded=succeeded))

    def change_account(self, visitor: Visitor, change: Literal["opened", "email", "password", "phone"]) -> None:
        """Open the account or change one of its credentials."""
        self._publish(visitor, m.AccountChanged(**self._feed.stamp(), **_who(visitor), change=change))

    def transfer(self, visitor: Visitor, event: Event, transaction_id: str, n_tickets: int) -> None:
        """Hand paid tickets to somebody else."""
        self._publish(visitor, m.TicketsTransferred(
            **self._feed.stamp(), **_who(visitor), event_id=event.event_id, transaction_id=transaction_id,
            n_tickets=n_tickets,
        ))  # fmt: skip

    def forget(self, prices: Prices) -> None:
        """Count anew, and take prices from elsewhere from now on."""
        self.prices = prices
        self.shown.clear()
        self.shown_at.clear()
        self._looks.clear()
        self.last_price_minor.clear()

    def seats_left(self, event: Event) -> int:
        """Seats an event has to sell."""
        return self._inventory.remaining[event.event_id]

    def _show(self, event: Event, ticket: Ticket, offer: Offer) -> Offer:
        self.shown[event.event_id] += 1
        self.shown_at[event.event_id, ticket.name, offer.price_minor] += 1
        self.last_price_minor[event.event_id, ticket.name] = offer.price_minor
        return offer

    def _publish(self, visitor: Visitor, activity: m.TicketActivity) -> None:
        self._feed.send(topics.TICKET_ACTIVITY, visitor.user.user_id, activity)


def _who(visitor: Visitor) -> dict[str, str]:
    return {"user_id": visitor.user.user_id, "device_id": visitor.device_id, "ip": visitor.address.ip}
