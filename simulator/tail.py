"""Reading a topic from where it ended when the shop opened."""

import time
from collections.abc import Callable
from threading import Event as Flag
from threading import Thread

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from ibook.edges.kafka import extent
from ibook.errors import BrokerUnavailable, ConfigurationError
from ibook.settings import Settings
from ibook.topics import Topic

ANSWER_SECONDS = 10.0

OnValue = Callable[[bytes | None, float], None]
"""Takes a message's value and when it was readable, on `time.perf_counter`'s scale; called in the reader's thread."""


class Tail:
    """Reads all partitions, in no group. `start` returns when it is sure to see every later message."""

    def __init__(self, settings: Settings, topic: Topic, on_value: OnValue) -> None:
        self._bootstrap, self._topic = settings.kafka_bootstrap, topic.name
        self._on_value = on_value
        self._ending = Flag()
        self._finish_by = 0.0
        self._begins: dict[int, int] = {}
        self._thread = Thread(target=self._read, name=f"tail of {topic.name}", daemon=True)
        self._consumer: Consumer | None = None

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
            ends = self._ends(self._consumer)
            self._begins = {end.partition: end.offset for end in ends}
            self._consumer.assign(ends)
        except KafkaException as error:
            raise BrokerUnavailable(f"No Kafka broker answers on {self._bootstrap}.") from error
        self._thread.start()

    def stop(self, *, finish_seconds: float = 0.0) -> None:
        """End the thread and leave; before that, read what is there by now, for at most so many seconds."""
        self._finish_by = time.monotonic() + finish_seconds
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(ANSWER_SECONDS + finish_seconds)
        if self._consumer is not None:
            self._consumer.close()

    def _ends(self, consumer: Consumer) -> list[TopicPartition]:
        """Explicit end offsets: OFFSET_END would be looked up later, when a message may have passed already."""
        partitions = consumer.list_topics(self._topic, ANSWER_SECONDS).topics[self._topic].partitions
        if not partitions:
            raise ConfigurationError(f"The topic {self._topic} does not exist: run `ibook topics apply`.")
        places = [TopicPartition(self._topic, number) for number in sorted(partitions)]
        return [
            TopicPartition(place.topic, place.partition, extent(consumer, place, ANSWER_SECONDS)[1]) for place in places
        ]

    def _read(self) -> None:
        consumer = self._consumer
        assert consumer is not None
        while not self._ending.is_set():
            self._take_what_comes(consumer)
        if self._finish_by > time.monotonic():
            self._finish(consumer)

    def _finish(self, consumer: Consumer) -> None:
        try:
            ends = {end.partition: end.offset for end in self._ends(consumer)}
        except KafkaException:
            return  # Kafka is away: what was read by now is all there is
        while time.monotonic() < self._finish_by:
            positions = consumer.position(consumer.assignment())  # below 0 where nothing was read yet
            if all(max(at.offset, self._begins[at.partition]) >= ends[at.partition] for at in positions):
                return
            self._take_what_comes(consumer)

    def _take_what_comes(self, consumer: Consumer) -> None:
        first = consumer.poll(0.1)  # consume() would wait for a full batch
        if first is None:
            return
        self._take(first)
        for message in consumer.consume(500, 0):
            self._take(message)

    def _take(self, message: Message) -> None:
        if message.error() is None:  # otherwise Kafka is away or moves a leader: the client goes on by itself
            self._on_value(message.value(), time.perf_counter())
