"""A header's name is bytes to Kafka: one that is not UTF-8 neither stops a worker nor loses its message."""

from collections.abc import Sequence

import pytest

from ibook.codec import encode
from ibook.edges.kafka import BroadcastReader
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES
from streams.header_names import read_odd_header_names
from tests.odd_headers import publish_odd
from tests.traffic import missing, purchases, verdicts
from tests.workers import WorkerProcess, wait_until


def values(sent: Sequence[PurchaseRequested]) -> list[bytes]:
    return [encode(each) for each in sent]


async def test_purchases_with_odd_header_names_are_answered_and_so_is_what_follows(
    platform_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = purchases("odd", 12)
    for compression, some in ((None, sent[:6]), ("gzip", sent[6:])):
        await publish_odd(
            monkeypatch, platform_settings.kafka_bootstrap, TICKET_PURCHASES.name, 1, values(some),
            key=b"card", compression=compression,
        )  # fmt: skip
    worker = WorkerProcess("purchases-to-verdicts", platform_settings).start()
    try:
        wait_until(lambda: not missing(sent, verdicts(platform_settings)), 30, "the verdicts")
        assert all(len(found) == 1 for found in verdicts(platform_settings).values())
        assert worker.alive()
    finally:
        worker.kill()


async def test_a_reader_of_our_own_gets_the_message_without_headers(
    platform_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = values(purchases("odd", 20))
    bootstrap, topic = platform_settings.kafka_bootstrap, TICKET_PURCHASES.name
    await publish_odd(monkeypatch, bootstrap, topic, 0, sent, key=b"card")
    for _ in range(10):  # so often that the interpreter takes its fast paths
        with BroadcastReader(platform_settings, topic) as reader:
            found = reader.load()
        assert [(each.value, each.headers) for each in found] == [(value, ()) for value in sent]


async def test_aiokafka_still_needs_this(platform_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiokafka import AIOKafkaConsumer
    from aiokafka.consumer import fetcher
    from aiokafka.record.memory_records import MemoryRecords

    bootstrap, topic = platform_settings.kafka_bootstrap, TICKET_PURCHASES.name
    await publish_odd(monkeypatch, bootstrap, topic, 0, [b"first", b"second", b"third"], key=b"card")
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        with pytest.raises(UnicodeDecodeError):
            await consumer.getmany(timeout_ms=120_000)
    read_odd_header_names()
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        read = [await consumer.getone() for _ in range(3)]
    assert [(each.value, dict(each.headers)) for each in read] == [
        (b"first", {}),
        (b"second", {"plain": b"1", "na\ufffdve": b"2"}),
        (b"third", {"plain": b"1", "na\ufffdve": b"2"}),
    ]
