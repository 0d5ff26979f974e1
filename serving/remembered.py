"""Quotes that were given for an idempotency key: a repeated request gets the same one."""

from collections import OrderedDict
from datetime import datetime

from serving.schemas import QuoteRequest

REMEMBERED_KEYS = 100_000
"""Idempotency keys remembered beyond their slot; within a slot the key itself leads to the same quote."""


Request = tuple[str, str, str, str, str]
"""Event, ticket type, buyer, idempotency key, and which API key asked: shops that share a platform share no quotes."""


class Remembered:
    """Answers given for an idempotency key, until their quotes expire; the oldest make room.

    Kept as bytes: a hundred thousand live objects would make Python's garbage collector stop requests for long.
    """

    def __init__(self, room: int = REMEMBERED_KEYS) -> None:
        self._room = room
        self._answers: OrderedDict[Request, tuple[datetime, bytes]] = OrderedDict()

    def find(self, request: QuoteRequest, asked_by: str, now: datetime) -> bytes | None:
        """The answer given to the same request of the same API key, if its quote is still valid."""
        if request.idempotency_key is None:
            return None
        expires_at, answer = self._answers.get(_of(request, asked_by), (now, b""))
        return answer if now < expires_at else None

    def add(self, request: QuoteRequest, asked_by: str, answer: bytes, expires_at: datetime) -> None:
        """Remember an answer when the request has a key."""
        if request.idempotency_key is None:
            return
        remembered = _of(request, asked_by)
        self._answers[remembered] = expires_at, answer
        self._answers.move_to_end(remembered)  # a key that is used again is no older than its answer
        if len(self._answers) > self._room:
            self._answers.popitem(last=False)


def _of(request: QuoteRequest, asked_by: str) -> Request:
    return request.event_id, request.ticket_type, request.buyer or "", request.idempotency_key or "", asked_by
