"""A steady or a flooding stream of purchases, and when their verdicts came."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Event, Thread

import numpy as np
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from msgspec import structs

from ibook import codec
from ibook.edges.kafka import producer
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from ibook.topics import FRAUD_VERDICTS, TICKET_PURCHASES

BUYERS, EVENTS = 20_000, 40
SHOP_BUYERS = 200_000
TESTERS, TESTERS_SHARE = 20, 0.02
DRAIN_SECONDS = 60.0


def shop(run: str, seed: int) -> Iterator[PurchaseRequested]:
    """Endless purchases as a large shop sees them; one in fifty is a card tester's: rules and reasons have work.

    200,000 buyers, some of whom buy twice within minutes; 20 testers, each on one device and address, every time with
    another card and a small amount. What of it is not approved the bench prints.
    """
    rng = Random(seed)
    for number, purchase in enumerate(purchases(run, seed, buyers=SHOP_BUYERS)):
        tester = rng.randrange(TESTERS)
        yield structs.replace(
            purchase, user_id=f"tester-{tester}", card_id=f"tested-{run}-{number}", device_id=f"tester-{tester}",
            ip=f"192.0.2.{tester}", n_tickets=1, amount_minor=rng.randrange(100, 500),
        ) if rng.random() < TESTERS_SHARE else purchase  # fmt: skip


def purchases(run: str, seed: int, *, buyers: int = BUYERS) -> Iterator[PurchaseRequested]:
    """Endless honest purchases over 40 events of unequal popularity; made anew when they are sent.

    A buyer has an address and a card's BIN; addresses lie in some 2,000 networks, BINs are 150 as in the simulator.
    """
    rng = Random(seed)
    opened = datetime.now(UTC) - timedelta(days=200)
    popularity = [1 / (rank + 1) for rank in range(EVENTS)]
    number = 0
    while True:
        buyer, n_tickets = rng.randrange(buyers), rng.randrange(1, 5)
        (event,) = rng.choices(range(EVENTS), popularity)
        yield PurchaseRequested(
            message_id=f"{run}-{number}", occurred_at=datetime.now(UTC), transaction_id=f"{run}-{number}",
            user_id=f"user-{buyer}", card_id=f"card-{buyer}", device_id=f"device-{buyer}",
            ip=f"10.{buyer % 8}.{buyer // 80 % 250}.{buyer % 80}", event_id=f"event-{event}",
            amount_minor=n_tickets * rng.randrange(2000, 9000), currency="EUR", n_tickets=n_tickets,
            ticket_type="standard", bin=str(400_000 + buyer % 150), card_country="DE", ip_country="DE",
            email_domain="example.org", account_opened_at=opened, promoter_id=f"promoter-{event % 10}",
            category="concerts", starts_at=opened + timedelta(days=260), list_price_minor=5000,
        )  # fmt: skip
        number += 1


@dataclass
class Outcome:
    """What a load came to. Times are `time.perf_counter`."""

    sent: dict[str, float] = field(default_factory=dict)
    """Transaction -> just before it was produced."""
    answered: dict[str, float] = field(default_factory=dict)
    """Transaction -> when its first verdict was readable."""
    repeated: int = 0
    stale: int = 0
    """Verdicts of another posture than `normal`: the feature workers were behind, or something was away."""
    refused: int = 0
    """Verdicts other than `approve`: each has its reasons in the evidence."""
    produce_seconds: float = 0.0

    @property
    def not_approved_share(self) -> float:
        """Of the verdicts."""
        return round(self.refused / max(1, len(self.answered)), 3)

    @property
    def missing(self) -> int:
        """Purchases without a verdict."""
        return len(self.sent.keys() - self.answered.keys())

    def latency_ms(self) -> dict[str, float]:
        """p50, p95, p99 and the largest, from just before produce to readable."""
        samples = np.array([self.answered[one] - at for one, at in self.sent.items() if one in self.answered]) * 1000
        found = {f"p{q}": round(float(np.percentile(samples, q)), 1) for q in (50, 95, 99)}
        return {**found, "max": round(float(samples.max()), 1)}

    def per_second(self) -> float:
        """Verdicts per second of wall clock, over the middle of the run: its first and last tenth are left out."""
        times = np.sort(np.array(list(self.answered.values())))
        first, last = len(times) // 10, len(times) * 9 // 10
        return round(float((last - first) / (times[last] - times[first])), 1)


class VerdictClock:
    """Notes when each verdict of a topic becomes readable, from now on."""

    def __init__(self, settings: Settings, outcome: Outcome, topic: str = FRAUD_VERDICTS.name) -> None:
        self._outcome = outcome
        self._stop = Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                "group.id": "bench",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )
        partitions = self._consumer.list_topics(topic, 10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, partition, OFFSET_END) for partition in partitions])
        self._consumer.poll(1.0)  # the end is looked up with the first poll: verdicts from here on are seen
        self._thread = Thread(target=self._run, name="verdict-clock", daemon=True)

    def __enter__(self) -> "VerdictClock":
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(5)
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            transaction = (message.key() or b"").decode()
            if transaction in self._outcome.answered:
                self._outcome.repeated += 1
            else:
                self._outcome.answered[transaction] = time.perf_counter()
                verdict = message.value() or b""
                self._outcome.stale += b'"posture":"normal"' not in verdict
                self._outcome.refused += b'"action":"approve"' not in verdict


def steady(settings: Settings, *, rate: float, seconds: float, run: str, seed: int) -> Outcome:
    """Purchases at a rate, each at its own time; the load never waits for verdicts."""
    outcome, client, source = Outcome(), producer(settings, {"linger.ms": 5}), shop(run, seed)
    with VerdictClock(settings, outcome):
        start = time.perf_counter()
        for number in range(int(rate * seconds)):
            wait = start + number / rate - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            _send(client, next(source), outcome)
        client.flush(30)
        outcome.produce_seconds = time.perf_counter() - start
        _drain(outcome)
    return outcome


def flood(settings: Settings, *, count: int, run: str, seed: int, topic: str = FRAUD_VERDICTS.name) -> Outcome:
    """Purchases as fast as Kafka takes them; how fast they are answered is what is measured."""
    outcome, client, source = Outcome(), producer(settings), shop(run, seed)
    with VerdictClock(settings, outcome, topic):
        start = time.perf_counter()
        for _ in range(count):
            _send(client, next(source), outcome)
        client.flush(30)
        outcome.produce_seconds = time.perf_counter() - start
        _drain(outcome)
    return outcome


def _send(client: Producer, purchase: PurchaseRequested, outcome: Outcome) -> None:
    outcome.sent[purchase.transaction_id] = time.perf_counter()
    client.produce(TICKET_PURCHASES.name, codec.encode(purchase), purchase.card_id.encode())
    client.poll(0)


def _drain(outcome: Outcome) -> None:
    """Wait for the verdicts, as long as they keep coming."""
    seen, deadline = -1, time.monotonic() + DRAIN_SECONDS
    while outcome.missing and time.monotonic() < deadline:
        if len(outcome.answered) > seen:
            seen, deadline = len(outcome.answered), time.monotonic() + DRAIN_SECONDS
        time.sleep(0.02)
