"""A shop that shows prices and sells at them, from a seed, while everything around it breaks."""

import json
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from random import Random
from typing import Literal, NamedTuple

from ibook.codec import encode
from ibook.edges.kafka import producer
from ibook.messages import FraudVerdict, PaymentOutcome
from ibook.settings import Settings
from ibook.topics import FRAUD_VERDICTS, PAYMENT_OUTCOMES

TIMEOUT_SECONDS = 2.0
DELIVERED_WITHIN_MS = 180_000
"""Longer than the longest fault."""
BOT_SHARE, SALE_SHARE, REFUND_SHARE, DECLINE_SHARE, REPEAT_SHARE = 0.1, 0.4, 0.15, 0.1, 0.2


class Shown(NamedTuple):
    """A price that was shown."""

    at: float
    """`time.monotonic`."""
    quote_id: str
    source: str


class PricingShop:
    """Asks for quotes from a thread of its own while the context lasts; on leaving, all it said has been delivered.

    Everybody is somebody new, except for a bot that asks one time in ten.
    """

    def __init__(self, settings: Settings, events: Sequence[str], *, seed: str, rate: float) -> None:
        self.shown: list[Shown] = []
        self.unanswered = 0
        """Requests without an answer: whether there is a quote the shop can't know, and never uses it."""
        self._settings, self._events, self._rate = settings, events, rate
        self._rng = Random(seed)
        self._connection = HTTPConnection("127.0.0.1", settings.serving_port, timeout=TIMEOUT_SECONDS)
        self._producer = producer(settings, {"delivery.timeout.ms": DELIVERED_WITHIN_MS})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pricing-shop", daemon=True)
        self._number = 0

    def answered(self) -> set[str]:
        """Quotes that were given."""
        return {one.quote_id for one in self.shown}

    def __enter__(self) -> "PricingShop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()
        left = self._producer.flush(DELIVERED_WITHIN_MS / 1000)
        assert not left, f"{left} messages of the shop were not delivered"

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            self._number += 1
            self._visit(self._rng.choice(self._events))
            self._producer.poll(0)
            self._stop.wait(max(0.0, began + self._number / self._rate - time.monotonic()))

    def _visit(self, event_id: str) -> None:
        is_bot = self._rng.random() < BOT_SHARE
        quote = self._quote(event_id, "bot" if is_bot else f"buyer-{self._number}")
        if quote is None or is_bot or self._rng.random() > SALE_SHARE:
            return
        fate = self._rng.random()
        steps: tuple[Literal["settled", "refunded"], ...] = ("settled",)
        if fate < REFUND_SHARE:
            steps = ("settled", "refunded")
        for _ in range(2 if self._rng.random() < REPEAT_SHARE else 1):
            if REFUND_SHARE <= fate < REFUND_SHARE + DECLINE_SHARE:
                self._declined(event_id, quote[0])
            else:
                for status in steps:
                    self._paid(status, event_id, *quote)

    def _quote(self, event_id: str, buyer: str) -> tuple[str, int] | None:
        body = {"event_id": event_id, "ticket_type": "stalls", "buyer": buyer, "idempotency_key": f"k{self._number}"}
        try:
            self._connection.request("POST", "/v1/quotes", json.dumps(body), {"content-type": "application/json"})
            answer = self._connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, HTTPException):
            self._connection.close()
            self.unanswered += 1
            return None
        if answer.status != 200:
            self.unanswered += 1
            return None
        self.shown.append(Shown(time.monotonic(), told["quote_id"], told["source"]))
        return told["quote_id"], told["price_minor"]

    def _paid(self, status: Literal["settled", "refunded"], event_id: str, quote_id: str, price: int) -> None:
        who = f"{event_id}-{self._number}"
        outcome = PaymentOutcome(
            message_id=f"{who}-{status}", occurred_at=datetime.now(UTC), transaction_id=who, user_id=f"u-{who}",
            card_id=f"c-{who}", device_id=f"d-{who}", ip="192.0.2.1", event_id=event_id, amount_minor=price,
            currency="GBP", n_tickets=1, quote_id=quote_id, status=status,
        )  # fmt: skip
        self._producer.produce(PAYMENT_OUTCOMES.name, encode(outcome), who.encode())

    def _declined(self, event_id: str, quote_id: str) -> None:
        who = f"{event_id}-{self._number}"
        verdict = FraudVerdict(
            message_id=f"{who}-verdict", occurred_at=datetime.now(UTC), transaction_id=who, action="decline",
            score_band="high", posture="normal", model_version="none", quote_id=quote_id, event_id=event_id,
        )  # fmt: skip
        self._producer.produce(FRAUD_VERDICTS.name, encode(verdict), who.encode())
