"""How much a request may send: whoever sends more is refused before it is held in memory."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 64 << 10
TOO_LARGE = f"The body is larger than {MAX_BODY_BYTES >> 10} KiB."


class BodyLimit:
    """ASGI middleware: 413 for a body that says it is too large, or turns out to be while it is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _says_too_large(Headers(scope=scope).get("content-length", "")):
            await JSONResponse({"detail": TOO_LARGE}, status_code=413)(scope, receive, send)
        else:
            await self._app(scope, _counted(receive), send)


def _says_too_large(length: str) -> bool:
    return length.isdecimal() and (len(length) > 9 or int(length) > MAX_BODY_BYTES)


def _counted(receive: Receive) -> Receive:
    received = 0

    async def _receive() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, TOO_LARGE)
        return message

    return _receive
