"""A message is handed to its agent at once, and gives way to a flow that stops only where it has to wait."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from ibook.settings import Settings
from streams.app import create_app


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
