"""What nobody can read goes to a topic of its own, with its source position; the stream goes on."""

import structlog
from faust.types import AppT

from ibook import metrics
from ibook.clock import Clock
from ibook.codec import MAX_BYTES, encode
from ibook.errors import InvalidMessage
from ibook.failing import OwnFailures
from ibook.letters import MAX_HEADER_BYTES, UNHANDLED, attempt_of, letter_id
from ibook.messages import DeadLetter
from ibook.topics import DEAD_LETTERS
from streams.app import Event
from streams.publish import Record, publish

log = structlog.get_logger()

MAX_KEY_BYTES = 1024
"""A key may be as long as a message; here it only keeps letters of one source together."""


def dead_letter(event: Event, error: InvalidMessage, *, worker: str, clock: Clock) -> Record:
    """The record that says what could not be read, where it came from and why.

    Its id is the source position, so a redelivery repeats it.
    """
    message = event.message
    payload: bytes = message.value or b""
    is_ours_alone = error.reason == UNHANDLED  # whoever else reads the topic may have a letter of its own
    headers, key = _headers(message.headers), _bytes(message.key)
    kept = headers if sum(len(name) + len(value) for name, value in headers) <= MAX_HEADER_BYTES else []
    letter = DeadLetter(
        message_id=letter_id(message.topic, message.partition, message.offset, worker if is_ours_alone else ""),
        occurred_at=clock.now(),
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        reason=error.reason,
        detail=error.detail[:1000],
        worker=worker,
        payload=payload[:MAX_BYTES],
        truncated=len(payload) > MAX_BYTES or len(key or b"") > MAX_KEY_BYTES or kept != headers,
        key=key and key[:MAX_KEY_BYTES],
        headers=kept,
        attempt=attempt_of(headers),
    )
    return Record((key or letter.message_id.encode())[:MAX_KEY_BYTES], encode(letter))


def unhandled(event: Event, error: Exception, failures: OwnFailures) -> InvalidMessage:
    """Our own code failed on this message, alone so far: what to dead-letter it with. Raises OwnCodeFails."""
    message = event.message
    log.error("a message could not be handled", topic=message.topic, partition=message.partition,
              offset=message.offset, exc_info=error)  # fmt: skip
    failures.failed(letter_id(message.topic, message.partition, message.offset), repr(error))
    return InvalidMessage(UNHANDLED, repr(error))


def _headers(headers: object) -> list[tuple[str, bytes]]:
    """Headers as pairs, however the driver gives them."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(str(name), _bytes(value) or b"") for name, value in pairs or ()]  # type: ignore[attr-defined]


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


async def publish_dead_letters(app: AppT, rejected: list[tuple[Event, InvalidMessage]], *, clock: Clock) -> None:
    """Publish dead letters and count them; returns when the broker has them."""
    if not rejected:
        return
    worker = str(app.conf.id)
    await publish(
        app, DEAD_LETTERS.name, 0, [dead_letter(e, error, worker=worker, clock=clock) for e, error in rejected]
    )
    for event, error in rejected:
        metrics.DEAD_LETTERS.labels(event.message.topic, error.reason).inc()
        log.warning("dead letter", topic=event.message.topic, partition=event.message.partition,
                    offset=event.message.offset, reason=error.reason, detail=error.detail[:200])  # fmt: skip
