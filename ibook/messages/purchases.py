"""Purchases and what follows from them: topics `ticket-purchases`, `payment-outcomes`, `fraud-labels`."""

from typing import Annotated, Literal

from msgspec import Meta

from ibook.messages.base import Bin, Category, Currency, Id, Message, Minor, Time


class Order(Message, frozen=True, kw_only=True):
    """The ids of a purchase. What follows it repeats them, so nobody needs a join to count it.

    The shop knows promoter and category of what it sells; without them nothing is counted for them.
    """

    transaction_id: Id
    user_id: Id
    card_id: Id
    device_id: Id
    ip: Id
    event_id: Id
    amount_minor: Minor
    currency: Currency
    n_tickets: Annotated[int, Meta(ge=1, le=1000)]
    quote_id: Id | None = None
    """The price quote it was bought at, if there was one."""
    promoter_id: Id | None = None
    category: Category | None = None


class PurchaseRequested(Order, frozen=True, kw_only=True, tag="purchase_requested.v1"):
    """A buyer pressed "pay". Topic `ticket-purchases`, key `card_id`.

    A retry with another card is a new `transaction_id`.
    """

    ticket_type: Id
    bin: Bin
    card_country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    ip_country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    email_domain: Id
    account_opened_at: Time
    starts_at: Time | None = None
    """When the event begins."""
    list_price_minor: Minor | None = None
    """What one such ticket costs before any dynamic price."""


class PaymentOutcome(Order, frozen=True, kw_only=True, tag="payment_outcome.v1"):
    """What the payment provider said. Topic `payment-outcomes`, key `transaction_id`."""

    status: Literal["authorised", "declined", "settled", "refunded"]
    bin: Bin | None = None
    reason: str = ""
    """The provider's code when declined, the shop's when refunded."""


class FraudLabel(Order, frozen=True, kw_only=True, tag="fraud_label.v1"):
    """What was learned about a purchase, long after it. Topic `fraud-labels`, key `transaction_id`.

    `occurred_at` is when it became known; `effective_at` is the purchase's time. A `reversal` takes back what
    was said before.
    """

    source: Literal["chargeback", "early_warning", "review", "reversal"]
    is_fraud: bool
    effective_at: Time
    bin: Bin | None = None
