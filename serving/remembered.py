"""Quotes that were given for an idempotency key: a repeated request gets the same one."""

from collections import OrderedDict
from datetime import datetime

from serving.schemas import QuoteRequest

REMEMBERED_KEYS = 100_000
"""Idempotency keys remembered beyond their slot; within a slot the key itself leads to the same quote."""


class Remembered:
    """Answers given for an idempotency key, until their quotes expire; the oldest make room.

    Kept as bytes: a hundred thousand live objects would make Python's garbage collector stop requests for long.
    """

    def __init__(self, room: int = REMEMBERED_KEYS) -> None:
        self._room = room
        self._answers: OrderedDict[tuple[str, str, str], tuple[datetime, bytes]] = OrderedDict()

    def find(self, request: QuoteRequest, now: datetime) -> bytes | None:
        """The answer given to the same request, if its quote is still valid."""
        if request.idempotency_key is None:
            return None
        expires_at, answer = self._answers.get(self._key(request), (now, b""))
        return answer if now < expires_at else None

    def add(self, request: QuoteRequest, answer: bytes, expires_at: datetime) -> None:
        """Remember an answer when the request has a key."""
        if request.idempotency_key is None:
            return
        self._answers[self._key(request)] = expires_at, answer
        if len(self._answers) > self._room:
            self._answers.popitem(last=False)

    @staticmethod
    def _key(request: QuoteRequest) -> tuple[str, str, str]:
        return request.event_id, request.ticket_type, request.idempotency_key or ""
