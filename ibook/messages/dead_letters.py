"""What nobody could read: topic `dead-letters`."""

from ibook.messages.base import Id, Message


class DeadLetter(Message, frozen=True, kw_only=True, tag="dead_letter.v1"):
    """A message nobody could read. Topic `dead-letters`, key of the source."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    worker: str
    payload: bytes
    """As it came, base64 in JSON; the first 64 KiB of an oversize one."""
    truncated: bool = False
    """Payload, key or headers are longer than what is kept here: the source topic holds all."""
    key: bytes | None = None
    """Of the message, base64 in JSON."""
    headers: list[tuple[str, bytes]] | None = None
    """Of the message, values in base64; None in what older workers wrote: the source topic holds them, and the key."""
    attempt: int = 0
    """How often it had been published again from here when it was refused this time."""


class DeadLetterRedriven(Message, frozen=True, kw_only=True, tag="dead_letter_redriven.v1"):
    """A dead letter's message was published again to where it came from. Topic `dead-letters`, key of the source."""

    letter: Id
    """`message_id` of the dead letter."""
    attempt: int
    why: str = ""
    """Why it was redriven although its reason speaks against it."""
