"""Quotes into `quote-journal` through a bounded buffer in memory that never makes a request wait."""

import logging
import threading
import time
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ibook import metrics
from ibook.codec import encode
from ibook.edges.kafka import producer
from ibook.messages import QuoteIssued
from ibook.partitioning import partition_of
from ibook.settings import Settings
from ibook.topics import QUOTE_JOURNAL

log = structlog.get_logger()

POLL_SECONDS = 0.1
LOOK_SECONDS = 5.0
"""How often Kafka is asked whether it is there."""
FLUSH_SECONDS = 5.0


class Journal(Protocol):
    """Where quotes are noted."""

    def record(self, entry: QuoteIssued) -> bool:
        """Note an offer without waiting; False when there is no room for it, and it must not be made."""
        ...

    def waiting(self) -> int:
        """Entries that are not durable yet."""
        ...

    def problem(self) -> str:
        """What is worse than usual, in a sentence; empty when nothing is."""
        ...


class KafkaJournal:
    """The journal in Kafka. While Kafka is away, `journal_buffer` entries wait for it in memory."""

    def __init__(self, settings: Settings) -> None:
        self._partitions = settings.partitions
        self._room = settings.journal_buffer
        # An offer older than its quote teaches nothing in time; until then it is worth keeping.
        keep_seconds = settings.slot_seconds + settings.quote_ttl_seconds + settings.quote_grace_seconds
        self._producer: Producer = producer(
            settings,
            {
                "queue.buffering.max.messages": settings.journal_buffer,
                "queue.buffering.max.kbytes": 1 << 20,
                "delivery.timeout.ms": int(max(60.0, keep_seconds) * 1000),
                "linger.ms": 5,
                # Repeats and order do not matter here, and without it no error is ever fatal to the producer.
                "enable.idempotence": False,
                "logger": _quiet_logger(),
            },
        )
        self._waiting = 0
        self._counting = threading.Lock()
        self._reachable = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Begin to hear what became of entries."""
        self._thread.start()

    def stop(self) -> None:
        """Wait a little for what is under way; the rest is counted as dropped."""
        self._stop.set()
        self._thread.join(timeout=2.0)
        self._producer.flush(FLUSH_SECONDS if self._reachable else 0.1)
        if self._waiting:
            metrics.JOURNAL_DROPPED.inc(self._waiting)
            log.warning("quotes were not journalled: Kafka did not take them before the end", count=self._waiting)

    def record(self, entry: QuoteIssued) -> bool:
        """Note an offer without waiting; False (and counted) when the buffer is full or the topic is not there."""
        partition = partition_of(entry.quote_id, self._partitions)
        self._count(1)
        try:
            self._producer.produce(
                QUOTE_JOURNAL.name, encode(entry), entry.quote_id.encode(), partition, on_delivery=self._delivered
            )
        except (BufferError, KafkaException):
            self._count(-1)
            metrics.JOURNAL_DROPPED.inc()
            return False
        return True

    def waiting(self) -> int:
        """Entries that Kafka has not acknowledged yet."""
        return self._waiting  # the producer's own length counts log lines and requests too

    def problem(self) -> str:
        """A sentence while Kafka is away."""
        if self._reachable:
            return ""
        return f"Kafka does not answer: {self.waiting()} quotes wait in memory, which has room for {self._room}."

    def _run(self) -> None:
        looked_at = 0.0
        while not self._stop.is_set():
            self._producer.poll(POLL_SECONDS)
            if time.monotonic() - looked_at > LOOK_SECONDS:
                self._look()
                looked_at = time.monotonic()

    def _look(self) -> None:
        try:
            self._producer.list_topics(QUOTE_JOURNAL.name, timeout=1.0)
            reachable = True
        except KafkaException:
            reachable = False
        if reachable != self._reachable:
            log.warning("Kafka is back" if reachable else "Kafka does not answer", quotes_waiting=self.waiting())
        self._reachable = reachable

    def _count(self, change: int) -> None:
        with self._counting:
            self._waiting += change

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._count(-1)
        if error is not None:
            metrics.JOURNAL_DROPPED.inc()
            log.warning("a quote was not journalled", reason=error.str())


def _quiet_logger() -> logging.Logger:
    """librdkafka repeats a dead broker several times a second; `/readyz` and our own log say it once."""
    logger = logging.getLogger("ibook.serving.librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
