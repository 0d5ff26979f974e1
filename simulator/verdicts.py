"""The shop's ear: reads `fraud-verdicts` from where it ended when the shop opened."""

import time
from collections.abc import Callable
from threading import Event as Flag
from threading import Thread

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ibook import codec
from ibook.errors import BrokerUnavailable, ConfigurationError, InvalidMessage
from ibook.messages import FraudVerdict
from ibook.settings import Settings
from ibook.topics import FRAUD_VERDICTS

ANSWER_SECONDS = 10.0
NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)

OnVerdict = Callable[[FraudVerdict, float], None]
"""Takes a verdict and when it was readable, on `time.perf_counter`'s scale; called in the reader's thread."""


class VerdictReader:
    """Reads all partitions, in no group. `start` returns when it is sure to see every later verdict."""

    def __init__(self, settings: Settings, on_verdict: OnVerdict) -> None:
        self._bootstrap = settings.kafka_bootstrap
        self._on_verdict = on_verdict
        self._ending = Flag()
        self._thread = Thread(target=self._read, name="verdicts", daemon=True)
        self._consumer: Consumer | None = None
        self.unreadable = 0

    def start(self) -> None:
        """Raises BrokerUnavailable when Kafka does not answer, ConfigurationError when the topic is not there."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "shop",  # asked for by the client; nothing is committed
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 100,
                "log_level": 0,
            }
        )
        try:
            self._consumer.assign(self._ends(self._consumer))
        except KafkaException as error:
            raise BrokerUnavailable(f"No Kafka broker answers on {self._bootstrap}.") from error
        self._thread.start()

    def stop(self) -> None:
        """End the thread and leave."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(ANSWER_SECONDS)
        if self._consumer is not None:
            self._consumer.close()

    def _ends(self, consumer: Consumer) -> list[TopicPartition]:
        """Explicit end offsets: OFFSET_END would be looked up later, when a verdict may have passed already."""
        partitions = consumer.list_topics(FRAUD_VERDICTS.name, ANSWER_SECONDS).topics[FRAUD_VERDICTS.name].partitions
        if not partitions:
            raise ConfigurationError(f"The topic {FRAUD_VERDICTS.name} does not exist: run `ibook topics apply`.")
        return [TopicPartition(FRAUD_VERDICTS.name, number, _end(consumer, number)) for number in sorted(partitions)]

    def _read(self) -> None:
        consumer = self._consumer
        assert consumer is not None
        while not self._ending.is_set():
            first = consumer.poll(0.1)  # consume() would wait for a full batch
            if first is None:
                continue
            self._take(first)
            for message in consumer.consume(500, 0):
                self._take(message)

    def _take(self, message: Message) -> None:
        if message.error() is not None:
            return  # Kafka is away or moves a leader: the client goes on by itself
        readable_at = time.perf_counter()
        try:
            verdict = codec.decode(message.value(), FraudVerdict)
        except InvalidMessage:
            self.unreadable += 1
            return
        self._on_verdict(verdict, readable_at)


def _end(consumer: Consumer, number: int) -> int:
    """The offset after the last message; a partition made a moment ago may have no leader yet."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            _, end = consumer.get_watermark_offsets(TopicPartition(FRAUD_VERDICTS.name, number), ANSWER_SECONDS)
            return int(end)
        except KafkaException as error:
            if not error.args[0].retriable() and error.args[0].code() not in NO_LEADER_YET:
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
