"""Purchases for tests, made from a seed, and what came of them."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from zlib import crc32

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ibook import codec
from ibook import messages as m
from ibook.edges.kafka import producer
from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES

OPENED = datetime(2025, 1, 1, tzinfo=UTC)


def purchase(
    transaction_id: str, *, now: datetime | None = None, key: str = "1", **changes: object
) -> m.PurchaseRequested:
    """An honest purchase; `key` names its user, card and device."""
    fields: dict[str, object] = {
        "message_id": f"m-{transaction_id}", "occurred_at": now or datetime.now(UTC), "transaction_id": transaction_id,
        "user_id": f"user-{key}", "card_id": f"card-{key}", "device_id": f"device-{key}", "ip": "192.0.2.1",
        "event_id": "event-1", "amount_minor": 5000, "currency": "EUR", "n_tickets": 2, "ticket_type": "standard",
        "bin": f"4{crc32(key.encode()) % 100_000:05d}", "card_country": "DE", "ip_country": "DE",
        "email_domain": "example.org", "account_opened_at": OPENED,
    }  # fmt: skip
    return m.PurchaseRequested(**{**fields, **changes})  # type: ignore[arg-type]


def purchases(run: str, count: int, *, seed: int = 0, keys: int = 200) -> list[m.PurchaseRequested]:
    """`count` purchases by `keys` buyers over a few events, a millisecond apart."""
    rng = Random(seed)
    start = datetime.now(UTC) - timedelta(milliseconds=count)
    return [
        purchase(
            f"{run}-{i}",
            now=start + timedelta(milliseconds=i),
            key=str(rng.randrange(keys)),
            event_id=f"event-{rng.randrange(3)}",
            amount_minor=rng.randrange(500, 20_000),
        )
        for i in range(count)
    ]


def publish(settings: Settings, sent: Iterable[m.PurchaseRequested]) -> None:
    """Publish purchases and wait until the broker has them."""
    client = producer(settings)
    for each in sent:
        client.produce(TICKET_PURCHASES.name, codec.encode(each), each.card_id.encode())
        client.poll(0)
    assert client.flush(120) == 0


def read_all(settings: Settings, topic: str) -> list[tuple[int, int, bytes | None, bytes | None]]:
    """(partition, offset, key, value) of all that is in a topic now."""
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap, "group.id": "tests", "enable.auto.commit": False}
    )
    found: list[tuple[int, int, bytes | None, bytes | None]] = []
    try:
        ends = _ends(consumer, topic)
        consumer.assign([TopicPartition(topic, p, 0) for p in ends])
        missing = {p: end for p, end in ends.items() if end > 0}
        while missing:
            for message in consumer.consume(1000, 0.1):
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None
                key, value = message.key(), message.value()
                found.append((partition, offset, _bytes(key), _bytes(value)))
                if offset + 1 >= missing.get(partition, 0):
                    missing.pop(partition, None)
    finally:
        consumer.close()
    return found


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    """The end of every partition; a topic that was just made anew may need a moment to find its leader."""
    deadline = time.monotonic() + 60
    while True:
        try:
            partitions = consumer.list_topics(topic, 10).topics[topic].partitions
            return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def verdicts(settings: Settings) -> dict[str, list[m.FraudVerdict]]:
    """All verdicts by transaction, in the order of their partition."""
    found: dict[str, list[m.FraudVerdict]] = defaultdict(list)
    for _, _, _, value in sorted(read_all(settings, "fraud-verdicts"), key=lambda row: (row[0], row[1])):
        verdict: m.FraudVerdict = codec.decode(value, m.FraudVerdict)
        found[verdict.transaction_id].append(verdict)
    return dict(found)


def missing(sent: Sequence[m.PurchaseRequested], answered: dict[str, list[m.FraudVerdict]]) -> list[str]:
    """Transactions without a verdict."""
    return [each.transaction_id for each in sent if each.transaction_id not in answered]
