"""Dead letters for tests."""

from datetime import UTC, datetime
from typing import Any

from ibook.letters import letter_id
from ibook.messages import DeadLetter

REFUSED_AT = datetime(2026, 3, 14, 19, 30, tzinfo=UTC)


def letter(offset: int, *, topic: str = "ticket-purchases", partition: int = 0, **changes: Any) -> DeadLetter:
    """A letter about a purchase that is cut short; its message lies at this offset."""
    fields: dict[str, Any] = {
        "message_id": letter_id(topic, partition, offset), "occurred_at": REFUSED_AT, "topic": topic,
        "partition": partition, "offset": offset, "reason": "malformed", "detail": "cut short",
        "worker": "purchases-to-verdicts", "payload": b"{", "key": b"card", "headers": [],
    }  # fmt: skip
    return DeadLetter(**{**fields, **changes})
