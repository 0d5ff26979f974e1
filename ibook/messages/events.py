"""What is on sale: topics `event-listings`, `event-inventory`, `competitor-prices`."""

from typing import Annotated

from msgspec import Meta, Struct

from ibook.messages.base import Category, Currency, Id, Message, Minor, Seats, Time


class TicketType(Struct, frozen=True, kw_only=True):
    """One kind of ticket of an event, with the bounds its price must keep."""

    name: Id
    list_price_minor: Annotated[int, Meta(ge=1, le=10**9)]
    floor_minor: Annotated[int, Meta(ge=1, le=10**9)]
    cap_minor: Annotated[int, Meta(ge=1, le=10**9)]
    published_low_minor: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    """The lowest price the shop tells buyers to expect; None: the floor."""
    published_high_minor: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    """The highest one; None: the cap."""

    def __post_init__(self) -> None:
        """Raises ValueError (a decoder's InvalidMessage) unless floor <= low <= list price <= high <= cap."""
        if not self.floor_minor <= self.list_price_minor <= self.cap_minor:
            raise ValueError("list price outside floor and cap")
        if not self.floor_minor <= self.lowest_minor <= self.list_price_minor <= self.highest_minor <= self.cap_minor:
            raise ValueError("published range outside floor and cap, or without the list price")

    @property
    def lowest_minor(self) -> int:
        """No price may be lower."""
        return self.floor_minor if self.published_low_minor is None else self.published_low_minor

    @property
    def highest_minor(self) -> int:
        """No price may be higher."""
        return self.cap_minor if self.published_high_minor is None else self.published_high_minor


class EventListed(Message, frozen=True, kw_only=True, tag="event_listed.v1"):
    """An event is on sale. Topic `event-listings`, key `event_id`, compacted: the last one counts."""

    event_id: Id
    name: str
    category: Category
    promoter_id: Id
    venue: str
    capacity: Seats
    on_sale_at: Time
    starts_at: Time
    currency: Currency
    ticket_types: Annotated[list[TicketType], Meta(min_length=1, max_length=50)]
    """Each of another name."""

    def __post_init__(self) -> None:
        """Raises ValueError (a decoder's InvalidMessage) when two ticket types have one name: whose price is it?"""
        if len({ticket.name for ticket in self.ticket_types}) < len(self.ticket_types):
            raise ValueError("two ticket types of one name")


class InventoryChanged(Message, frozen=True, kw_only=True, tag="inventory_changed.v1"):
    """Seats left to sell. Topic `event-inventory`, key `event_id`, compacted: the last one counts."""

    event_id: Id
    capacity: Seats
    remaining: Seats
    promoter_id: Id | None = None


class CompetitorPrice(Struct, frozen=True, kw_only=True):
    """What somebody else asks for one of our ticket types."""

    ticket_type: Id
    price_minor: Minor


class CompetitorPrices(Message, frozen=True, kw_only=True, tag="competitor_prices.v1"):
    """What the cheapest competitor asks now. Topic `competitor-prices`, key `event_id`, compacted: the last one counts.

    Ticket types that are not named are not offered elsewhere.
    """

    event_id: Id
    currency: Currency
    prices: Annotated[list[CompetitorPrice], Meta(max_length=50)]
