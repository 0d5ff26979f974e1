"""What every message carries, and the kinds of its fields."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=128)]
"""An identifier the shop chose; never interpreted."""
Time = Annotated[datetime, Meta(tz=True)]
Minor = Annotated[int, Meta(ge=0, le=10**11)]
"""Money in minor units of its currency (ISO 4217)."""
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Bin = Annotated[str, Meta(pattern="^[0-9]{6,8}$")]
"""First digits of a card: the issuer."""
Category = Literal["sports", "concerts", "family", "cultural"]
Seats = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Action = Literal["approve", "review", "challenge", "decline"]
Posture = Literal["normal", "stale_features", "no_features", "rules_only"]


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every message carries."""

    message_id: Id
    """Idempotency key: a redelivery repeats it."""
    occurred_at: Time
    """Event time: when it happened, not when anyone read it."""
