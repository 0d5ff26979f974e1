"""The rows of one request for scores: read one by one, each answered with a verdict or with its own error."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import structlog

from ibook import messages as m
from ibook.answered import Answered, digest_of
from ibook.clock import to_us
from ibook.codec import decode
from ibook.edges.scoring import Asked
from ibook.entities import MAX_PARTITIONS, is_future
from ibook.errors import InvalidMessage
from ibook.own_purchases import OwnPurchases
from ibook.topics import TICKET_PURCHASES
from ibook.verdicts import Circumstances, Scored

log = structlog.get_logger()

NOWHERE = MAX_PARTITIONS - 1
"""A partition that `ticket-purchases` never has: no state has seen what is asked here, so none leaves it out."""


class Decided(NamedTuple):
    """A row's decision, and what was the same for the rows decided with it."""

    scored: Scored
    about: Circumstances


Answer = Decided | InvalidMessage


class _Named(msgspec.Struct):
    """As much of a row that can't be read as its caller needs to find it again."""

    transaction_id: m.Id


class Asking:
    """A request that waits: rows are taken in order, and each is part of the next one's past.

    A purchase that stands in it twice is counted once and gets the same answer twice.
    """

    def __init__(self, rows: Sequence[bytes], begins: float, seconds: float, received_at: datetime) -> None:
        """It begins at an instant of the event loop's clock and may take so many seconds."""
        self.seconds = seconds
        self.deadline = begins + seconds
        self.answers: list[Answer | None] = [None] * len(rows)
        self.own = OwnPurchases()
        self.finished = asyncio.Event()
        self._rows = rows
        self._next = 0
        self._received_us = to_us(received_at)
        self._answered = Answered(len(rows))
        self._first: dict[str, int] = {}
        self._repeats: dict[int, int] = {}
        """Row -> the earlier row that asks for the same."""

    @property
    def left(self) -> int:
        """Rows not taken yet."""
        return len(self._rows) - self._next

    def take(self, n_rows: int) -> list[Asked]:
        """The next rows that can be decided; their offset is their place. The others have their answer already."""
        places = range(self._next, min(self._next + n_rows, len(self._rows)))
        self._next = places.stop
        found = []
        for place in places:
            try:
                asked = self._read(place)
            except InvalidMessage as error:
                self.answers[place] = error
                continue
            except Exception as error:  # a bug, and no reason to leave the other rows without an answer
                log.exception("a row could not be read")
                self.answers[place] = InvalidMessage("unscorable", repr(error))
                continue
            if asked is not None:
                found.append(asked)
        return found

    def answer(self, place: int, answer: Answer) -> None:
        """What became of a row."""
        self.answers[place] = answer

    def fail(self, error: Exception) -> None:
        """What was taken and has no answer gets none but this."""
        for place in range(self._next):
            if self.answers[place] is None:
                self.answers[place] = InvalidMessage("unscorable", repr(error))

    def settle(self) -> None:
        """Give repeats the answer of their first, and say so when every row has one."""
        for place, first in self._repeats.items():
            self.answers[place] = self.answers[first]
        if not self.left and None not in self.answers:
            self.finished.set()

    def transaction_of(self, place: int) -> str | None:
        """The transaction a row names, whatever else is wrong with it."""
        try:
            return msgspec.json.decode(self._rows[place], type=_Named).transaction_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _read(self, place: int) -> Asked | None:
        """A row to decide; None for a repeat. Raises InvalidMessage."""
        purchase: m.PurchaseRequested = decode(self._rows[place], m.PurchaseRequested)
        if is_future(purchase, self._received_us):
            raise InvalidMessage("future", f"occurred_at {purchase.occurred_at.isoformat()} is yet to come")
        digest, transaction = digest_of(purchase), purchase.transaction_id
        match self._answered.known(transaction, digest):
            case "conflict":
                raise InvalidMessage("conflict", f"transaction {transaction} asks for something else in an earlier row")
            case "answered":
                self._repeats[place] = self._first[transaction]
                return None
        self._answered.add(transaction, digest, place)
        self._first[transaction] = place
        return Asked.of(purchase, (TICKET_PURCHASES.name, NOWHERE, place))
