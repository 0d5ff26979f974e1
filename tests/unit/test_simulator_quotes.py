"""Prices asked over HTTP: quotes when they can be had, list prices when not, and never a wait without end."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest

from ibook.settings import Settings
from simulator import quotes
from simulator.catalogue import Ticket
from simulator.engine import Timer
from simulator.quotes import HttpPrices
from simulator.visits import Offer
from simulator.world import World
from tests.unit.test_simulator_shop import NOW

EVENT = World(5, NOW).events[0]
TICKET = Ticket("standard", 4000, 2400, 6400, 1.0, {})
GOOD = {
    "quote_id": "q-1", "event_id": EVENT.event_id, "ticket_type": "standard", "price_minor": 4400,
    "currency": "EUR", "expires_at": "2026-03-01T12:10:00+00:00", "expected_sales": {"mean": 0.4},
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """Answers every question with `status` and `answer`, and remembers what it was asked."""

    daemon_threads = True
    request_queue_size = 64
    status = 200
    answer: Any = GOOD
    hang_up = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.questions: list[dict[str, str]] = []
        self.clients: set[tuple[str, int]] = set()
        self.keys: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.server.questions.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.clients.add(self.client_address)
        self.server.keys.add(self.headers["Authorization"])
        body = self.server.answer if isinstance(self.server.answer, bytes) else json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.server.hang_up

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's server is not away."""
    monkeypatch.setattr(quotes, "TIMEOUT_SECONDS", 60.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class Asking:
    def __init__(self, port: int, api_key: str = "") -> None:
        self.inbox: SimpleQueue[Timer] = SimpleQueue()
        self.prices = HttpPrices(Settings(serving_port=port, api_key=api_key), self.inbox.put)
        self.prices.start()
        self.offers: list[Offer] = []

    def ask(self, times: int = 1) -> Offer:
        for number in range(times):
            self.prices.ask(EVENT, TICKET, "ann", f"key-{number}", self.offers.append)
        while len(self.offers) < times:
            self.inbox.get(timeout=120)()
        return self.offers[-1]


@pytest.fixture
def asking(server: Server) -> Iterator[Asking]:
    client = Asking(server.server_address[1])
    yield client
    client.prices.stop()


def test_a_quote_is_shown_as_it_came(server: Server, asking: Asking) -> None:
    offer = asking.ask()
    assert (offer.price_minor, offer.quote_id) == (4400, "q-1")
    assert offer.expires_us == 1772367000 * 1_000_000
    assert server.questions == [
        {"event_id": EVENT.event_id, "ticket_type": "standard", "idempotency_key": "key-0", "buyer": "ann"}
    ]
    assert asking.prices.unquoted == 0


def test_an_api_key_is_sent_when_there_is_one(server: Server, asking: Asking) -> None:
    asking.ask()
    assert server.keys == {None}
    with_key = Asking(server.server_address[1], api_key="ibook_shop_x")
    with_key.ask()
    assert server.keys == {None, "Bearer ibook_shop_x"}
    with_key.prices.stop()


def test_connections_stay_open(server: Server, asking: Asking) -> None:
    asking.ask(200)
    assert len(server.questions) == 200
    assert len(server.clients) <= 8


def test_a_server_that_hangs_up_after_each_answer_costs_no_quote(server: Server, asking: Asking) -> None:
    server.hang_up = True
    asking.ask(60)
    assert asking.prices.unquoted == 0, asking.prices.last_failure


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (404, {"detail": "no such event"}), (422, {"detail": "wrong"}), (503, b""), (200, b"not json"),
        (200, {**GOOD, "price_minor": "cheap"}), (200, {**GOOD, "price_minor": 0}), (200, {**GOOD, "currency": "USD"}),
        (200, {**GOOD, "expires_at": "2026-03-01T12:10:00"}),
    ],
)  # fmt: skip
def test_anything_but_a_quote_means_list_price(server: Server, asking: Asking, status: int, answer: Any) -> None:
    server.status, server.answer = status, answer
    assert asking.ask() == Offer(4000)
    assert asking.prices.unquoted == 1
    assert asking.prices.last_failure


def test_when_serving_is_away_every_price_is_a_list_price_at_once() -> None:
    with Server() as gone:
        port = gone.server_address[1]
    client = Asking(port)
    client.ask(50)
    assert client.offers == [Offer(4000)] * 50
    assert client.prices.unquoted == 50
    client.prices.stop()
