"""A head without an end is refused, and a request that does not come; honest ones before a large body are not."""

import asyncio
import http.client
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.local.processes import free_port
from serving import connections
from serving.connections import MAX_HEAD_BYTES, BoundedRequests, allow_connections
from tests.api.test_prices import Api


@contextmanager
def listening(app: ASGIApp) -> Iterator[int]:
    config = uvicorn.Config(
        app, port=free_port(), log_level="error", ws="none", http=BoundedRequests,
        lifespan="on" if isinstance(app, FastAPI) else "off",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    yield config.port
    server.should_exit = True
    thread.join()


@pytest.fixture
def port() -> Iterator[int]:
    with listening(Api().client.app) as port:
        yield port


@pytest.mark.parametrize("begin", [b"GET /", b"GET /healthz HTTP/1.1\r\nX-Long: ", b"GET /healthz HTTP/1.1\r\n"])
def test_a_head_that_does_not_end_is_refused_and_its_connection_closed(port: int, begin: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(begin)
        received = b""
        try:
            for _ in range(4 * MAX_HEAD_BYTES // 1024):
                client.sendall(b"a: b\r\n" * 170 if begin.endswith(b"\n") else b"x" * 1024)
            while piece := client.recv(65536):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            return
    assert received.startswith(b"HTTP/1.1 400 ")


def test_large_bodies_and_many_requests_on_a_connection_are_read(port: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(40):
        body = json.dumps({"event_id": "gala", "ticket_type": "stalls"}).ljust(60 << 10)
        client.request("POST", "/v1/quotes", body, {"Content-Type": "application/json", "X-Padding": "x" * 4000})
        answer = client.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True), number
    client.close()


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n",
        b"POST /v1/quotes HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "half a second request"],
)
def test_a_connection_whose_request_does_not_arrive_is_cut(
    port: int, begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ARRIVAL_SECONDS", 1.0)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(begin)
        received = b""
        try:
            while piece := client.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
    assert received.count(b"HTTP/1.1 200 ") == begin.count(b"\r\n\r\nGET"), "what had arrived is answered"


def test_a_request_that_has_arrived_may_take_longer_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ARRIVAL_SECONDS", 1.0)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(1.6)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    with listening(slow) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        client.request("GET", "/")
        assert client.getresponse().status == 200
        client.close()


def test_as_many_connections_are_allowed_as_the_machine_lets_a_process_have() -> None:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1, most))
        allow_connections()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
