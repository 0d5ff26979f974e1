"""A shop that reads its verdicts with our helper, while everything around it breaks."""

import threading
from collections import defaultdict

from ibook.edges.first_verdicts import FirstVerdicts
from ibook.errors import BrokerUnavailable
from ibook.settings import Settings

GROUP = "chaos-shop"


class Shop:
    """Notes, from a thread of its own, every verdict that it is given while the context lasts."""

    def __init__(self, settings: Settings) -> None:
        self.given: defaultdict[str, list[str]] = defaultdict(list)
        """Actions by transaction: all the same, or the helper has failed."""
        self.failures: list[str] = []
        """What ended the helper beside a broker that is away."""
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shop", daemon=True)

    def __enter__(self) -> "Shop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except BrokerUnavailable:
                self._stop.wait(1.0)  # begin again, as the helper says
            except Exception as error:  # whatever it is, the scenarios that follow need a reader, too
                self.failures.append(repr(error))
                self._stop.wait(1.0)

    def _read(self) -> None:
        with FirstVerdicts(self._settings.kafka_bootstrap, GROUP) as verdicts:
            while not self._stop.is_set():
                verdict = verdicts.poll(0.5)
                if verdict is not None:
                    self.given[verdict.transaction_id].append(verdict.action)
