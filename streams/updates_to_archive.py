"""Entity updates and evidence -> Parquet files by day. Not Faust: one process reads all partitions, in no group."""

import signal
import threading

import structlog

from ibook.edges.archive_sink import ArchiveSink
from ibook.errors import BrokerUnavailable
from ibook.settings import Settings
from streams.app import mark_ready

log = structlog.get_logger()

NAME = "updates-to-archive"
RETRY_SECONDS = 1.0


def run(settings: Settings) -> None:
    """Archive until SIGTERM or SIGINT; what is in memory is written then. Raises ConfigurationError."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with ArchiveSink(settings) as sink:
        if _assigned(sink, stopped):
            mark_ready()
            sink.run(stopped.is_set)


def _assigned(sink: ArchiveSink, stopped: threading.Event) -> bool:
    """Wait for Kafka; False when told to stop first."""
    waiting = False
    while not stopped.is_set():
        try:
            sink.assign()
        except BrokerUnavailable as error:
            if not waiting:
                log.warning(str(error))
            waiting = True
            stopped.wait(RETRY_SECONDS)
        else:
            return True
    return False
