"""Bytes to messages and back: strict, and with a reason for every refusal.

Contracts travel as JSON, so that `kcat` can read them. Unknown fields are tolerated (a newer publisher), wrong
types, missing fields, NaN, naive times and oversize payloads are not.
"""

from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from ibook.errors import InvalidMessage
from ibook.messages import DeadLetter, DeadLetterRedriven, Message

MAX_BYTES = 64 * 1024
"""Largest message we read; the largest honest one is a listing of 50 ticket types, about 6 KiB."""
MAX_OWN_BYTES = 1_000_000
"""Largest message of our own: what one batch holds. A dead letter holds an unreadable message in base64."""
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Event times outside are a clock or a unit gone wrong; at the ends of the calendar arithmetic would fail, too."""

_encoder = msgspec.json.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """The message as JSON bytes."""
    return _encoder.encode(message)


class _NeverSent(msgspec.Struct, tag_field="type", tag="never_sent"):
    """Beside a message type it makes a union, and only in a union does msgspec insist on a tag."""

    def __post_init__(self) -> None:
        raise ValueError("no message has this type")


@cache
def _decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    alone = isinstance(type_, type) and issubclass(type_, Message)
    return msgspec.json.Decoder(type_ | _NeverSent if alone else type_)


def decode(payload: bytes | None, type_: Any, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read a payload as `type_`, a message struct or a union of them.

    Raises InvalidMessage with reason `oversize`, `malformed` (not JSON) or `invalid` (not this message).
    """
    if payload is None:
        raise InvalidMessage("malformed", "empty payload")
    if len(payload) > max_bytes:
        raise InvalidMessage("oversize", f"{len(payload)} bytes, at most {max_bytes}")
    try:
        message = _decoder(type_).decode(payload)
    except msgspec.ValidationError as error:
        raise InvalidMessage("invalid", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage("malformed", str(error)) from error
    if isinstance(message, Message) and not EARLIEST <= message.occurred_at < LATEST:
        raise InvalidMessage("invalid", f"occurred_at {message.occurred_at.isoformat()} is not between 2000 and 2100")
    return message


_packer = msgspec.msgpack.Encoder()


@cache
def _unpacker(type_: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type_)


def pack_state(state: msgspec.Struct) -> bytes:
    """State of ours as bytes for a table: compact, of any size."""
    return _packer.encode(state)


def unpack_state(payload: bytes, type_: Any) -> Any:
    """Read what `pack_state` wrote; only we write it, so an error is a bug."""
    return _unpacker(type_).decode(payload)


def decode_letters(payload: bytes | None) -> DeadLetter | DeadLetterRedriven:
    """Read a message of `dead-letters`, be it a letter or what became of one. Raises InvalidMessage."""
    message: DeadLetter | DeadLetterRedriven = decode(payload, DeadLetter | DeadLetterRedriven, max_bytes=MAX_OWN_BYTES)
    return message


def decode_dead_letter(payload: bytes | None) -> DeadLetter:
    """Read a dead letter. Raises InvalidMessage, also on what tells of one."""
    letter: DeadLetter = decode(payload, DeadLetter, max_bytes=MAX_OWN_BYTES)
    return letter
