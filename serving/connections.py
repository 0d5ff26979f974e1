"""What a connection may ask for before any key is read: how long a head, how long until a request is there, how many.

uvicorn's fast parser sets no bound to the first two.
"""

import resource
from asyncio import TimerHandle, Transport

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10
ARRIVAL_SECONDS = 20.0
"""From the opening of a connection, or from a request's first bytes, until the request is there, body and all."""


class BoundedRequests(HttpToolsProtocol):
    """uvicorn's HTTP protocol; a connection whose head does not end within MAX_HEAD_BYTES is refused and closed.

    One whose request is not there within ARRIVAL_SECONDS is cut: those who open thousands and send a byte now and then
    would leave no connection for anybody else. Between requests uvicorn's own timeout holds.
    """

    _in_head = True
    _head_bytes = 0
    _arriving = True
    _cut_off: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A connection is open."""
        super().connection_made(transport)
        self._await_the_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._await_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")
        if self._arriving:
            self._await_the_rest()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes, self._arriving = True, 0, True

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        super().on_headers_complete()
        self._in_head = False

    def on_message_complete(self) -> None:
        """The request is there."""
        super().on_message_complete()
        self._arriving = False
        self._await_nothing()

    def _await_the_rest(self) -> None:
        if self._cut_off is None and not self.transport.is_closing():
            self._cut_off = self.loop.call_later(ARRIVAL_SECONDS, self.transport.abort)

    def _await_nothing(self) -> None:
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None


def allow_connections() -> None:
    """Let this process have as many connections as the machine allows: the usual 1,024 are taken in no time."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
