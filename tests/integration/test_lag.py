"""How far a group has read, in time, on real Kafka."""

from datetime import UTC, datetime, timedelta

from confluent_kafka import Consumer, TopicPartition

from ibook.edges.kafka import Outgoing, producer, publish
from ibook.edges.lag import read_until
from ibook.edges.log import Stretch, log_reader, read
from ibook.settings import Settings
from ibook.topics import QUOTE_JOURNAL

GROUP = "journal-to-rewards"


def commit(settings: Settings, partition: int, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": GROUP})
    consumer.commit(offsets=[TopicPartition(QUOTE_JOURNAL.name, partition, offset)], asynchronous=False)
    consumer.close()


def test_a_group_has_read_until_its_first_unread_message_came(platform_settings: Settings) -> None:
    now = datetime.now(UTC) + timedelta(hours=1)
    assert read_until(platform_settings, GROUP, QUOTE_JOURNAL, now) == now, "nothing is there to be read"
    for value in (b"first", b"second"):
        publish(producer(platform_settings), [Outgoing(topic=QUOTE_JOURNAL.name, value=value, key=b"k", partition=1)])
    consumer = log_reader(platform_settings.kafka_bootstrap)
    came = [
        datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
        for message in read(consumer, [Stretch(QUOTE_JOURNAL.name, 1, 0, 2)])
    ]
    consumer.close()
    assert read_until(platform_settings, GROUP, QUOTE_JOURNAL, now) == came[0]
    commit(platform_settings, 1, 1)
    assert read_until(platform_settings, GROUP, QUOTE_JOURNAL, now) == came[1]
    commit(platform_settings, 1, 2)
    assert read_until(platform_settings, GROUP, QUOTE_JOURNAL, now) == now
