"""How long after a purchase happened its card's state can be read in the online store, measured by looking."""

import time
from collections.abc import Sequence
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread

import numpy as np

from ibook.clock import SystemClock, to_us
from ibook.edges.online_store import OnlineStore
from ibook.errors import FeatureUnavailable
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from ibook.windows import decode_state

LOOK_SECONDS = 0.01
GIVE_UP_SECONDS = 30.0


class FreshnessProbe:
    """Follows one purchase at a time until its card's state in the online store has seen it.

    A sample is as exact as `LOOK_SECONDS`. `watch` never blocks: while one purchase is followed others pass by.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._next: Queue[PurchaseRequested] = Queue(maxsize=1)
        self._stop = Event()
        self._lock = Lock()
        self._samples: list[float] = []
        self.never_seen = 0
        """Purchases that could not be read within `GIVE_UP_SECONDS`."""
        self._thread = Thread(target=self._run, name="freshness", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join(5)

    def watch(self, purchase: PurchaseRequested) -> None:
        """Follow this purchase if nothing else is followed now."""
        try:
            self._next.put_nowait(purchase)
        except Full:
            return

    def seconds(self) -> list[float]:
        """The samples so far: from `occurred_at` until the state was readable."""
        with self._lock:
            return list(self._samples)

    def _run(self) -> None:
        store = OnlineStore(self._settings)
        while not self._stop.is_set():
            try:
                purchase = self._next.get(timeout=0.1)
            except Empty:
                continue
            self._follow(store, purchase)
        store.close()

    def _follow(self, store: OnlineStore, purchase: PurchaseRequested) -> None:
        clock = SystemClock()
        occurred_us = to_us(purchase.occurred_at)
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline and not self._stop.is_set():
            if _has_seen(store, purchase.card_id, occurred_us):
                with self._lock:
                    self._samples.append((to_us(clock.now()) - occurred_us) / 1e6)
                return
            time.sleep(LOOK_SECONDS)
        self.never_seen += not self._stop.is_set()


def _has_seen(store: OnlineStore, card_id: str, occurred_us: int) -> bool:
    try:
        (row,) = store.read_states({"card": [card_id]})["card"]
    except FeatureUnavailable:
        return False
    return row is not None and decode_state(row).latest_us >= occurred_us


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds; empty without samples."""
    if not seconds:
        return {}
    return {f"p{q}": round(float(np.percentile(np.array(seconds), q)) * 1000, 1) for q in (50, 95, 99)}
