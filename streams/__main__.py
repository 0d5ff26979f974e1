"""`python -m streams NAME`: run one worker until it is told to stop."""

import gc
import importlib
import logging
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from ibook.edges.logs import log_plainly
from ibook.errors import ConfigurationError
from ibook.settings import Settings, load_settings

if TYPE_CHECKING:
    from faust.types import AppT

WORKERS = (
    "activity-to-entities", "entities-to-features", "purchases-to-verdicts", "outcomes-to-journal",
    "journal-to-rewards", "rewards-to-policies", "updates-to-archive",
)  # fmt: skip
WITHOUT_FAUST = ("updates-to-archive",)
"""They read the log themselves: their module has `run(settings)` instead of an app."""


def run(name: str, settings: Settings) -> None:
    """Run a worker in this process; returns when it has stopped."""
    from prometheus_client import start_http_server

    log_plainly()
    keep_libraries_quiet()
    worker = importlib.import_module(f"streams.{name.replace('-', '_')}")
    app = None if name in WITHOUT_FAUST else _app(worker, settings)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    spare_the_collector()
    if app is None:
        worker.run(settings)
    else:
        _run_app(app)


def _app(worker: ModuleType, settings: Settings) -> "AppT":
    import uvloop

    uvloop.install()
    app: AppT = worker.create(settings)
    return app


def _run_app(app: "AppT") -> None:
    import faust

    from streams.leaving import leave_when_the_client_ends

    leave_when_the_client_ends(app)
    try:
        faust.Worker(app, loglevel="warn", redirect_stdouts=False, quiet=True).execute_from_commandline()
    except SystemExit as stopped:
        # All is committed and closed. Unloading what was imported would take time in which nobody owns the work.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(stopped.code if isinstance(stopped.code, int) else 1)


def keep_libraries_quiet() -> None:
    """Faust's loglevel is that of its handlers: below it, records of every request were still made, and thrown away."""
    for chatty in ("aiokafka", "asyncio", "faust", "mode"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def spare_the_collector() -> None:
    """Keep the imported modules out of garbage collection: looking at them again and again stops a worker for 0.1 s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def main() -> int:
    """Read the arguments and the settings; a wrong one is one sentence."""
    if len(sys.argv) != 2 or sys.argv[1] not in WORKERS:
        print(f"usage: python -m streams NAME, where NAME is one of {', '.join(WORKERS)}", file=sys.stderr)
        return 2
    try:
        settings = load_settings()
        run(sys.argv[1], settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
