"""How soon prices learn: from a settlement on Kafka until the price API holds a policy that was made with it."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from os import environ

import numpy as np

from bench.serving_events import TICKET_TYPES
from ibook.codec import MAX_OWN_BYTES, decode, encode
from ibook.edges.kafka import BroadcastReader, Record, producer
from ibook.messages import PaymentOutcome, PricePolicy, PriceReward
from ibook.settings import Settings
from ibook.topics import PAYMENT_OUTCOMES, PRICE_POLICIES, PRICE_REWARDS

N_EVENTS, SETTLEMENTS, PER_SECOND = 10, 200, 10.0
LOOK_SECONDS = 0.02
"""How often the price API is asked which policy it holds: what is measured is too long by half of it."""
WAIT_SECONDS = 30.0
Condition = Callable[[], bool]


@dataclass
class Lag:
    """Seconds of each settlement that was learned, and how many were not within the time."""

    seconds: list[float] = field(default_factory=list)
    missing: int = 0

    def percentiles(self) -> dict[str, float]:
        """Seconds."""
        if not self.seconds:
            return {"p50": float("nan"), "p95": float("nan")}
        p50, p95 = np.percentile(self.seconds, (50, 95))
        return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}

    def sentence(self) -> str:
        """To be printed."""
        at = self.percentiles()
        return (
            f"Learning lag over {len(self.seconds)} settlements: p50 {at['p50']:.2f} s, p95 {at['p95']:.2f} s; "
            f"{self.missing} were not learned within {WAIT_SECONDS:.0f} s."
        )


def measure(settings: Settings, url: str) -> Lag:
    """Sell some quotes and watch what the learner and the price API make of it."""
    events = [f"bench-{number}" for number in range(N_EVENTS)]
    quotes = [_quote(url, number) for number in range(SETTLEMENTS)]
    with (
        BroadcastReader(settings, PAYMENT_OUTCOMES.name, tail=0) as outcomes,
        BroadcastReader(settings, PRICE_REWARDS.name, tail=0) as rewards,
        BroadcastReader(settings, PRICE_POLICIES.name) as policies,
        Watch(url, events) as watch,
    ):
        known = policies.load()
        for reader in (outcomes, rewards):
            reader.load()
        time.sleep(1.0)  # quotes reach the journal
        _settle(settings, quotes)
        told, learned = _read_until(outcomes, SETTLEMENTS), _read_until(rewards, SETTLEMENTS)
        deadline = time.monotonic() + WAIT_SECONDS
        lag = _lag(told, learned, known, watch)
        while lag.missing and time.monotonic() < deadline:
            known += policies.poll_new(0.2)
            lag = _lag(told, learned, known, watch)
    return lag


class Watch:
    """Asks the price API again and again which policy of each event it holds, in a thread."""

    def __init__(self, url: str, events: Sequence[str]) -> None:
        self._url, self._events = url, events
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.first_seen: dict[str, list[tuple[int, float]]] = {event: [] for event in events}
        """Event -> version, and when it was first seen, in seconds since the epoch; ascending."""

    def held_at(self, event_id: str, version: int) -> float | None:
        """When this version or a later one was first held."""
        return next((at for seen, at in list(self.first_seen[event_id]) if seen >= version), None)

    def __enter__(self) -> "Watch":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection = HTTPConnection(self._url.removeprefix("http://"), timeout=10)
        while not self._stop.wait(LOOK_SECONDS):
            for event_id in self._events:
                connection.request("GET", f"/v1/events/{event_id}/price", headers=_headers())
                version = int(json.loads(connection.getresponse().read())["policy_version"])
                seen = self.first_seen[event_id]
                if not seen or version > seen[-1][0]:
                    seen.append((version, time.time()))
        connection.close()


def _quote(url: str, number: int) -> tuple[str, str, int]:
    """Quote, event and price."""
    event_id = f"bench-{number % N_EVENTS}"
    body = {"event_id": event_id, "ticket_type": TICKET_TYPES[0].name, "buyer": f"learner-{number}"}
    quote = _ask(f"{url}/v1/quotes", json.dumps(body).encode())
    return str(quote["quote_id"]), event_id, int(quote["price_minor"])


def _ask(url: str, body: bytes | None = None) -> dict[str, int | str]:
    with urllib.request.urlopen(urllib.request.Request(url, body, _headers()), timeout=10) as answer:
        told: dict[str, int | str] = json.load(answer)
    return told


def _headers() -> dict[str, str]:
    return {"content-type": "application/json", "authorization": f"Bearer {environ.get('IBOOK_API_KEY', '')}"}


def _settle(settings: Settings, quotes: Sequence[tuple[str, str, int]]) -> None:
    """Payments, evenly over the time."""
    client, began = producer(settings), time.perf_counter()
    for number, (quote_id, event_id, price) in enumerate(quotes):
        time.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
        paid = PaymentOutcome(
            message_id=f"settled-{number}", occurred_at=datetime.now(UTC), transaction_id=f"learned-{number}",
            user_id=f"learner-{number}", card_id=f"card-{number}", device_id=f"device-{number}", ip="192.0.2.1",
            event_id=event_id, amount_minor=price, currency="EUR", n_tickets=1, quote_id=quote_id, status="settled",
        )  # fmt: skip
        client.produce(PAYMENT_OUTCOMES.name, encode(paid), paid.transaction_id.encode())
        client.poll(0)
    client.flush(30)


def _read_until(reader: BroadcastReader, n: int) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(records) < n and time.monotonic() < deadline:
        records += reader.poll_new(0.5)
    return records


def _lag(told: Sequence[Record], learned: Sequence[Record], policies: Sequence[Record], watch: Watch) -> Lag:
    appended = dict(_appended(told))
    made: dict[str, list[PricePolicy]] = {}
    for record in policies:
        policy: PricePolicy = decode(record.value, PricePolicy, max_bytes=MAX_OWN_BYTES)
        made.setdefault(policy.event_id, []).append(policy)
    lag = Lag()
    for reward in (decode(record.value, PriceReward) for record in learned):
        with_it = [one.version for one in made.get(reward.event_id, []) if _contains(one, reward)]
        held = watch.held_at(reward.event_id, min(with_it)) if with_it else None
        if held is not None and reward.quote_id in appended:
            lag.seconds.append(held - appended[reward.quote_id])
    lag.missing = SETTLEMENTS - len(lag.seconds)
    return lag


def _appended(records: Sequence[Record]) -> Iterator[tuple[str, float]]:
    for record in records:
        outcome: PaymentOutcome = decode(record.value, PaymentOutcome)
        if outcome.quote_id is not None:
            yield outcome.quote_id, record.timestamp_ms / 1000


def _contains(policy: PricePolicy, reward: PriceReward) -> bool:
    return dict(policy.learned).get(reward.source_partition, -1) >= reward.sequence
