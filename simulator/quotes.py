"""Prices asked of the serving process, over a few connections that stay open."""

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from http.client import HTTPConnection, HTTPException
from queue import SimpleQueue
from threading import Thread

import msgspec

from ibook.clock import to_us
from ibook.settings import Settings
from simulator.catalogue import CURRENCY, Event, Ticket
from simulator.engine import Timer
from simulator.visits import Offer

WORKERS = 8
TIMEOUT_SECONDS = 1.0
AWAY_SECONDS = 1.0
"""After a failed connection everything is sold at list price for so long."""
MAX_WAITING = 50 * WORKERS

Answer = Callable[[Offer], None]
_Question = tuple[Event, Ticket, str, str, Answer]


class QuoteAnswer(msgspec.Struct):
    """What we read of the answer to `POST /v1/quotes`."""

    quote_id: str
    price_minor: int
    currency: str
    expires_at: datetime


class QuoteFailed(Exception):
    """Nobody answered, or not with a quote."""


class HttpPrices:
    """Asks `POST /v1/quotes`; where no quote can be had, the ticket is shown at its list price and counted.

    `hand_over` takes what shall happen in the engine's thread; `ask` is called from there.
    """

    def __init__(self, settings: Settings, hand_over: Callable[[Timer], None]) -> None:
        self._address = (settings.serving_host, settings.serving_port)
        self._headers = _headers(settings)
        self._hand_over = hand_over
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._away_until = 0.0
        self.unquoted = 0
        """Prices shown without a quote."""
        self.last_failure = ""
        self._threads = [Thread(target=self._work, name=f"quotes-{n}", daemon=True) for n in range(WORKERS)]

    def start(self) -> None:
        """Let the workers begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the workers; questions that wait are never answered."""
        for _ in self._threads:
            self._questions.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(TIMEOUT_SECONDS + 1)

    def ask(self, event: Event, ticket: Ticket, buyer: str, key: str, answer: Answer) -> None:
        """Call `answer` with a quote, soon, or with the list price when none can be had."""
        if time.monotonic() < self._away_until or self._questions.qsize() >= MAX_WAITING:
            self._show_list_price(ticket, answer)
        else:
            self._questions.put((event, ticket, buyer, key, answer))

    def _show_list_price(self, ticket: Ticket, answer: Answer) -> None:
        self.unquoted += 1
        answer(Offer(ticket.list_price_minor))

    def _work(self) -> None:
        connection = HTTPConnection(*self._address, timeout=TIMEOUT_SECONDS)
        while (question := self._questions.get()) is not None:
            event, ticket, buyer, key, answer = question
            try:
                offer = _ask(connection, self._headers, event, ticket, buyer, key)
            except QuoteFailed as error:
                self.last_failure = str(error)
                self._hand_over(partial(self._show_list_price, ticket, answer))
            except (OSError, HTTPException) as error:
                connection.close()
                self._away_until = time.monotonic() + AWAY_SECONDS
                self.last_failure = f"{type(error).__name__}: {error}"
                self._hand_over(partial(self._show_list_price, ticket, answer))
            else:
                self._hand_over(partial(answer, offer))
        connection.close()


def _headers(settings: Settings) -> dict[str, str]:
    key = settings.api_key.get_secret_value()
    return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


def _ask(
    connection: HTTPConnection, headers: dict[str, str], event: Event, ticket: Ticket, buyer: str, key: str
) -> Offer:
    question = {"event_id": event.event_id, "ticket_type": ticket.name, "idempotency_key": key, "buyer": buyer}
    body = msgspec.json.encode(question)
    was_open = connection.sock is not None
    try:
        connection.request("POST", "/v1/quotes", body, headers)
        response = connection.getresponse()
    except (ConnectionError, HTTPException):
        connection.close()
        if not was_open:
            raise
        # An idle connection may be closed by the server at any time; the key makes asking again harmless.
        connection.request("POST", "/v1/quotes", body, headers)
        response = connection.getresponse()
    payload = response.read()
    if response.status >= 300:
        raise QuoteFailed(f"HTTP {response.status}: {payload[:200].decode(errors='replace')}")
    return _read(payload)


def _read(payload: bytes) -> Offer:
    try:
        quote = msgspec.json.decode(payload, type=QuoteAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise QuoteFailed(f"unreadable quote: {error}") from error
    if quote.currency != CURRENCY or quote.price_minor <= 0 or quote.expires_at.tzinfo is None:
        raise QuoteFailed(f"not a price in {CURRENCY} with an expiry: {quote}")
    return Offer(quote.price_minor, quote.quote_id, to_us(quote.expires_at))
