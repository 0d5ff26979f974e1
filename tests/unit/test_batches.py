"""A batch is what has queued up: in order, of this assignment, and no more than asked for."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from faust.types import TP

from streams.app import Stream
from streams.batches import batches

CURRENT = 3
"""Number of the assignment in force."""


@pytest.fixture
async def app(monkeypatch: pytest.MonkeyPatch) -> faust.App:
    made = faust.App("batches", broker="kafka://localhost:1", store="memory://", loop=asyncio.get_running_loop())
    made.flow_control.resume()
    made.consumer = cast(Any, SimpleNamespace(_unacked_messages=set()))
    monkeypatch.setattr(type(made), "consumer_generation_id", CURRENT)
    return made


def arrive(app: faust.App, stream: Stream, offsets: Iterable[int], generation: int = CURRENT) -> None:
    """Messages are in the stream's queue, as its consumer leaves them there."""
    for offset in offsets:
        message: Any = SimpleNamespace(topic="t", tp=TP("t", 0), offset=offset, generation_id=generation, tracked=True)
        stream.channel.queue.put_nowait(faust.Event(app, None, b"v", None, message))  # type: ignore[attr-defined]


async def offsets_of(found: AsyncIterator[list[Any]]) -> list[int]:
    return [event.message.offset for event in await anext(found)]


async def test_a_batch_is_what_has_queued_up_and_no_more_than_the_limit(app: faust.App) -> None:
    stream: Stream = app.stream(app.channel())
    found = batches(stream, limit=4)
    arrive(app, stream, range(6))
    assert await offsets_of(found) == [0, 1, 2, 3]
    arrive(app, stream, [6])
    assert await offsets_of(found) == [4, 5, 6]
    arrive(app, stream, [7])
    assert await offsets_of(found) == [7]


async def test_what_comes_while_a_batch_lingers_is_in_it(app: faust.App) -> None:
    stream: Stream = app.stream(app.channel())
    found = batches(stream, linger_seconds=0.05)
    arrive(app, stream, [0])
    app.loop.call_later(0.001, arrive, app, stream, [1, 2])
    assert await offsets_of(found) == [0, 1, 2]


async def test_events_of_an_earlier_assignment_are_left_out(app: faust.App) -> None:
    stream: Stream = app.stream(app.channel())
    found = batches(stream)
    arrive(app, stream, [0])
    arrive(app, stream, [1, 2], generation=CURRENT - 1)
    arrive(app, stream, [3])
    assert await offsets_of(found) == [0, 3]
