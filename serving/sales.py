"""The quote journal, followed by a thread for the page: from the first time somebody looks at it."""

import threading
from datetime import datetime

import structlog

from ibook.codec import decode
from ibook.edges.kafka import BroadcastReader, Record
from ibook.errors import BrokerUnavailable, ConfigurationError, InvalidMessage
from ibook.messages import QuoteJournal
from ibook.price_history import PriceHistory
from ibook.quotes import quote_keys
from ibook.settings import Settings
from ibook.topics import QUOTE_JOURNAL

log = structlog.get_logger()

TAIL = 25_000
"""Entries of each partition that are read at first: a bound on what looking costs, not on what is remembered."""
RETRY_SECONDS = 1.0
POLL_SECONDS = 0.5


class Sales:
    """A price history that is kept current once it was asked for. Any thread may call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._history = PriceHistory(quote_keys(settings))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._begins: datetime | None = None
        self.problem = "The journal is being read."
        """Why what is shown is not all there is, in a sentence; empty when it is."""

    def history(self) -> tuple[PriceHistory, threading.Lock]:
        """The history and what to hold while reading it; begins to follow the journal."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sales", daemon=True)
                self._thread.start()
        return self._history, self._lock

    def since(self) -> str:
        """From when on quotes and sales are known, in words."""
        return f"{self._begins:%Y-%m-%d %H:%M:%S} UTC" if self._begins else "now"

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def take(self, records: list[Record]) -> None:
        """Add records of the journal; what can't be read is left out (the rewards worker dead-letters it)."""
        for record in records:
            try:
                entry: QuoteJournal = decode(record.value, QuoteJournal)
            except InvalidMessage:
                continue
            with self._lock:
                self._begins = min(self._begins or entry.occurred_at, entry.occurred_at)
                self._history.take(entry)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (BrokerUnavailable, ConfigurationError) as error:
                self.problem = str(error)
            except Exception:  # a thread that dies in silence would show yesterday's sales for ever
                log.exception("following the journal failed")
            self._stop.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        with BroadcastReader(self._settings, QUOTE_JOURNAL.name, tail=TAIL) as reader:
            records = reader.load()
            with self._lock:  # what was known is read again
                self._history, self._begins = PriceHistory(quote_keys(self._settings)), None
            self.take(records)
            self.problem = ""
            while not self._stop.is_set():
                self.take(reader.poll_new(POLL_SECONDS))
