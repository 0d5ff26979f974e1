"""Where a quote is redeemed: what is refused is counted by its reason, becomes no sale, and if forged a dead letter."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ibook import metrics
from ibook.codec import decode, encode
from ibook.failing import OwnFailures
from ibook.messages import FraudVerdict, PaymentOutcome, QuoteJournal, QuoteSold
from ibook.quotes import Quote, QuoteKeys, tag
from ibook.settings import Settings
from streams.app import Event
from streams.outcomes_to_journal import Entries, entries_of
from tests.unit.test_pricing_journal import EXPIRES, KEYS, NOW, QUOTE_ID, outcome, verdict

SETTINGS = Settings()
UNKNOWN_ID = QuoteKeys(b"a secret that was dropped").sign(
    Quote(event_tag=tag("e"), ticket_tag=tag("t"), price_minor=5000, slot=1, expires_at=EXPIRES, nonce=b"12345678")
)
FORGED_ID = QUOTE_ID[:40] + ("A" if QUOTE_ID[40] != "A" else "B") + QUOTE_ID[41:]


def entered(message: PaymentOutcome | FraudVerdict) -> Entries:
    topic = "payment-outcomes" if isinstance(message, PaymentOutcome) else "fraud-verdicts"
    event = SimpleNamespace(message=SimpleNamespace(topic=topic, value=encode(message)))
    return entries_of([cast(Event, event)], KEYS, SETTINGS, OwnFailures(20, 0.2))


def refused(reason: str) -> float:
    return float(metrics.QUOTES_REFUSED.labels(reason)._value.get())


@pytest.mark.parametrize(
    ("reason", "changes", "dead_letter"),
    [("forged", {"quote_id": FORGED_ID}, True), ("unknown", {"quote_id": UNKNOWN_ID}, True),
     ("other_event", {"event_id": "f"}, True), ("expired", {"occurred_at": EXPIRES.replace(day=9)}, False),
     ("other_price", {"amount_minor": 4999}, True)],
)  # fmt: skip
def test_a_settled_payment_at_a_quote_that_is_not_honoured_is_counted_and_no_sale(
    reason: str, changes: dict[str, Any], dead_letter: bool
) -> None:
    before = refused(reason)
    found = entered(outcome("settled", **changes))
    assert refused(reason) == before + 1
    assert not found.records
    assert [error.reason for _, error in found.rejected] == ([reason] if dead_letter else [])


def test_a_verdict_on_a_forged_quote_is_no_second_refusal() -> None:
    before = refused("forged")
    found = entered(verdict("decline", quote_id=FORGED_ID))
    assert (refused("forged"), found.records, found.rejected) == (before, {}, [])


def test_an_honest_payment_is_a_sale() -> None:
    [[record]] = entered(outcome("settled", occurred_at=NOW)).records.values()
    assert isinstance(decode(record.value or b"", QuoteJournal), QuoteSold)
