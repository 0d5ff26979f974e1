"""Prices and quotes without FastAPI's machinery, which takes several times as long as they do.

A request that is right in every way is answered here. Everything else goes on to the routes, which describe the API,
answer the same, and say what is wrong; so there is one place for errors.
"""

from fastapi import HTTPException
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access import asked_by
from serving.desk import PriceDesk
from serving.quotes import quoted
from serving.schemas import QuoteRequest

QUOTES = "/v1/quotes"
BEFORE_EVENT, AFTER_EVENT = "/v1/events/", "/price"
TICKET_TYPE = b"ticket_type="
NEEDS_DECODING = frozenset(b"&;%+")
MAX_SHORT_BYTES = 4 << 10
"""The largest right request for a quote has four ids of 128 characters."""


class ShortWay:
    """ASGI middleware, behind what asks for keys: answers what it can, and hands on all else as it came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        answer: bytes | None = None
        if scope["type"] == "http" and scope["method"] == "GET":
            answer = _price(scope)
        elif scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == QUOTES and _is_short(scope):
            message = await receive()
            answer, receive = _quote(scope, message), _again(message, receive)
        if answer is None:
            await self._app(scope, receive, send)
        else:
            await _answer(answer, send)


def _price(scope: Scope) -> bytes | None:
    path, query = scope["path"], scope["query_string"]
    if not (path.startswith(BEFORE_EVENT) and path.endswith(AFTER_EVENT)):
        return None
    event_id, ticket_type = path[len(BEFORE_EVENT) : -len(AFTER_EVENT)], None
    if query:
        name, asked = query[: len(TICKET_TYPE)], query[len(TICKET_TYPE) :]
        if name != TICKET_TYPE or not asked or not NEEDS_DECODING.isdisjoint(asked) or not asked.isascii():
            return None
        ticket_type = asked.decode()
    try:
        return _desk(scope).prices(event_id, ticket_type)
    except HTTPException:
        return None


def _is_short(scope: Scope) -> bool:
    headers = dict(reversed(scope["headers"]))  # of a header that is sent twice the first one counts, as for FastAPI
    length = headers.get(b"content-length", b"")
    is_json = headers.get(b"content-type") == b"application/json"
    return is_json and length.isdigit() and len(length) <= 4 and int(length) <= MAX_SHORT_BYTES


def _quote(scope: Scope, message: Message) -> bytes | None:
    if message.get("more_body") or len(message.get("body", b"")) > MAX_SHORT_BYTES:
        return None
    try:
        body = QuoteRequest.model_validate_json(message.get("body", b""))
        return quoted(_desk(scope), body, asked_by(scope))
    except (ValidationError, HTTPException):
        return None


def _desk(scope: Scope) -> PriceDesk:
    desk: PriceDesk = scope["app"].state.desk
    return desk


def _again(first: Message, receive: Receive) -> Receive:
    """Gives the message that was read once more, and then what follows it."""
    read = [first]

    async def _receive() -> Message:
        return read.pop() if read else await receive()

    return _receive


async def _answer(body: bytes, send: Send) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
