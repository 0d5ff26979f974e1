"""How far the platform is behind: messages each group has not finished, asked of the broker."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ibook import topics
from ibook.clock import from_us
from ibook.edges.bulk import committed
from ibook.edges.kafka import ANSWER_SECONDS, extent
from ibook.edges.log import Stretch, log_reader, read
from ibook.edges.online_store import OnlineStore
from ibook.entities import source_slot
from ibook.errors import BrokerUnavailable, FeatureUnavailable
from ibook.heartbeat import decode_heartbeat
from ibook.settings import Settings

GROUPS: Mapping[str, tuple[topics.Topic, ...]] = {
    "activity-to-entities": topics.FEATURE_SOURCES,
    "purchases-to-verdicts": (topics.TICKET_PURCHASES,),
    "outcomes-to-journal": (topics.PAYMENT_OUTCOMES, topics.FRAUD_VERDICTS),
    "journal-to-rewards": (topics.QUOTE_JOURNAL,),
    "rewards-to-policies": (topics.PRICE_REWARDS,),
}
"""What each group reads. `entities-to-features` is judged by its heartbeats: its topic never falls silent."""


def lag_of_groups(settings: Settings) -> dict[str, int]:
    """Messages each group has not committed yet. Raises BrokerUnavailable."""
    return {group: lag_of(settings, group, read) for group, read in GROUPS.items()}


def lag_of(settings: Settings, group: str, read: tuple[topics.Topic, ...]) -> int:
    """Messages of these topics that a group has not committed yet. Raises BrokerUnavailable."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        metadata = consumer.list_topics(timeout=ANSWER_SECONDS).topics
        asked = [TopicPartition(topic.name, p) for topic in read for p in metadata[topic.name].partitions]
        lag = 0
        for each in consumer.committed(asked, timeout=ANSWER_SECONDS):
            low, high = extent(consumer, each)
            lag += high - max(each.offset, low)
        return lag
    except KafkaException as error:
        raise BrokerUnavailable(f"the lag of {group} can't be read: {error}.") from error
    finally:
        consumer.close()


def read_until(settings: Settings, group: str, topic: topics.Topic, now: datetime) -> datetime:
    """An instant, at most `now`: what the broker took before it, this group has finished. Raises BrokerUnavailable."""
    consumer = log_reader(settings.kafka_bootstrap)
    try:
        places = [
            (topic.name, partition)
            for partition in consumer.list_topics(topic.name, ANSWER_SECONDS).topics[topic.name].partitions
        ]
        first = []
        for (name, partition), offset in committed(settings, group, places).items():
            low, high = extent(consumer, TopicPartition(name, partition))
            start = max(low, offset)
            first.append(Stretch(name, partition, start, min(start + 1, high)))
        return min([now, *(from_us(message.timestamp()[1] * 1000) for message in read(consumer, first))])
    except KafkaException as error:
        raise BrokerUnavailable(f"how far {group} has read can't be told: {error}.") from error
    finally:
        consumer.close()


def features_behind(settings: Settings, store: OnlineStore) -> int | None:
    """Source messages that the online store does not vouch for yet; None when it vouches for nothing."""
    try:
        rows = store.read_heartbeats(settings.partitions)
    except FeatureUnavailable:
        return None
    beats = [decode_heartbeat(row) for row in rows if row is not None]
    if len(beats) < len(rows):
        return None
    ends = _ends(settings)
    return sum(max(0, end - 1 - min(beat.positions.get(slot, -1) for beat in beats)) for slot, end in ends.items())


def _ends(settings: Settings) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "lag", "enable.auto.commit": False})
    try:
        return {
            source_slot(topic.name, p): extent(consumer, TopicPartition(topic.name, p))[1]
            for topic in topics.FEATURE_SOURCES
            for p in range(settings.partitions)
        }
    except KafkaException as error:
        raise BrokerUnavailable(f"the ends of the topics can't be read: {error}.") from error
    finally:
        consumer.close()


def wait_until_nothing_lags(
    settings: Settings, store: OnlineStore, seconds: float, *, tell: Callable[[str], None] = lambda sentence: None
) -> bool:
    """Wait until every group has finished and the online store has everything; False when time runs out first."""
    deadline = time.monotonic() + seconds
    while True:
        behind = {name: lag for name, lag in lag_of_groups(settings).items() if lag}
        features = features_behind(settings, store)
        if not behind and features == 0:
            return True
        if time.monotonic() > deadline:
            return False
        tell(", ".join([*(f"{name} {lag}" for name, lag in behind.items()), f"features {features}"]))
        time.sleep(0.3)
