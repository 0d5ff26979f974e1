"""Purchases that wait too long for a verdict, asked of the broker: true also while no verdict worker lives."""

import threading
import time
from typing import Self

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ibook.edges.kafka import ANSWER_SECONDS, extent
from ibook.errors import BrokerUnavailable, ConfigurationError, IbookError
from ibook.metrics import UNANSWERED
from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES

GROUP = "purchases-to-verdicts"
LOOK_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Unanswered:
    """Counts purchases that are past the committed offset of the verdict workers and old by the broker's clock.

    One thread at a time; a context manager. `follow` keeps the gauge `ibook_fraud_unanswered_purchases` current.
    """

    def __init__(self, settings: Settings) -> None:
        self._after_ms = int(settings.unanswered_after_seconds * 1000)
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                "group.id": GROUP,  # asked about, never joined
                "enable.auto.commit": False,
                "isolation.level": "read_committed",  # as the workers read: what was aborted waits for nobody
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )

    @classmethod
    def follow(cls, settings: Settings) -> threading.Event:
        """Keep the gauge current from a thread until the event is set; NaN while Kafka does not say."""
        stop = threading.Event()
        threading.Thread(target=_follow, args=(cls, settings, stop), name="unanswered", daemon=True).start()
        return stop

    def __enter__(self) -> Self:
        """The counter itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._consumer.close()

    def count(self) -> int:
        """How many wait now. Raises BrokerUnavailable, and ConfigurationError when the topic does not exist."""
        topic = TICKET_PURCHASES.name
        try:
            found = self._consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic].partitions
            if not found:
                raise ConfigurationError(f"The topic {topic} does not exist: run `ibook topics apply`.")
            asked = [TopicPartition(topic, partition) for partition in sorted(found)]
            old_ms = int(time.time() * 1000) - self._after_ms
            times = [TopicPartition(topic, each.partition, old_ms) for each in asked]
            committed = self._consumer.committed(asked, timeout=ANSWER_SECONDS)
            recent = self._consumer.offsets_for_times(times, timeout=ANSWER_SECONDS)
            return sum(self._waiting(done, new) for done, new in zip(committed, recent, strict=True))
        except KafkaException as error:
            raise BrokerUnavailable(f"How many purchases wait for a verdict can't be asked: {error}.") from error

    def _waiting(self, committed: TopicPartition, recent: TopicPartition) -> int:
        """Purchases of one partition from the committed offset up to the first that is not old."""
        low, high = extent(self._consumer, committed)
        done, end = max(committed.offset, low), recent.offset if recent.offset >= 0 else high
        return max(0, end - self._first_visible(committed, done, end)) if done < end else 0

    def _first_visible(self, partition: TopicPartition, done: int, end: int) -> int:
        """Offset of the first purchase from `done` on; `end` when there is none.

        What follows the last answered purchase may be the marker of a transaction, or what was aborted.
        """
        self._consumer.assign([TopicPartition(partition.topic, partition.partition, done)])
        try:
            for message in self._consumer.consume(1, timeout=ANSWER_SECONDS):
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                return end if error is not None else message.offset() or 0
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        finally:
            self._consumer.unassign()


def _follow(counter: type[Unanswered], settings: Settings, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            with counter(settings) as unanswered:
                while not stop.is_set():
                    UNANSWERED.set(unanswered.count())
                    stop.wait(LOOK_SECONDS)
        except IbookError as error:
            log.warning("waiting purchases are not known", why=str(error))
        except Exception:  # a thread that ends in silence would leave a good figure standing for ever
            log.exception("counting waiting purchases failed")
        UNANSWERED.set(float("nan"))
        stop.wait(LOOK_SECONDS)
