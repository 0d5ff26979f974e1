"""A fetch waits for its turn; a message is handed to its agent at once, unless it has to wait and the flow stops."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from ibook.settings import Settings
from streams.app import create_app
from streams.fetching import Turns


class Stage:
    """A consumer whose flow runs, and the queue of its only agent, which holds one message."""

    def __init__(self, data_dir: Path) -> None:
        app = create_app("test-fetching", Settings(data_dir=data_dir))
        app.finalize()
        self.flow = app.flow_control
        self.consumer = cast(Any, app.consumer)
        self.queue: Any = app.FlowControlQueue(maxsize=1, clear_on_resume=True)
        self.flow.resume()
        self.consumer.suspend_flow.clear()

    async def hand_over(self, message: str) -> bool:
        """As Faust asks for it; whether the message is in the queue."""
        before = self.queue.qsize()
        await self.consumer.wait_first(self.queue.put(message), self.consumer.suspend_flow.wait())
        return bool(self.queue.qsize() > before)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    yield Stage(tmp_path)


async def test_where_there_is_room_no_task_is_made_for_a_message(stage: Stage) -> None:
    made: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> "asyncio.Task[Any]":
        made.append(work)
        return asyncio.Task(work, loop=loop, **named)

    asyncio.get_running_loop().set_task_factory(factory)
    assert await stage.hand_over("m")
    assert made == []


async def test_a_message_waits_for_room(stage: Stage) -> None:
    await stage.hand_over("first")
    second = asyncio.create_task(stage.hand_over("second"))
    await asyncio.sleep(0)
    assert stage.queue.get_nowait() == "first"
    await second
    assert stage.queue.get_nowait() == "second"


@pytest.mark.parametrize("full", [False, True])
async def test_a_message_gives_way_to_a_flow_that_is_stopped(stage: Stage, full: bool) -> None:
    if full:
        await stage.hand_over("first")
    stage.flow.suspend()
    waiting = asyncio.create_task(stage.hand_over("late"))
    await asyncio.sleep(0)
    assert not waiting.done()
    stage.consumer.suspend_flow.set()
    assert not await waiting


def test_the_next_fetch_of_a_broker_is_due_a_pause_after_the_last_was_answered() -> None:
    turns = Turns(0.25)
    assert turns.wait_seconds(1, 100.0) == 0.0
    turns.answered(1, 100.0)
    assert [turns.wait_seconds(1, now) for now in (100.0, 100.125, 100.25, 300.0)] == [0.25, 0.125, 0.0, 0.0]
    assert turns.wait_seconds(2, 100.0) == 0.0
