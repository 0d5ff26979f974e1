"""`python -m serving`: the price API on `IBOOK_SERVING_HOST` and `IBOOK_SERVING_PORT` until it is told to stop."""

import gc
import socket
import sys

import uvicorn

from ibook.edges.logs import log_plainly
from ibook.errors import ConfigurationError
from ibook.settings import Settings, load_settings
from serving.app import create_app
from serving.connections import BoundedRequests, allow_connections
from serving.exposure import check_exposure

SWITCH_SECONDS = 0.001
"""How long a thread that journals, follows Kafka or scores may keep a request waiting for Python's lock; else 5 ms."""


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises ConfigurationError when the port can't be had."""
    host, port = settings.serving_host, settings.serving_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"The price API can't listen on {host}:{port} (set IBOOK_SERVING_PORT): {error.strerror}."
        ) from error
    return listener


def main() -> int:
    """Serve; a wrong setting or a port in use is one sentence and exit code 2."""
    log_plainly()
    try:
        settings = load_settings()
        check_exposure(settings)
        app = create_app(settings)
        listener = bind(settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    if settings.api_keys_file is None:
        print("No IBOOK_API_KEYS_FILE: everybody on this machine may ask for everything.", file=sys.stderr, flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, loop="uvloop",
                            http=BoundedRequests, ws="none", timeout_graceful_shutdown=5)  # fmt: skip
    allow_connections()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what is imported stays: the collector need not walk it while requests wait
    server = uvicorn.Server(config)
    with listener:
        server.run(sockets=[listener])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
