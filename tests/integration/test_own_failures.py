"""A bad deploy of the verdict worker: it stops and says so, and the version before finds everything as it was."""

from confluent_kafka import Consumer, TopicPartition

from ibook.edges.kafka import Outgoing, producer
from ibook.edges.kafka import publish as put
from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES
from tests.traffic import missing, publish, purchases, read_all, verdicts
from tests.workers import WorkerProcess, wait_until

NAME = "purchases-to-verdicts"


def committed(settings: Settings) -> dict[int, int]:
    """The next purchase of each partition that the group would read."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": NAME})
    try:
        asked = [TopicPartition(TICKET_PURCHASES.name, partition) for partition in range(settings.partitions)]
        return {each.partition: max(0, each.offset) for each in consumer.committed(asked, timeout=60)}
    finally:
        consumer.close()


def publish_unreadable(settings: Settings) -> None:
    put(
        producer(settings),
        [Outgoing(topic=TICKET_PURCHASES.name, key=b"k", partition=p, value=b"{") for p in range(settings.partitions)],
    )


def test_a_bad_deploy_stops_the_worker_and_leaves_everything_to_the_version_before(platform_settings: Settings) -> None:
    sent = purchases("deploy", 40)
    publish_unreadable(platform_settings)
    publish(platform_settings, sent)
    publish_unreadable(platform_settings)
    broken = WorkerProcess(NAME, platform_settings, IBOOK_OWN_FAILURES="5")
    broken.arguments = ["tests.broken_deploy", NAME]
    broken.start()
    wait_until(lambda: not broken.alive(), 30, "the broken worker to stop")
    assert broken.stop() == 1
    told = broken.log.read_text()
    assert "Our own code failed on 5 different messages in a row" in told
    assert "KeyError('amount_per_ticket')" in told
    assert verdicts(platform_settings) == {}
    assert all(offset <= 1 for offset in committed(platform_settings).values()), "no purchase is behind it"
    sound = WorkerProcess(NAME, platform_settings, IBOOK_OWN_FAILURES="5").start()
    try:
        wait_until(lambda: not missing(sent, verdicts(platform_settings)), 30, "the verdicts")
        assert all(len(found) == 1 for found in verdicts(platform_settings).values())
        wait_until(lambda: len(read_all(platform_settings, "dead-letters")) >= 2 * platform_settings.partitions, 20,
                   "what a publisher broke to be dead-lettered")  # fmt: skip
        assert sound.alive()
    finally:
        sound.kill()
