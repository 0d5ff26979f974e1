"""One batch, one partition, in order, acknowledged: fails when the private parts it leans on move."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ibook.settings import Settings
from streams.app import create_app
from streams.fetching import HELD_SECONDS, fetch_in_turn, seek_to_committed
from streams.publish import Record, RecordTooLarge, publish, publish_all
from streams.state_table import StateTable
from tests.traffic import read_all

TOPIC = "fraud-evidence"


async def test_records_arrive_in_order_with_their_headers(platform_settings: Settings) -> None:
    app = create_app("test-publish", platform_settings)
    await app.producer.start()
    records = [Record(f"k{i}".encode(), f"v{i}".encode(), (("h", b"1"),)) for i in range(100)]
    assert await publish(app, TOPIC, 2, records) == 99
    assert await publish(app, TOPIC, 2, records[:1]) == 100
    await app.producer.stop()
    found = sorted(read_all(platform_settings, TOPIC))
    assert [(p, key, value) for p, _, key, value in found[:100]] == [(2, r.key, r.value) for r in records]


async def test_more_than_a_batch_holds_is_sent_in_several(platform_settings: Settings) -> None:
    app = create_app("test-publish", platform_settings)
    await app.producer.start()
    records = [Record(str(i).encode(), b"x" * 50_000) for i in range(60)]
    assert await publish_all(app, TOPIC, {0: records, 1: records[:1]}) == {0: 59, 1: 0}
    await app.producer.stop()
    assert [key for p, _, key, _ in sorted(read_all(platform_settings, TOPIC)) if p == 0] == [r.key for r in records]


async def test_a_record_no_batch_can_hold_is_refused(platform_settings: Settings) -> None:
    app = create_app("test-publish", platform_settings)
    await app.producer.start()
    with pytest.raises(RecordTooLarge):
        await publish(app, TOPIC, 0, [Record(b"k", b"x" * (2 << 20))])
    await app.producer.stop()


async def test_table_writes_changelog_and_store_alike(platform_settings: Settings) -> None:
    app = create_app("entities-to-features", platform_settings)
    table = StateTable(app, "states", platform_settings.partitions)
    await app.producer.start()
    await table.write(1, {b"card:1": b"a", b"event:1": b"b", b"event:2": b"c"})
    await table.write(1, {b"card:1": b"d", b"event:2": None})
    await app.producer.stop()
    assert (table.get(1, b"card:1"), table.get(1, b"event:2"), table.get(0, b"card:1")) == (b"d", None, None)
    assert list(table.items(1)) == [(b"card:1", b"d"), (b"event:1", b"b")]
    assert list(table.items(1, b"event:")) == [(b"event:1", b"b")]
    changelog = sorted(read_all(platform_settings, "entities-to-features-states-changelog"))
    assert [(p, key, value) for p, _, key, value in changelog] == [
        (1, b"card:1", b"a"), (1, b"event:1", b"b"), (1, b"event:2", b"c"), (1, b"card:1", b"d"), (1, b"event:2", None),
    ]  # fmt: skip


async def test_a_consumer_that_finds_nothing_leaves_its_fetch_with_the_broker(platform_settings: Settings) -> None:
    app = create_app("test-fetching", platform_settings)
    app.finalize()
    thread = app.consumer._new_consumer_thread()  # type: ignore[attr-defined]
    client = thread._create_worker_consumer(app.transport)
    assert (client._fetch_min_bytes, client._fetch_max_wait_ms) == (1, HELD_SECONDS * 1000)
    await client.stop()


async def test_fetches_wait_for_their_turn_and_all_else_goes_at_once(platform_settings: Settings) -> None:
    client = AIOKafkaConsumer(bootstrap_servers=platform_settings.kafka_bootstrap, auto_offset_reset="earliest")
    asked: list[str] = []
    fetched, send = asyncio.Event(), client._client.send

    async def noted(node: int, request: Any, **options: Any) -> Any:
        name = type(request).__name__
        asked.append(name)
        answer = await send(node, request, **options)
        if name == "FetchRequest":
            fetched.set()
        return answer

    client._client.send = noted
    fetch_in_turn(client._client, pause_seconds=3600.0)
    await client.start()
    client.assign([TopicPartition(TOPIC, 0)])
    await asyncio.wait_for(fetched.wait(), 120)
    await client.end_offsets([TopicPartition(TOPIC, 0)])
    await client.stop()
    assert asked.count("FetchRequest") == 1
    assert "OffsetRequest" in asked[asked.index("FetchRequest") :]


async def test_where_nothing_was_committed_reading_begins_at_the_start_again(platform_settings: Settings) -> None:
    app = create_app("test-publish", platform_settings)
    await app.producer.start()
    await publish_all(app, TOPIC, {0: [Record(b"k", b"first")], 1: [Record(b"k", b"first"), Record(b"k", b"second")]})
    await app.producer.stop()
    client = AIOKafkaConsumer(
        bootstrap_servers=platform_settings.kafka_bootstrap, group_id="test-seeking", enable_auto_commit=False,
        auto_offset_reset="earliest",
    )  # fmt: skip
    await client.start()
    fresh, known, other = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1), TopicPartition("fraud-verdicts", 0)
    client.assign([fresh, known, other])
    await client.commit({known: 1})
    await client.seek_to_end(fresh, known)
    client.seek(other, 7)
    found = await seek_to_committed(client, but_not={"fraud-verdicts"})
    assert found == {fresh: None, known: 1, other: None}
    assert [await client.position(tp) for tp in (fresh, known, other)] == [0, 1, 7]
    await client.stop()


async def test_a_stopped_flow_waits_for_the_fetch_under_way(platform_settings: Settings) -> None:
    app = create_app("test-fetching", platform_settings)
    app.finalize()
    consumer: Any = app.consumer
    answered = asyncio.Event()

    async def getmany(active_partitions: Any, timeout: float) -> dict[Any, Any]:
        await answered.wait()
        return {}

    consumer._thread.getmany = getmany
    await asyncio.wait_for(consumer.wait_for_stopped_flow(), 60)  # no fetch, no wait
    fetch = asyncio.create_task(consumer._getmany(set(), 1.0))
    await asyncio.sleep(0)
    stopped = asyncio.create_task(consumer.wait_for_stopped_flow())
    await asyncio.sleep(0.1)
    assert not stopped.done()
    answered.set()
    await asyncio.wait_for(asyncio.gather(fetch, stopped), 60)
