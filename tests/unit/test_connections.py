"""A connection to Kafka that breaks while somebody writes to it, on the event loop that the workers use."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from infra.local.processes import free_port
from streams import connections
from streams.leaving import broker_listens, leave_when_commits_hang


async def _errors_while_it_breaks() -> list[type[Exception]]:
    """What sending raises, again and again, from the instant its peer resets the connection until it is closed."""
    peers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: peers.put_nowait(writer), "127.0.0.1", 0)
    connection = AIOKafkaConnection(*server.sockets[0].getsockname())
    connection._do_version_lookup = lambda: asyncio.sleep(0)  # the server says nothing
    connection._versions = {MetadataRequest.API_KEY: (0, 8)}
    await connection.connect()
    peer = await peers.get()
    peer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.transport.abort()
    sent: list[asyncio.Task[Any]] = []
    raised: list[type[Exception]] = []
    while KafkaConnectionError not in raised:
        try:
            sent.append(asyncio.ensure_future(connection.send(MetadataRequest([]))))
        except RuntimeError as error:
            raised.append(type(error))
        await asyncio.sleep(0)
    connection.close()
    assert all(isinstance(each, KafkaConnectionError) for each in await asyncio.gather(*sent, return_exceptions=True))
    server.close()
    return raised


def _run(work: Callable[[], Awaitable[list[type[Exception]]]]) -> list[type[Exception]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(work(), 120))


def test_a_write_to_a_connection_that_breaks_is_the_error_that_aiokafka_handles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AIOKafkaConnection, "send", connections._send)
    assert RuntimeError in _run(_errors_while_it_breaks), "streams/connections.py is of no use any more"
    connections.mend_connections()
    assert _run(_errors_while_it_breaks) == [KafkaConnectionError]


def test_a_broker_listens_when_one_of_them_does() -> None:
    nobody = f"127.0.0.1:{free_port()}"

    async def _asked() -> list[bool]:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        somebody = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        asked = [await broker_listens(each) for each in (somebody, f"{nobody}, {somebody}", nobody, "kafka", "")]
        server.close()
        return asked

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_asked()) == [True, True, False, False, False]


class AppThatCommitsForEver:
    """As much of an app as the guard looks at: one commit that never ends, for a few looks."""

    def __init__(self) -> None:
        self.consumer = SimpleNamespace(_commit_fut=object())
        self.looks = 0

    @property
    def should_stop(self) -> bool:
        self.looks += 1
        return self.looks > 5

    def task(self, work: Callable[[], Awaitable[None]]) -> None:
        self.run = work


@pytest.mark.parametrize("listens", [True, False])
def test_a_worker_leaves_a_commit_that_hangs_unless_kafka_is_away(
    monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    left: list[str] = []
    monkeypatch.setattr("streams.leaving.leave", lambda reason, **facts: left.append(reason))
    monkeypatch.setattr("streams.leaving.LOOK_SECONDS", 0.1)
    app: Any = AppThatCommitsForEver()

    async def _watched() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1] if listens else free_port()
        leave_when_commits_hang(app, 0.15, f"127.0.0.1:{port}")
        await app.run()
        server.close()

    asyncio.run(_watched())
    assert bool(left) == listens
