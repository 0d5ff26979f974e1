"""How much a request may send: whoever sends more is refused before it is held in memory."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import problem

MAX_BODY_BYTES = 64 << 10


class BodyLimit:
    """ASGI middleware: 413 for a body that says it is too large, or turns out to be while it is read."""

    def __init__(self, app: ASGIApp, larger: Mapping[str, int] | None = None) -> None:
        """`larger` are paths whose bodies may have more bytes than MAX_BODY_BYTES."""
        self._app = app
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._larger.get(scope["path"], MAX_BODY_BYTES)
        if _says_too_large(Headers(scope=scope).get("content-length", ""), most):
            await problem(413, _too_large(most))(scope, receive, send)
        else:
            await self._app(scope, _counted(receive, most), send)


def _too_large(most: int) -> str:
    return f"The body is larger than {most >> 10} KiB."


def _says_too_large(length: str, most: int) -> bool:
    return length.isdecimal() and (len(length) > 9 or int(length) > most)


def _counted(receive: Receive, most: int) -> Receive:
    received = 0

    async def _receive() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise HTTPException(413, _too_large(most))
        return message

    return _receive
