"""The quote journal, followed by a thread for the page: from the first time somebody looks at it."""

import threading
from datetime import datetime

from ibook.codec import decode
from ibook.edges.follower import Follower
from ibook.edges.kafka import Record
from ibook.errors import InvalidMessage
from ibook.messages import QuoteJournal
from ibook.price_history import PriceHistory
from ibook.quotes import quote_keys
from ibook.settings import Settings
from ibook.topics import QUOTE_JOURNAL

TAIL = 25_000
"""Entries of each partition that are read at first: a bound on what looking costs, not on what is remembered."""
POLL_SECONDS = 0.5


class Sales:
    """A price history that is kept current once it was asked for. Any thread may call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._history = PriceHistory(quote_keys(settings))
        self._lock = threading.Lock()
        self._follower: Follower | None = None
        self._begins: datetime | None = None
        self.problem = "The journal is being read."
        """Why what is shown is not all there is, in a sentence; empty when it is."""

    def history(self) -> tuple[PriceHistory, threading.Lock]:
        """The history and what to hold while reading it; begins to follow the journal."""
        with self._lock:
            if self._follower is None:
                self._follower = Follower(
                    self._settings, QUOTE_JOURNAL.name, take=self._take, poll_seconds=POLL_SECONDS, tail=TAIL,
                    begin=self._forget, trouble=self._trouble,
                )  # fmt: skip
                self._follower.start()
        return self._history, self._lock

    def since(self) -> str:
        """From when on quotes and sales are known, in words."""
        return f"{self._begins:%Y-%m-%d %H:%M:%S} UTC" if self._begins else "now"

    def stop(self) -> None:
        """End the thread."""
        if self._follower is not None:
            self._follower.close()

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

    def _forget(self) -> None:
        """What was known is read again."""
        with self._lock:
            self._history, self._begins = PriceHistory(quote_keys(self._settings)), None

    def _take(self, records: list[Record]) -> None:
        self.take(records)
        self.problem = ""

    def _trouble(self, why: str) -> None:
        self.problem = why
