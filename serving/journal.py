"""Quotes into `quote-journal`: first on disk, then by a thread into Kafka. No request waits, and no offer is lost."""

import logging
import threading
import time
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ibook import metrics
from ibook.clock import Clock, SystemClock
from ibook.codec import decode, encode
from ibook.edges.kafka import producer
from ibook.messages import QuoteIssued
from ibook.partitioning import partition_of
from ibook.settings import Settings
from ibook.topics import QUOTE_JOURNAL
from serving.spool import Spool, SpoolFull, Waiting

log = structlog.get_logger()

REST_SECONDS = 0.02
"""Between two looks at the disk: what came meanwhile is sent, and forgotten, together, and requests have the core."""
LOOK_SECONDS = 5.0
"""How often Kafka is asked whether it is there."""
TIDY_SECONDS = 1.0
AGAIN_SECONDS = 1.0
"""What Kafka refused is sent again after this."""
FLUSH_SECONDS = 5.0
SENT_AT_ONCE = 500
IN_FLIGHT = 5_000
"""Messages handed to Kafka's client at a time; the others wait on disk."""


class Journal(Protocol):
    """Where quotes are noted."""

    def record(self, entry: QuoteIssued) -> bool:
        """Note an offer without waiting; False when there is no room for it, and it must not be made."""
        ...

    def waiting(self) -> int:
        """Entries that Kafka has not acknowledged yet."""
        ...

    def problem(self) -> str:
        """What is worse than usual, in a sentence; empty when nothing is."""
        ...


class KafkaJournal:
    """The journal in Kafka; `journal_buffer` entries wait for it on disk, and are found there by the next start.

    An entry may reach Kafka twice (acknowledged, but killed before that was noted); its `message_id`, the quote,
    makes the second one count for nothing.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Raises ConfigurationError when another process has the entries on disk."""
        self._partitions = settings.partitions
        self._room = settings.journal_buffer
        self._clock = clock or SystemClock()
        # So long the rewards worker remembers a sale whose offer it has not read.
        self._keep = timedelta(seconds=settings.quote_grace_seconds + settings.quote_memory_seconds)
        self._spool = Spool(settings.data_dir / "serving" / f"journal-{settings.worker_name}.db")
        self._producer: Producer = producer(
            settings,
            {
                "queue.buffering.max.messages": 2 * IN_FLIGHT,
                "delivery.timeout.ms": 120_000,
                "linger.ms": 5,
                # Repeats and order do not matter here, and without it no error is ever fatal to the producer.
                "enable.idempotence": False,
                "logger": _quiet_logger(),
            },
        )
        self._last = 0
        self._in_flight = 0
        self._delivered: list[int] = []
        self._failed: list[int] = []
        self._again_at = 0.0
        self._reachable = True
        self._misfit = ""
        self._new = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Begin to send: what the last process left on disk first."""
        if len(self._spool):
            log.warning("quotes of an earlier start are journalled now", count=len(self._spool))
        self._thread.start()

    def stop(self) -> None:
        """Wait a little for what is under way; the rest stays on disk for the next start."""
        self._stop.set()
        self._new.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)
        self._producer.flush(FLUSH_SECONDS if self._reachable else 0.1)
        self._note_deliveries()
        if self.waiting():
            log.warning("quotes stay on disk: Kafka did not take them before the end", count=self.waiting())
        self._spool.close()

    def record(self, entry: QuoteIssued) -> bool:
        """Put an offer on disk; False (and counted) when it has no room."""
        try:
            if len(self._spool) >= self._room:
                raise SpoolFull(f"{self._room} quotes wait")
            self._spool.add(entry.quote_id.encode(), encode(entry), entry.expires_at + self._keep)
        except SpoolFull:
            metrics.JOURNAL_DROPPED.inc()
            return False
        self._new.set()
        return True

    def waiting(self) -> int:
        """Entries that Kafka has not acknowledged yet."""
        return len(self._spool)

    def problem(self) -> str:
        """A sentence while Kafka is away or its topic is not ours, or the disk is full of what it has not taken."""
        if broken := self._spool.broken:
            return f"The quotes on disk can't be read: {broken}."
        if self._reachable and (self._misfit or self.waiting() < self._room):
            return self._misfit
        why = "Kafka takes too little" if self._reachable else "Kafka does not answer"
        return f"{why}: {self.waiting()} quotes wait on disk, which has room for {self._room}."

    # ------------------------------------------------------------------------------------------------------ the thread
    def _run(self) -> None:
        looked_at = tidied_at = 0.0
        while not self._stop.is_set():
            try:
                self._mend()
                self._step()
                if (now := time.monotonic()) - tidied_at > TIDY_SECONDS:
                    tidied_at = now
                    self._tidy()
                if now - looked_at > LOOK_SECONDS:
                    looked_at = now
                    self._look()
            except Exception:  # a thread that dies in silence would fill the disk and teach nothing
                log.exception("journalling quotes failed")
                self._stop.wait(1.0)

    def _mend(self) -> None:
        """Go on in a new file when the one on disk broke under us; until then every price is the list price."""
        if not self._spool.broken:
            return
        lost = max(0, self.waiting() - self._in_flight - len(self._delivered))
        self._spool.begin_anew()
        metrics.JOURNAL_DROPPED.inc(lost)
        log.error("quotes go on in a new file", not_journalled=lost)

    def _step(self) -> None:
        """Send what is new, hear what became of what was sent; sleep when there is nothing of either."""
        sent = self._send()
        self._producer.poll(0)
        self._note_deliveries()
        if sent >= SENT_AT_ONCE:
            return  # more waits
        if sent or self._in_flight:
            self._stop.wait(REST_SECONDS)
        else:
            self._new.wait(1.0)
            self._new.clear()

    def _send(self) -> int:
        room = IN_FLIGHT - self._in_flight
        if room <= 0:
            return 0
        messages = self._failed_before(room)
        messages += self._spool.after(self._last, min(SENT_AT_ONCE, room - len(messages)))
        for message in messages:
            self._produce(message)
        return len(messages)

    def _failed_before(self, limit: int) -> list[Waiting]:
        if not self._failed or time.monotonic() < self._again_at:
            return []
        again, self._failed = self._failed[:limit], self._failed[limit:]
        return [found for number in again if (found := self._spool.get(number))]

    def _produce(self, message: Waiting) -> None:
        self._last = max(self._last, message.number)
        partition = partition_of(_event_of(message), self._partitions)
        told = partial(self._told, message.number)
        try:
            self._producer.produce(QUOTE_JOURNAL.name, message.payload, message.key, partition, on_delivery=told)
            self._in_flight += 1
        except (BufferError, KafkaException):  # the topic is not there (yet), or the client is full
            self._fail(message.number)

    def _told(self, number: int, error: KafkaError | None, _: Message) -> None:
        self._in_flight -= 1
        if error is None:
            self._delivered.append(number)
        else:
            self._fail(number)

    def _fail(self, number: int) -> None:
        self._failed.append(number)
        self._again_at = time.monotonic() + AGAIN_SECONDS

    def _note_deliveries(self) -> None:
        delivered, self._delivered = self._delivered, []
        self._spool.settle(delivered)

    def _look(self) -> None:
        try:
            topic = self._producer.list_topics(QUOTE_JOURNAL.name, timeout=1.0).topics[QUOTE_JOURNAL.name]
            reachable, self._misfit = True, misfit(len(topic.partitions), self._partitions)
        except KafkaException:
            reachable = False
        if reachable != self._reachable:
            log.warning("Kafka is back" if reachable else "Kafka does not answer", quotes_waiting=self.waiting())
        self._reachable = reachable

    def _tidy(self) -> None:
        if dropped := self._spool.forget_before(self._clock.now()):
            metrics.JOURNAL_DROPPED.inc(dropped)
            log.warning("quotes were not journalled: nobody waits for them any more", count=dropped)
        self._spool.checkpoint()


def misfit(found: int, declared: int) -> str:
    """What is wrong with a journal of so many partitions, in a sentence; empty when nothing is."""
    if found == 0:
        return f"The topic {QUOTE_JOURNAL.name} does not exist: run `ibook topics apply`."
    if found != declared:
        return (
            f"{QUOTE_JOURNAL.name} has {found} partitions, and IBOOK_PARTITIONS says {declared}: "
            "quotes and their sales would not meet."
        )
    return ""


def _event_of(message: Waiting) -> str:
    """Which event a quote is for: a partition of the journal holds whole events."""
    entry: QuoteIssued = decode(message.payload, QuoteIssued)
    return entry.event_id


def _quiet_logger() -> logging.Logger:
    """librdkafka repeats a dead broker several times a second; `/readyz` and our own log say it once."""
    logger = logging.getLogger("ibook.serving.librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
