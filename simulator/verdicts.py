"""The shop's ear: reads `fraud-verdicts` from where it ended when the shop opened."""

from collections.abc import Callable

from ibook import codec
from ibook.errors import InvalidMessage
from ibook.messages import FraudVerdict
from ibook.settings import Settings
from ibook.topics import FRAUD_VERDICTS
from simulator.tail import Tail

OnVerdict = Callable[[FraudVerdict, float], None]
"""Takes a verdict and when it was readable, on `time.perf_counter`'s scale; called in the reader's thread."""


class VerdictReader:
    """Reads all partitions, in no group. `start` returns when it is sure to see every later verdict."""

    def __init__(self, settings: Settings, on_verdict: OnVerdict) -> None:
        self._on_verdict = on_verdict
        self._tail = Tail(settings, FRAUD_VERDICTS, self._take)
        self.unreadable = 0

    def start(self) -> None:
        """Raises BrokerUnavailable when Kafka does not answer, ConfigurationError when the topic is not there."""
        self._tail.start()

    def stop(self) -> None:
        """End the thread and leave."""
        self._tail.stop()

    def _take(self, value: bytes | None, readable_at: float) -> None:
        try:
            verdict = codec.decode(value, FraudVerdict)
        except InvalidMessage:
            self.unreadable += 1
            return
        self._on_verdict(verdict, readable_at)
