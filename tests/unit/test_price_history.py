"""The journal added up for people: by slot, each sale once, what is taken back taken out."""

from datetime import UTC, datetime, timedelta

from ibook.messages import QuoteIssued, QuoteSold, QuoteTakenBack
from ibook.price_history import SLOTS_KEPT, PriceHistory
from ibook.quotes import Quote, QuoteKeys, tag

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYS = QuoteKeys(b"secret")


def quote_id(slot: int, price_minor: int, nonce: int = 0, keys: QuoteKeys = KEYS) -> str:
    return keys.sign(
        Quote(event_tag=tag("gala"), ticket_tag=tag("stalls"), price_minor=price_minor, slot=slot,
              expires_at=NOW + timedelta(hours=1), nonce=nonce.to_bytes(8, "big"))
    )  # fmt: skip


def issued(slot: int = 7, price_minor: int = 5000, nonce: int = 0) -> QuoteIssued:
    one = quote_id(slot, price_minor, nonce)
    return QuoteIssued(
        message_id=one, occurred_at=NOW, quote_id=one, event_id="gala", ticket_type="stalls", currency="GBP",
        price_minor=price_minor, slot=slot, arm=1, propensity=0.4, policy_version=2, expires_at=NOW,
    )  # fmt: skip


def sold(one: str, transaction: str = "t", n_tickets: int = 2) -> QuoteSold:
    return QuoteSold(
        message_id="s", occurred_at=NOW, quote_id=one, event_id="gala", transaction_id=transaction,
        n_tickets=n_tickets, amount_minor=5000 * n_tickets,
    )  # fmt: skip


def taken_back(one: str, transaction: str = "t") -> QuoteTakenBack:
    return QuoteTakenBack(
        message_id="b", occurred_at=NOW, quote_id=one, event_id="gala", transaction_id=transaction, reason="refunded"
    )


def figures(history: PriceHistory) -> list[tuple[int, int, int, int, int]]:
    slots = history.slots("gala", "stalls")
    return [(one.slot, one.price_minor, one.quotes, one.tickets, one.revenue_minor) for one in slots]


def test_quotes_and_sales_are_added_up_by_slot() -> None:
    history = PriceHistory(KEYS)
    for entry in (issued(8, 6000), issued(7, nonce=1), issued(7, nonce=2), sold(quote_id(7, 5000, 1))):
        history.take(entry)
    assert figures(history) == [(7, 5000, 2, 2, 10_000), (8, 6000, 1, 0, 0)]
    assert history.slots("gala", "balcony") == []


def test_a_repeated_sale_counts_once_and_leaves_when_it_is_taken_back() -> None:
    history = PriceHistory(KEYS)
    one = quote_id(7, 5000)
    for entry in (issued(), sold(one), sold(one)):
        history.take(entry)
    assert figures(history) == [(7, 5000, 1, 2, 10_000)]
    for back in (taken_back(one), taken_back(one), taken_back(one, "another")):
        history.take(back)
    assert figures(history) == [(7, 5000, 1, 0, 0)]


def test_a_sale_whose_offer_was_not_read_counts_where_its_quote_says() -> None:
    history = PriceHistory(KEYS)
    history.take(sold(quote_id(9, 5500)))
    assert figures(history) == [(9, 5500, 0, 2, 10_000)]


def test_a_sale_signed_with_a_secret_that_is_gone_is_left_out() -> None:
    history = PriceHistory(KEYS)
    history.take(sold(quote_id(9, 5500, keys=QuoteKeys(b"another"))))
    assert figures(history) == []


def test_the_newest_slots_are_kept() -> None:
    history = PriceHistory(KEYS)
    for slot in range(SLOTS_KEPT + 10):
        history.take(issued(slot))
    assert [slot.slot for slot in history.slots("gala", "stalls")] == list(range(10, SLOTS_KEPT + 10))
