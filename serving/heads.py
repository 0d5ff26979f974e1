"""How long the head of a request may be: uvicorn's fast parser sets no bound, and a head is read before any key."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's HTTP protocol; a connection whose head does not end within MAX_HEAD_BYTES is refused and closed."""

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        super().on_headers_complete()
        self._in_head = False
