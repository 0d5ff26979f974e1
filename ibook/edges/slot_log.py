"""The quote journal and the settled rewards, read from Kafka into a `SlotBook`, as far as they go now."""

from collections.abc import Iterator
from datetime import datetime
from typing import Self

from confluent_kafka import KafkaException, Message, TopicPartition

from ibook.clock import to_us
from ibook.codec import decode
from ibook.edges.kafka import ANSWER_SECONDS, extent
from ibook.edges.log import Stretch, log_reader, offset_at, read
from ibook.errors import BrokerUnavailable, ConfigurationError, InvalidMessage
from ibook.messages import PriceReward, QuoteIssued, QuoteJournal
from ibook.settings import Settings
from ibook.slot_book import SlotBook
from ibook.topics import PRICE_REWARDS, QUOTE_JOURNAL

READ = (QUOTE_JOURNAL, PRICE_REWARDS)


class SlotLog:
    """Reads on from where it was; one thread at a time. A context manager."""

    def __init__(self, settings: Settings, since: datetime | None = None, *, shown: bool = False) -> None:
        """Offers shown since; all that the log holds without it. `shown`: the book keeps which quotes a slot had."""
        self.book = SlotBook(shown={} if shown else None)
        self.since = since
        self._settings = settings
        self._consumer = log_reader(settings.kafka_bootstrap)
        self._positions: dict[tuple[str, int], int] = {}

    def __enter__(self) -> Self:
        """The reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Leave; the book stays."""
        self._consumer.close()

    def read_on(self) -> SlotBook:
        """Add what came since the last call. Raises BrokerUnavailable, ConfigurationError (a topic is missing)."""
        try:
            for message in read(self._consumer, list(self._stretches())):
                self._take(message)
                self._positions[str(message.topic()), int(message.partition() or 0)] = int(message.offset() or 0) + 1
        except KafkaException as error:
            raise BrokerUnavailable(f"Quotes and rewards can't be read: {error}.") from error
        return self.book

    def _stretches(self) -> Iterator[Stretch]:
        for topic in READ:
            partitions = self._consumer.list_topics(topic.name, timeout=ANSWER_SECONDS).topics[topic.name].partitions
            if not partitions:
                raise ConfigurationError(f"The topic {topic.name} does not exist: run `ibook topics apply`.")
            for partition in partitions:
                yield self._stretch(topic.name, partition)

    def _stretch(self, topic: str, partition: int) -> Stretch:
        low, high = extent(self._consumer, TopicPartition(topic, partition))
        start = self._positions.get((topic, partition))
        if start is None and self.since is not None:
            start = offset_at(self._consumer, topic, partition, to_us(self.since) // 1000, high)
        # Kept although nothing was read yet: what comes later begins here.
        self._positions[topic, partition] = start = max(low, start or 0)
        return Stretch(topic, partition, start, high)

    def _take(self, message: Message) -> None:
        """Add a message; what can't be read is left out (the worker that owns its topic dead-letters it)."""
        try:
            if message.topic() == PRICE_REWARDS.name:
                self.book.reward(decode(message.value(), PriceReward), int(message.partition() or 0))
                return
            entry: QuoteJournal = decode(message.value(), QuoteJournal)
        except InvalidMessage:
            return
        if isinstance(entry, QuoteIssued):
            self.book.issue(entry)
