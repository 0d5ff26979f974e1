"""A head without an end is refused; an honest one before a large body is not."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from infra.local.processes import free_port
from serving.heads import MAX_HEAD_BYTES, BoundedHeads
from tests.api.test_prices import Api


@pytest.fixture
def port() -> Iterator[int]:
    config = uvicorn.Config(Api().client.app, port=free_port(), log_level="error", ws="none", http=BoundedHeads)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    yield config.port
    server.should_exit = True
    thread.join()


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
