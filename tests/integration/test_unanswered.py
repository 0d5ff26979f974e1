"""Purchases that wait too long for a verdict, counted on a real broker."""

import math

from confluent_kafka import Consumer, Producer, TopicPartition

from ibook import codec
from ibook.edges.kafka import extent
from ibook.edges.unanswered import GROUP, Unanswered
from ibook.errors import BrokerUnavailable
from ibook.metrics import UNANSWERED
from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES
from infra.local.processes import free_port
from tests.traffic import publish, purchase, purchases
from tests.workers import wait_until


def answer_all(settings: Settings, *, markers: int = 0) -> None:
    """Commit as a verdict worker that has answered every purchase; `markers` end each partition that has any."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": GROUP})
    parts = [TopicPartition(TICKET_PURCHASES.name, partition) for partition in range(settings.partitions)]
    ends = [extent(consumer, each, 60)[1] for each in parts]
    done = [
        TopicPartition(each.topic, each.partition, max(0, end - markers)) for each, end in zip(parts, ends, strict=True)
    ]
    consumer.commit(offsets=done, asynchronous=False)
    consumer.close()


def counted(waiting: Unanswered) -> int:
    """What it counts; -1 while a topic that was just made anew has no leader yet."""
    try:
        return waiting.count()
    except BrokerUnavailable:
        return -1


def test_only_purchases_that_wait_longer_than_the_limit_count(platform_settings: Settings) -> None:
    quick = platform_settings.model_copy(update={"unanswered_after_seconds": 1.0})
    slow = platform_settings.model_copy(update={"unanswered_after_seconds": 3600.0})
    with Unanswered(quick) as soon, Unanswered(slow) as later:
        wait_until(lambda: counted(soon) == counted(later) == 0, 20, "an empty topic to be counted")
        publish(platform_settings, purchases("first", 30))
        wait_until(lambda: counted(soon) == 30, 20, "30 purchases to be late")
        assert later.count() == 0
        answer_all(platform_settings)
        assert soon.count() == 0
        publish(platform_settings, purchases("second", 7))
        wait_until(lambda: counted(soon) == 7, 20, "7 purchases to be late")


def test_what_a_transaction_leaves_behind_waits_for_nobody(platform_settings: Settings) -> None:
    settings = platform_settings.model_copy(update={"unanswered_after_seconds": 1.0})
    client = Producer({"bootstrap.servers": settings.kafka_bootstrap, "transactional.id": "shop"})
    client.init_transactions()

    def transaction(name: str) -> None:
        client.begin_transaction()
        client.produce(TICKET_PURCHASES.name, codec.encode(purchase(name)), b"card")
        client.flush(120)

    transaction("bought")
    client.commit_transaction()
    with Unanswered(settings) as waiting:
        wait_until(lambda: counted(waiting) >= 1, 20, "the purchase to be late")
        answer_all(settings, markers=1)
        assert waiting.count() == 0, "the marker of its transaction is no purchase"
        transaction("aborted")
        client.abort_transaction()
        transaction("bought-later")
        client.commit_transaction()
        wait_until(lambda: counted(waiting) >= 1, 20, "the second purchase to be late")


def test_the_gauge_follows_what_waits(platform_settings: Settings) -> None:
    settings = platform_settings.model_copy(update={"unanswered_after_seconds": 1.0})
    publish(settings, purchases("gauge", 5))
    stop = Unanswered.follow(settings)
    wait_until(lambda: UNANSWERED._value.get() == 5, 20, "the gauge")
    stop.set()


def test_without_a_broker_the_gauge_is_not_a_number() -> None:
    UNANSWERED.set(3)
    stop = Unanswered.follow(Settings(kafka_bootstrap=f"127.0.0.1:{free_port()}"))
    wait_until(lambda: math.isnan(UNANSWERED._value.get()), 30, "the gauge to be unknown")
    stop.set()
