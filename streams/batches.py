"""Small batches without timers: what has arrived while the last batch was at work, and no waiting for more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import cast

import faust

from streams.app import Event, Stream, generation
from streams.leaving import or_leave


async def batches(stream: Stream, limit: int = 64, linger_seconds: float = 0.0) -> AsyncIterator[list[Event]]:
    """Batches of 1 to `limit` events of the current assignment, none acknowledged.

    An idle stream gives one event at a time; under load a batch is what queued up meanwhile. Where a small batch
    costs more than a few milliseconds are worth, `linger_seconds` waits after the first event. Events of an earlier
    assignment are left out: Faust delivers them again to whoever holds their partition now.
    """
    async for first in cast(faust.Stream[bytes], stream).noack().events():
        if linger_seconds:
            await asyncio.sleep(linger_seconds)
        batch = [event for event in (first, *islice(_queued(stream), limit - 1)) if is_ours(event)]
        if batch:
            yield batch


def _queued(stream: Stream) -> Iterator[Event]:
    """What waits in the stream's own queue: Faust's iterator goes once around the event loop for every event."""
    queue = cast(faust.Topic, stream.channel).queue
    while not queue.empty():
        yield cast(Event, queue.get_nowait())


def is_ours(event: Event) -> bool:
    """Whether the event's partition has been ours without a break since it was fetched.

    From the moment a rebalance begins until the new assignment is in force nothing is ours.
    """
    return bool(event.app.flow_control.is_active()) and event.message.generation_id == generation(event.app)


async def each_batch(
    stream: Stream,
    handle: Callable[[list[Event]], Awaitable[None]],
    *,
    limit: int = 64,
    linger_seconds: float = 0.0,
) -> None:
    """The body of an agent: hand every batch to `handle`; an exception nobody foresaw ends the process."""

    async def _run() -> None:
        async for batch in batches(stream, limit, linger_seconds):
            await handle(batch)

    await or_leave(_run())


def acknowledge(events: Sequence[Event]) -> None:
    """Let the offsets of these events be committed, in order. Call it when their work is durable.

    Events of an earlier assignment stay unacknowledged: their partition may be somebody else's now.
    """
    for event in events:
        if is_ours(event):
            event.ack()
