"""A price by rule, from inventory and time alone: what is asked while nothing that was learned can be used."""

from datetime import datetime

from msgspec.structs import replace

from ibook.messages import ArmProbabilities, EventListed, TicketType

STRENGTH = 0.5
"""Of the list price, for an event that is sold out before it has begun to sell."""
LOWEST, HIGHEST = 0.9, 1.25
"""Multiples of the list price that the rule stays within."""


def rule_multiplier(
    sold_share: float, elapsed_share: float, *, strength: float = STRENGTH, lowest: float = LOWEST,
    highest: float = HIGHEST,
) -> float:  # fmt: skip
    """How much of the list price: more where seats go faster than time, less where they go slower.

    >>> rule_multiplier(0.5, 0.5), rule_multiplier(0.6, 0.2), rule_multiplier(0.0, 0.9)
    (1.0, 1.2, 0.9)
    """
    return min(highest, max(lowest, 1.0 + strength * (sold_share - elapsed_share)))


def rule_price(listing: EventListed, ticket: TicketType, *, seats_left: int | None, now: datetime) -> int:
    """The price of a ticket type in minor units, within floor and cap; the list price when nobody knows the seats."""
    if seats_left is None or not listing.capacity:
        return ticket.list_price_minor
    multiplier = rule_multiplier(1.0 - seats_left / listing.capacity, elapsed_share(listing, now))
    return min(max(round(ticket.list_price_minor * multiplier), ticket.lowest_minor), ticket.highest_minor)


def elapsed_share(listing: EventListed, now: datetime) -> float:
    """How much of the time from the begin of the sale to the event is over, in [0, 1]."""
    life = (listing.starts_at - listing.on_sale_at).total_seconds()
    elapsed = (now - listing.on_sale_at).total_seconds() / life if life > 0 else 1.0
    return min(1.0, max(0.0, elapsed))


def with_rule_price(
    arms: ArmProbabilities, listing: EventListed, *, seats_left: int | None, now: datetime
) -> ArmProbabilities:
    """The arms with the rule's price beside them: the nearest of their prices, so that all learn from one another."""
    ticket = next(each for each in listing.ticket_types if each.name == arms.ticket_type)
    asked = rule_price(listing, ticket, seats_left=seats_left, now=now)
    return replace(arms, rule_minor=min(arms.prices_minor, key=lambda price: abs(price - asked)))
