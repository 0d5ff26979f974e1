"""Topics that a process keeps up with beside its work: read by a thread, all of them first and then what follows."""

import threading
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException

from ibook.edges.kafka import BroadcastReader, Record
from ibook.errors import IbookError
from ibook.settings import Settings

RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


def _nothing(*_: object) -> None:
    """For what nobody asked to be told."""


class Follower:
    """Gives records to `take` in a thread of its own, and waits for a Kafka that is away, also at the start."""

    def __init__(
        self, settings: Settings, *topics: str, take: Callable[[list[Record]], object], poll_seconds: float,
        tail: int | None = None, first: Callable[[], object] = _nothing, begin: Callable[[], object] = _nothing,
        then: Callable[[], object] = _nothing, trouble: Callable[[str], object] = _nothing,
    ) -> None:  # fmt: skip
        """`take` is called with everything there is, then at least every `poll_seconds` with what is new, if anything.

        `first` is called once, in the thread; `begin` before everything is read (again), `then` after each `take`,
        `trouble` with a sentence when Kafka can't be read. With `tail`, everything is the last so many messages of
        each partition.
        """
        self._settings = settings
        self._topics = topics
        self._first, self._take, self._begin, self._then, self._trouble = first, take, begin, then, trouble
        self._poll_seconds = poll_seconds
        self._tail = tail
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=topics[0], daemon=True)
        self._told = ""
        self.caught_up = threading.Event()
        """What was there at the start has been taken."""

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, when it was started; one that waits for an absent Kafka is left to end by itself."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            self._first()
        except Exception:  # what was to be done first is a help, no condition
            log.exception("could not begin", topics=self._topics)
        while not self._stop.is_set():
            try:
                self._follow()
            except (IbookError, KafkaException) as error:
                self._say(str(error))
            except Exception:  # a thread that ends in silence would keep what it knows for ever
                log.exception("following failed", topics=self._topics)
            self._stop.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        with BroadcastReader(self._settings, *self._topics, tail=self._tail) as reader:
            records = reader.load()
            self._begin()
            self._told = ""
            while True:
                self._take(records)
                self.caught_up.set()
                self._then()
                if self._stop.is_set():
                    return
                records = reader.poll_new(self._poll_seconds)

    def _say(self, why: str) -> None:
        """Once for each reason: it is tried again every second."""
        self._trouble(why)
        if why != self._told:
            log.warning("can't be followed", topics=self._topics, why=why)
            self._told = why
