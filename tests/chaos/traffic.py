"""A shop's traffic with everything in it that a shop's bad days bring, from a seed, at a steady rate."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
from confluent_kafka import KafkaError, Message

from ibook import codec
from ibook import messages as m
from ibook.edges.kafka import Outgoing, producer
from ibook.settings import Settings
from ibook.topics import TICKET_ACTIVITY, TICKET_PURCHASES
from tests.chaos.poison import unreadable
from tests.traffic import purchase

BUYERS, EVENTS, ADDRESSES = 300, 5, 120
DELIVERED_WITHIN_MS = 180_000
"""Longer than the longest fault: the shop goes on trying, so that what it sent is there in the end."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Shares of the traffic; what is left are honest purchases of now."""

    views: float = 0.15
    unreadable: float = 0.01
    repeated: float = 0.01
    """The same purchase once more, some with another message id."""
    changed: float = 0.002
    """A known transaction that asks for something else."""
    late: float = 0.02
    """Happened up to an hour ago: out of order."""
    equal: float = 0.0
    """Happened at the very same instant as many others."""
    future: float = 0.002
    """Ahead of the broker's clock; half of them further than anybody accepts."""


class Traffic:
    """Publishes from a thread of its own while the context lasts; on leaving, all of it has been delivered."""

    def __init__(self, settings: Settings, run: str, *, seed: str, rate: float, mix: Mix) -> None:
        self.delivered: set[str] = set()
        """Transactions that the broker has said it has."""
        self.failed = 0
        self.run = run
        self.rate = rate
        self._messages = messages(run, Random(seed), mix)
        self._client = producer(
            settings, {"delivery.timeout.ms": DELIVERED_WITHIN_MS, "message.max.bytes": 2_000_000, "log_level": 0}
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self._client.flush(DELIVERED_WITHIN_MS / 1000) == 0

    def burst(self, count: int) -> None:
        """So many at once, beside the steady ones."""
        for each in [next(self._messages) for _ in range(count)]:
            self._send(each)

    def _run(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._stop.wait(max(0.0, began + sent / self.rate - time.monotonic())):
            self._send(next(self._messages))
            sent += 1

    def _send(self, each: Outgoing) -> None:
        transaction = dict(each.headers).get("transaction_id", b"").decode()

        def _told(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self.failed += 1
            elif transaction:
                self.delivered.add(transaction)

        self._client.produce(each.topic, each.value, each.key, headers=list(each.headers), on_delivery=_told)
        self._client.poll(0)


class _Locked:
    """One message at a time, whichever thread asks."""

    def __init__(self, source: Iterator[Outgoing]) -> None:
        self._source = source
        self._lock = threading.Lock()

    def __iter__(self) -> "_Locked":
        return self

    def __next__(self) -> Outgoing:
        with self._lock:
            return next(self._source)


def messages(run: str, rng: Random, mix: Mix) -> Iterator[Outgoing]:
    """Messages without end; transactions begin with `run`."""
    return _Locked(_messages(run, rng, mix))


def _messages(run: str, rng: Random, mix: Mix) -> Iterator[Outgoing]:
    shares = [getattr(mix, field) for field in mix.__dataclass_fields__]
    kinds, weights = [*mix.__dataclass_fields__, "honest"], [*shares, 1 - sum(shares)]
    recent: deque[m.PurchaseRequested] = deque(maxlen=400)
    instant = datetime.now(UTC)
    number = 0
    while True:
        number += 1
        kind = rng.choices(kinds, weights)[0]
        if kind == "views":
            yield _view(run, number, rng, broken=rng.random() < mix.unreadable)
        elif kind == "unreadable":
            yield unreadable(_purchase(f"{run}-{number}", rng), rng)
        elif kind in ("repeated", "changed") and recent:
            yield _outgoing(_again(rng.choice(recent), number, rng, changed=kind == "changed"))
        else:
            ahead = _ahead(kind, rng, instant)
            bought = _purchase(f"{run}-{number}", rng, now=ahead)
            recent.append(bought)
            yield _outgoing(bought)


def _ahead(kind: str, rng: Random, instant: datetime) -> datetime:
    """When a purchase of this kind says it happened."""
    now = datetime.now(UTC)
    shifts: Mapping[str, datetime] = {
        "late": now - timedelta(minutes=rng.uniform(0, 60)),
        "equal": instant,
        "future": now + timedelta(minutes=rng.choice((3, 30))),
    }
    return shifts.get(kind, now)


def _purchase(transaction: str, rng: Random, now: datetime | None = None) -> m.PurchaseRequested:
    return purchase(
        transaction, now=now, key=str(rng.randrange(BUYERS)), ip=f"192.0.2.{rng.randrange(ADDRESSES)}",
        event_id=f"event-{rng.randrange(EVENTS)}", amount_minor=rng.randrange(500, 90_000),
        n_tickets=rng.randrange(1, 9), ip_country=rng.choice(("DE", "DE", "DE", "FR")),
    )  # fmt: skip


def _again(bought: m.PurchaseRequested, number: int, rng: Random, *, changed: bool) -> m.PurchaseRequested:
    message_id = bought.message_id if rng.random() < 0.5 else f"again-{number}-{bought.message_id}"
    amount = bought.amount_minor + (1 if changed else 0)
    return msgspec.structs.replace(bought, message_id=message_id, amount_minor=amount)


def _outgoing(bought: m.PurchaseRequested) -> Outgoing:
    return Outgoing(
        topic=TICKET_PURCHASES.name, value=codec.encode(bought), key=bought.card_id.encode(),
        headers=(("transaction_id", bought.transaction_id.encode()),),
    )  # fmt: skip


def _view(run: str, number: int, rng: Random, *, broken: bool) -> Outgoing:
    buyer = str(rng.randrange(BUYERS))
    viewed = m.EventViewed(
        message_id=f"view-{run}-{number}", occurred_at=datetime.now(UTC), user_id=f"user-{buyer}",
        device_id=f"device-{buyer}", ip="192.0.2.1", event_id=f"event-{rng.randrange(EVENTS)}",
    )  # fmt: skip
    value = codec.encode(viewed)
    return Outgoing(topic=TICKET_ACTIVITY.name, value=value[:-9] if broken else value, key=viewed.user_id.encode())
