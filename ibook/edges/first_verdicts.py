"""For shops written in Python: every transaction's verdict once, first one wins, committed when it was handled.

Needs `confluent-kafka` and nothing else that is running. `docs/publishing.md` shows it, and says the rule in words for
other clients.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ibook.codec import decode
from ibook.consumer import MAX_REMEMBERED, FirstWins
from ibook.edges.kafka import extent
from ibook.edges.log import Stretch, log_reader, read
from ibook.errors import BrokerUnavailable, ConfigurationError, InvalidMessage
from ibook.messages import FraudVerdict
from ibook.topics import FRAUD_VERDICTS

log = structlog.get_logger(__name__)

TOPIC = FRAUD_VERDICTS.name
TAKE_OVER_SECONDS = 60.0
"""Longest a member waits for Kafka while it takes over partitions."""
COMMIT_MS = 500


class FirstVerdicts:
    """An endless iterator over first verdicts, for one member of a consumer group; also a context manager.

    A verdict counts as handled when the next one is asked for, or when the `with` block ends without an exception; only
    then may its offset be committed, which happens twice a second, when partitions move, and at the end. So the
    caller sees a transaction again after a crash, always with the same verdict, and never two that differ: of every
    partition it gets it reads back the last `remembered` verdicts before its position. Memory is bounded by them,
    some 150 bytes each.
    """

    def __init__(
        self, bootstrap: str, group: str, *, from_beginning: bool = True, remembered: int = MAX_REMEMBERED,
        options: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """`from_beginning` is where a new group starts; `options` are librdkafka's, for security and timeouts."""
        self._bootstrap = bootstrap
        self._from_beginning = from_beginning
        self._remembered = remembered
        self._options = dict(options or {})
        self._seen: dict[int, FirstWins] = {}
        self._given: Message | None = None
        self.repeats = 0
        """Verdicts left out because they repeat the first, since the start."""
        self.conflicts = 0
        """Verdicts left out though they say something else than the first, since the start."""
        ours = {
            "bootstrap.servers": bootstrap, "group.id": group, "enable.auto.offset.store": False,
            "enable.auto.commit": True, "auto.commit.interval.ms": COMMIT_MS,
            "partition.assignment.strategy": "range,roundrobin",  # partitions are given back before they are taken over
        }  # fmt: skip
        self._consumer = Consumer({"log_level": 3, **self._options, **ours})
        self._consumer.subscribe([TOPIC], on_assign=self._take_over, on_revoke=self._give_back, on_lost=self._give_back)

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions held now."""
        return frozenset(self._seen)

    def __iter__(self) -> Iterator[FraudVerdict]:
        """First verdicts, for ever. Raises as `poll`."""
        while True:
            verdict = self.poll(1.0)
            if verdict is not None:
                yield verdict

    def poll(self, seconds: float) -> FraudVerdict | None:
        """The next first verdict, or None when none comes in time; the one before it counts as handled.

        Raises ConfigurationError when the topic does not exist, BrokerUnavailable when Kafka does not answer while
        partitions are taken over; then begin again with a new object.
        """
        self._handled()
        deadline = time.monotonic() + seconds
        while True:
            message = self._consumer.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                return None
            verdict = None if _failed(message) else self._first(message)
            if verdict is not None:
                self._given = message
                return verdict

    def close(self) -> None:
        """Leave the group; what was not handled is given again."""
        self._given = None
        self._consumer.close()

    def __enter__(self) -> Self:
        """The consumer itself."""
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Leave the group. After an exception the verdict at hand counts as not handled."""
        if error is None:
            self._handled()
        self.close()

    def _handled(self) -> None:
        if self._given is not None:
            self._consumer.store_offsets(self._given)
            self._given = None

    def _first(self, message: Message) -> FraudVerdict | None:
        """The verdict if it is its transaction's first; otherwise it is passed over, and nobody need see it again."""
        try:
            verdict: FraudVerdict = decode(message.value(), FraudVerdict)
        except InvalidMessage as error:
            log.error("a verdict can't be read", partition=message.partition(), offset=message.offset(), why=str(error))
            self._consumer.store_offsets(message)
            return None
        told = self._seen[int(message.partition() or 0)].tell(verdict.transaction_id, verdict.action)
        if told == "first":
            return verdict
        self._consumer.store_offsets(message)
        if told == "repeat":
            self.repeats += 1
        else:
            self.conflicts += 1
            log.warning("a second verdict does not count", transaction=verdict.transaction_id, action=verdict.action)
        return None

    # ------------------------------------------------------------------------------------------- partitions that move
    def _take_over(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Stand where the group stands, knowing what came before. Called within `poll`."""
        deadline = time.monotonic() + TAKE_OVER_SECONDS
        while True:
            try:
                places = self._places(consumer, partitions)
                self._seen = self._read_back(places)
                consumer.assign([TopicPartition(TOPIC, one.partition, one.end) for one in places])
                return
            except (KafkaException, BrokerUnavailable) as error:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(f"Kafka does not say what was handled before: {error}.") from error
                time.sleep(0.2)

    def _places(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[Stretch]:
        """Of each partition what to read back: up to where the group stands."""
        places = []
        for one in consumer.committed(partitions, timeout=5.0):
            low, high = extent(consumer, one)
            new = low if self._from_beginning else high
            stands = min(max(one.offset, low), high) if one.offset >= 0 else new
            places.append(Stretch(TOPIC, one.partition, max(low, stands - self._remembered), stands))
        return places

    def _read_back(self, places: list[Stretch]) -> dict[int, FirstWins]:
        seen = {one.partition: FirstWins(self._remembered) for one in places}
        consumer = log_reader(self._bootstrap, options=self._options)
        try:
            for message in read(consumer, places):
                try:
                    verdict: FraudVerdict = decode(message.value(), FraudVerdict)
                except InvalidMessage:
                    continue  # it was passed over when it was read first
                seen[int(message.partition() or 0)].tell(verdict.transaction_id, verdict.action)
        finally:
            consumer.close()
        return seen

    def _give_back(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Partitions move; called within `poll`, so all that was given was handled, and librdkafka commits it."""
        for one in partitions:
            self._seen.pop(one.partition, None)


def _failed(message: Message) -> bool:
    """Whether this is an error rather than a message; those that pass by themselves are left to the client."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise ConfigurationError(f"The topic {TOPIC} does not exist: run `ibook topics apply`.")
    if error.fatal():
        raise BrokerUnavailable(f"Kafka refuses this consumer: {error.str()}.")
    return True
