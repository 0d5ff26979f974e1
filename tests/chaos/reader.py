"""Reads the topics as any consumer would, and watches what the verdict group commits while it works."""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from ibook.settings import Settings
from ibook.topics import DEAD_LETTERS, FRAUD_VERDICTS, TICKET_PURCHASES
from tests.chaos.judge import Lying, Sample

GROUP = "purchases-to-verdicts"
ANSWER_SECONDS = 2.0
READ_SECONDS = 30.0
SAMPLE_SECONDS = 0.25
Ends = dict[tuple[str, int], int]
"""The offset after the last, by topic and partition."""


def consumer(settings: Settings, group: str = "chaos") -> Consumer:
    """A plain one that commits nothing."""
    return Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0}
    )


def ends(client: Consumer, topics: Iterable[str]) -> Ends:
    """Where each partition ends now. Raises KafkaException while the broker does not answer."""
    held = client.list_topics(timeout=ANSWER_SECONDS).topics
    return {
        (topic, partition): client.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_SECONDS)[1]
        for topic in topics
        for partition in held[topic].partitions
    }


def read_since(settings: Settings, began: Mapping[tuple[str, int], int]) -> dict[str, list[Lying]]:
    """All messages from these offsets up to the ends as they are now, by topic, in order within a partition."""
    logs: dict[str, list[Lying]] = {topic: [] for topic, _ in began}
    client = consumer(settings)
    try:
        until = ends(client, logs)
        left = {place for place, offset in began.items() if offset < until[place]}
        client.assign([TopicPartition(*place, began[place]) for place in left])
        deadline = time.monotonic() + READ_SECONDS
        while left:
            assert time.monotonic() < deadline, f"{left} can't be read"
            for message in client.consume(5000, 0.1):
                topic, lying = str(message.topic()), _lying(message)
                logs[topic].append(lying)
                if lying.offset + 1 >= until[topic, lying.partition]:
                    left.discard((topic, lying.partition))
                deadline = time.monotonic() + READ_SECONDS
    finally:
        client.close()
    return logs


def _lying(message: Message) -> Lying:
    assert message.error() is None, message.error()
    value: Any = message.value()
    headers: Any = message.headers() or []
    return Lying(
        message.partition() or 0, message.offset() or 0, message.timestamp()[1],
        value, {name: held or b"" for name, held in headers},
    )  # fmt: skip


class Commits:
    """Samples, from a thread of its own, what the verdict workers have committed and what they had answered by then."""

    def __init__(self, settings: Settings) -> None:
        self.samples: list[Sample] = []
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commits", daemon=True)

    def __enter__(self) -> "Commits":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        client = consumer(self._settings, GROUP)  # asked about, never joined
        try:
            while not self._stop.wait(SAMPLE_SECONDS):
                try:
                    self.samples.append(self._sample(client))
                except KafkaException:
                    continue  # the broker is what this scenario breaks
        finally:
            client.close()

    def _sample(self, client: Consumer) -> Sample:
        """Committed offsets first: what they passed must have been answered already."""
        asked = [TopicPartition(TICKET_PURCHASES.name, partition) for partition in range(self._settings.partitions)]
        committed = {each.partition: each.offset for each in client.committed(asked, timeout=ANSWER_SECONDS)}
        found = ends(client, (FRAUD_VERDICTS.name, DEAD_LETTERS.name))
        verdicts = {partition: end for (topic, partition), end in found.items() if topic == FRAUD_VERDICTS.name}
        return Sample(committed, verdicts, found[DEAD_LETTERS.name, 0])
