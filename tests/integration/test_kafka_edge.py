"""Topics, producer and broadcast reader against a real broker."""

import time

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from ibook.edges import kafka_admin
from ibook.edges.kafka import BroadcastReader, Outgoing, Record, producer, publish
from ibook.errors import BrokerUnavailable, ConfigurationError
from ibook.settings import Settings
from ibook.topics import CHANGELOGS, MODEL_RELEASES, PRICE_POLICIES, TICKET_PURCHASES, TOPICS
from infra.local.processes import free_port
from tests.workers import wait_until

ALL = {topic.name for topic in (*TOPICS, *CHANGELOGS)}


def away() -> Settings:
    return Settings(kafka_bootstrap=f"127.0.0.1:{free_port()}")


def test_applying_twice_creates_every_topic_once(platform_settings: Settings) -> None:
    kafka_admin.delete_topics(platform_settings, ALL)
    assert set(kafka_admin.apply_topics(platform_settings).created) == ALL
    assert kafka_admin.apply_topics(platform_settings) == kafka_admin.TopicChanges()
    counts = kafka_admin.list_topics(platform_settings)
    assert counts[TICKET_PURCHASES.name] == platform_settings.partitions
    assert counts[MODEL_RELEASES.name] == 1


def test_another_partition_count_is_refused(platform_settings: Settings) -> None:
    for count in (3, 6):
        other = platform_settings.model_copy(update={"partitions": count})
        with pytest.raises(ConfigurationError, match=f"has 4 partitions, IBOOK_PARTITIONS says {count}: set it to 4"):
            kafka_admin.apply_topics(other)
    assert set(kafka_admin.list_topics(platform_settings).values()) == {1, 4}


def test_a_topic_configured_otherwise_is_reported_and_left_alone(platform_settings: Settings) -> None:
    from dataclasses import replace

    declared = replace(TICKET_PURCHASES, retention_days=1)
    changes = kafka_admin.apply_topics(platform_settings, [declared])
    assert changes.differences == ("ticket-purchases has retention.ms=2592000000, retention.ms=86400000 is declared.",)


def test_a_broker_that_is_away_is_one_sentence() -> None:
    settings = away()
    with pytest.raises(BrokerUnavailable, match=f"No Kafka broker answers on {settings.kafka_bootstrap}"):
        kafka_admin.apply_topics(settings)


def test_a_broadcast_reader_sees_all_partitions_then_what_comes_later(platform_settings: Settings) -> None:
    client = producer(platform_settings)
    topics = (PRICE_POLICIES.name, MODEL_RELEASES.name)
    first = [Outgoing(topic=PRICE_POLICIES.name, key=b"%d" % n, value=b"v", partition=n % 4) for n in range(100)]
    assert publish(client, first) == 100
    with BroadcastReader(platform_settings, *topics) as one, BroadcastReader(platform_settings, *topics) as other:
        for reader in (one, other):
            loaded = reader.load()
            assert sorted(int(record.key or b"") for record in loaded) == list(range(100))
            assert {record.partition for record in loaded} == {0, 1, 2, 3}
            assert reader.poll_new() == []
        publish(client, [Outgoing(topic=MODEL_RELEASES.name, key=b"fraud", value=b"1", headers=(("h", b"x"),))])
        for reader in (one, other):
            (record,) = reader.poll_new(timeout_seconds=120)
            assert (record.topic, record.key, record.value) == (MODEL_RELEASES.name, b"fraud", b"1")
            assert record.headers == (("h", b"x"),)
            assert abs(record.timestamp_ms / 1000 - time.time()) < 3600


def test_a_broadcast_reader_of_empty_topics_loads_nothing(platform_settings: Settings) -> None:
    with BroadcastReader(platform_settings, PRICE_POLICIES.name) as reader:
        assert reader.load() == []


def test_a_broadcast_reader_finds_partitions_that_are_added(
    platform_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibook.edges.kafka.NEW_PARTITIONS_SECONDS", 0.0)
    with BroadcastReader(platform_settings, PRICE_POLICIES.name) as reader:
        reader.load()
        admin = AdminClient({"bootstrap.servers": platform_settings.kafka_bootstrap})
        admin.create_partitions([NewPartitions(PRICE_POLICIES.name, 5)])[PRICE_POLICIES.name].result()
        wait_until(lambda: kafka_admin.list_topics(platform_settings)[PRICE_POLICIES.name] == 5, 30, "the partition")
        late = Outgoing(topic=PRICE_POLICIES.name, key=b"k", value=b"late", partition=4)
        publish(producer(platform_settings), [late])
        records: list[Record] = []

        def has_come() -> bool:
            records.extend(reader.poll_new(timeout_seconds=0.2))
            return bool(records)

        wait_until(has_come, 30, "the message in the new partition")
        assert [record.value for record in records] == [b"late"]


def test_a_broadcast_reader_says_which_topic_is_missing(platform_settings: Settings) -> None:
    with (
        BroadcastReader(platform_settings, "no-such-topic") as reader,
        pytest.raises(ConfigurationError, match="The topic no-such-topic does not exist: run `ibook topics apply`"),
    ):
        reader.load()


def test_a_broadcast_reader_gives_up_on_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibook.edges.kafka.ANSWER_SECONDS", 1.0)
    with BroadcastReader(away(), PRICE_POLICIES.name) as reader, pytest.raises(BrokerUnavailable):
        reader.load()


def test_keys_go_to_the_partition_that_java_and_faust_choose(platform_settings: Settings) -> None:
    from aiokafka.partitioner import murmur2

    keys = [b"card-%d" % n for n in range(50)]
    publish(producer(platform_settings), [Outgoing(topic=TICKET_PURCHASES.name, key=key, value=b"") for key in keys])
    with BroadcastReader(platform_settings, TICKET_PURCHASES.name) as reader:
        placed = {record.key: record.partition for record in reader.load()}
    assert placed == {key: (murmur2(key) & 0x7FFFFFFF) % platform_settings.partitions for key in keys}


def test_messages_that_cannot_be_delivered_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibook.edges.kafka.DELIVERY_SECONDS", 2.0)
    with pytest.raises(BrokerUnavailable, match="3 of 3 messages did not reach Kafka: "):
        publish(producer(away(), {"log_level": 0}), [Outgoing(topic="any", value=b"x")] * 3)
