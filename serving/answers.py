"""What the price API answers, made from a price and how it came about."""

from ibook.messages import QuoteIssued, TicketType
from ibook.pricing import PriceChoice
from serving.schemas import ExpectedRevenue, ExpectedSales, QuoteResponse, TicketPrice


def ticket_price(ticket: TicketType, choice: PriceChoice) -> TicketPrice:
    """The price of a ticket type in a list."""
    return TicketPrice(
        ticket_type=ticket.name,
        price_minor=choice.price_minor,
        list_price_minor=ticket.list_price_minor,
        expected_sales=_sales(choice),
        expected_revenue=_revenue(choice),
        explanation=choice.why,
        source=choice.source,
    )


def quote_response(issued: QuoteIssued, choice: PriceChoice) -> QuoteResponse:
    """A quote as it is given to the caller."""
    return QuoteResponse(
        quote_id=issued.quote_id,
        event_id=issued.event_id,
        ticket_type=issued.ticket_type,
        price_minor=issued.price_minor,
        currency=issued.currency,
        expires_at=issued.expires_at,
        expected_sales=_sales(choice),
        expected_revenue=_revenue(choice),
        explanation=choice.why,
        source=choice.source,
    )


def _sales(choice: PriceChoice) -> ExpectedSales:
    low, high = choice.interval
    return ExpectedSales(mean=choice.expected_sales, low=low, high=high)


def _revenue(choice: PriceChoice) -> ExpectedRevenue:
    (low, high), price = choice.interval, choice.price_minor
    return ExpectedRevenue(mean=choice.expected_sales * price, low=low * price, high=high * price)
