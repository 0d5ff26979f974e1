"""What nobody can read goes to a topic of its own, with its source position; the stream goes on."""

import structlog
from faust.types import AppT

from ibook import metrics
from ibook.clock import Clock
from ibook.codec import MAX_BYTES, encode
from ibook.errors import InvalidMessage
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
    letter = DeadLetter(
        message_id=f"{message.topic}:{message.partition}:{message.offset}",
        occurred_at=clock.now(),
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        reason=error.reason,
        detail=error.detail[:1000],
        worker=worker,
        payload=payload[:MAX_BYTES],
        truncated=len(payload) > MAX_BYTES,
    )
    return Record((message.key or letter.message_id.encode())[:MAX_KEY_BYTES], encode(letter))


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
