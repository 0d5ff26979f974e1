"""Purchases that our own code failed on wait a moment for the next ones: is it them, or is it us?

Were each answered at once, a bad deploy would answer and acknowledge a whole topic with `review`. So they are held,
unacknowledged: a purchase that goes well after them shows that the code works, and lets them be answered, unless many
failed lately; so does time, since a buyer waits. As many in a row as `IBOOK_OWN_FAILURES`, or more than a share of
`IBOOK_OWN_FAILURE_SHARE` of the latest, stop the worker.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from ibook.errors import InvalidMessage
from ibook.failing import OwnFailures
from streams.app import Event

HOLD = timedelta(seconds=2)
"""Longest that a purchase waits for the next one to tell."""

Rejected = tuple[Event, InvalidMessage]


class Outcome(NamedTuple):
    """What became of a purchase; `error` when our own code failed on it."""

    event: Event
    transaction: str
    error: InvalidMessage | None


class Holding:
    """The held purchases of one assignment."""

    def __init__(self) -> None:
        self._held: list[Rejected] = []
        self._since: datetime | None = None

    def take(self, outcomes: Iterable[Outcome], failures: OwnFailures, now: datetime) -> list[Rejected]:
        """Hold what failed; returns what may be answered now that something went well. Raises OwnCodeFails."""
        released: list[Rejected] = []
        for event, transaction, error in outcomes:
            if error is None:
                failures.worked()
                if not failures.are_many:
                    released += self._release()
            else:
                failures.failed(transaction, error.detail)
                self._held.append((event, error))
                self._since = self._since or now
        return released

    def events(self) -> list[Event]:
        """What is held: not to be acknowledged."""
        return [event for event, _ in self._held]

    def overdue(self, now: datetime) -> list[Rejected]:
        """What has been held for long enough; it is held no more."""
        is_due = self._since is not None and now - self._since >= HOLD
        return self._release() if is_due else []

    def _release(self) -> list[Rejected]:
        released, self._held, self._since = self._held, [], None
        return released
