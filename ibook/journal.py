"""What payments and verdicts say -> what the journal of the quote they belong to says."""

from datetime import timedelta
from typing import Literal

from ibook.errors import QuoteRefused
from ibook.ids import message_id
from ibook.messages import FraudVerdict, PaymentOutcome, QuoteSold, QuoteTakenBack
from ibook.quotes import ACCOUNT, QuoteKeys


def entry_of(
    message: PaymentOutcome | FraudVerdict, keys: QuoteKeys, grace_seconds: float
) -> QuoteSold | QuoteTakenBack | None:
    """The journal entry a message leads to; None when it tells nothing about a quote.

    A settlement counts until `grace_seconds` after the quote's expiry, in event time; taking back always counts.
    Raises QuoteRefused when the quote is not ours, not this event's, expired, or of another price than was paid.
    """
    if message.quote_id is None:
        return None
    if isinstance(message, PaymentOutcome) and message.status == "settled":
        quote = keys.verify(
            message.quote_id,
            event_id=message.event_id,
            at=message.occurred_at,
            grace=timedelta(seconds=grace_seconds),
        )
        if message.amount_minor != quote.price_minor * message.n_tickets:
            raise QuoteRefused("other_price")
        return QuoteSold(
            message_id=message_id(message.quote_id, message.transaction_id, "sold"),
            occurred_at=message.occurred_at,
            quote_id=message.quote_id,
            event_id=message.event_id,
            transaction_id=message.transaction_id,
            n_tickets=message.n_tickets,
            amount_minor=message.amount_minor,
            payers=_payers(message, keys),
            currency=message.currency,
        )
    reason = _undone(message)
    if reason is None:
        return None
    keys.verify(message.quote_id, event_id=message.event_id)
    return QuoteTakenBack(
        message_id=message_id(message.quote_id, message.transaction_id, reason),
        occurred_at=message.occurred_at,
        quote_id=message.quote_id,
        event_id=message.event_id,
        transaction_id=message.transaction_id,
        reason=reason,
    )


def _payers(paid: PaymentOutcome, keys: QuoteKeys) -> list[str]:
    """Whose room the sale takes; the first is what the same account has as the buyer of a quote."""
    found = ((ACCOUNT, paid.user_id), ("card", paid.card_id), ("device", paid.device_id))
    return [keys.pseudonym(kind, identifier) for kind, identifier in found]


def _undone(message: PaymentOutcome | FraudVerdict) -> Literal["refunded", "declined", "verdict"] | None:
    """Why an attempt must not teach a price; None when it may still settle."""
    if isinstance(message, FraudVerdict):
        return "verdict" if message.action == "decline" else None
    if message.status == "refunded" or message.status == "declined":
        return message.status
    return None
