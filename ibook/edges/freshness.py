"""How long after a purchase happened its card's state can be read in the online store, measured by looking."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread

import numpy as np

from ibook.clock import SystemClock, to_us
from ibook.edges.online_store import OnlineStore
from ibook.errors import FeatureUnavailable
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from ibook.states import decode_state

LOOK_SECONDS = 0.01
GIVE_UP_SECONDS = 30.0
PER_SECOND = 10.0
"""Purchases taken as samples per second, however long each must be followed."""

Latest = Callable[[Sequence[str]], Sequence[int | None]]
"""Event time, in microseconds, of the latest message that the state of each card has seen; None without a state."""


@dataclass(frozen=True)
class Followed:
    """A purchase whose card is looked at until it has seen it."""

    card_id: str
    occurred_us: int
    give_up_at: float
    """On `time.monotonic`'s scale."""


class FreshnessProbe:
    """Follows `PER_SECOND` purchases a second until their cards' states in the online store have seen them.

    Samples are taken at a steady pace, also while nothing arrives in the store: a probe that waited for one before it
    took the next would count a stall once, and the good times around it often. A sample is as exact as
    `LOOK_SECONDS`, and the time of one read. `watch` never blocks.
    """

    def __init__(self, settings: Settings, latest: Latest | None = None) -> None:
        self._settings = settings
        self._latest = latest
        self._next: Queue[Followed] = Queue(maxsize=int(PER_SECOND * GIVE_UP_SECONDS))
        self._sample_at = 0.0
        self._stop = Event()
        self._lock = Lock()
        self._samples: list[float] = []
        self.never_seen = 0
        """Samples that could not be read within `GIVE_UP_SECONDS`; they are in no percentile."""
        self._thread = Thread(target=self._run, name="freshness", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join(5)

    def watch(self, purchase: PurchaseRequested) -> None:
        """Follow this purchase if a sample is due. One thread may call it."""
        now = time.monotonic()
        if now < self._sample_at:
            return
        self._sample_at = max(self._sample_at + 1 / PER_SECOND, now)
        try:
            self._next.put_nowait(Followed(purchase.card_id, to_us(purchase.occurred_at), now + GIVE_UP_SECONDS))
        except Full:  # nobody looks: the probe was not started, or the store does not answer at all
            self.never_seen += 1

    def seconds(self) -> list[float]:
        """The samples so far: from `occurred_at` until the state was readable."""
        with self._lock:
            return list(self._samples)

    def _run(self) -> None:
        if self._latest is not None:
            self._follow(self._latest)
            return
        store = OnlineStore(self._settings)
        self._follow(_latest_in(store))
        store.close()

    def _follow(self, latest: Latest) -> None:
        followed: list[Followed] = []
        while not self._stop.is_set():
            followed += self._taken(wait=not followed)
            followed = self._look(latest, followed)
            self._stop.wait(LOOK_SECONDS)

    def _taken(self, *, wait: bool) -> list[Followed]:
        """What is to be followed from now on; with `wait`, after a moment at most."""
        taken: list[Followed] = []
        try:
            if wait:
                taken.append(self._next.get(timeout=0.1))
            while True:
                taken.append(self._next.get_nowait())
        except Empty:
            return taken

    def _look(self, latest: Latest, followed: list[Followed]) -> list[Followed]:
        """Look once at all of them; those that are still to be followed."""
        seen_us = latest([one.card_id for one in followed]) if followed else []
        now_us, now = to_us(SystemClock().now()), time.monotonic()
        left = []
        for one, seen in zip(followed, seen_us, strict=True):
            if seen is not None and seen >= one.occurred_us:
                with self._lock:
                    self._samples.append((now_us - one.occurred_us) / 1e6)
            elif now >= one.give_up_at:
                self.never_seen += 1
            else:
                left.append(one)
        return left


def _latest_in(store: OnlineStore) -> Latest:
    def _latest(card_ids: Sequence[str]) -> list[int | None]:
        try:
            rows = store.read_states({"card": list(card_ids)})["card"]
        except FeatureUnavailable:
            return [None] * len(card_ids)
        return [None if row is None else decode_state(row).latest_us for row in rows]

    return _latest


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds; empty without samples."""
    if not seconds:
        return {}
    return {f"p{q}": round(float(np.percentile(np.array(seconds), q)) * 1000, 1) for q in (50, 95, 99)}
