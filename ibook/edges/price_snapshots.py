"""Listings and price policies in memory, read from Kafka by a thread: nobody who asks for them waits."""

import threading
from collections.abc import Iterable

import structlog

from ibook.codec import MAX_OWN_BYTES, decode
from ibook.edges.kafka import BroadcastReader, Record
from ibook.errors import BrokerUnavailable, ConfigurationError, InvalidMessage
from ibook.messages import EventListed, PricePolicy
from ibook.settings import Settings
from ibook.topics import EVENT_LISTINGS, PRICE_POLICIES

log = structlog.get_logger()

RETRY_SECONDS = 1.0
POLL_SECONDS = 0.25


class Snapshots:
    """What is on sale and which policy each event has: the newest of each that was read."""

    def __init__(self) -> None:
        self.listings: dict[str, EventListed] = {}
        self.policies: dict[str, PricePolicy] = {}
        self.loaded = False
        """Both topics were read to their end once."""
        self.problem = "Kafka was not read yet."
        """Why `loaded` is False, in a sentence."""

    def take(self, records: Iterable[Record]) -> None:
        """Remember these; what can't be read is left out (the policies worker dead-letters it)."""
        for record in records:
            try:
                self._take(record)
            except InvalidMessage as error:
                log.warning("unreadable", topic=record.topic, partition=record.partition, offset=record.offset,
                            reason=error.reason, detail=error.detail)  # fmt: skip

    def _take(self, record: Record) -> None:
        known: dict[str, EventListed] | dict[str, PricePolicy]
        known = self.listings if record.topic == EVENT_LISTINGS.name else self.policies
        if record.value is None:
            known.pop((record.key or b"").decode(errors="replace"), None)
        elif record.topic == EVENT_LISTINGS.name:
            self._take_listing(decode(record.value, EventListed))
        else:
            self.take_policy(decode(record.value, PricePolicy, max_bytes=MAX_OWN_BYTES))

    def take_policy(self, policy: PricePolicy) -> None:
        """Remember a policy unless a later one is known."""
        known = self.policies.get(policy.event_id)
        if known is None or policy.version >= known.version:
            self.policies[policy.event_id] = policy

    def _take_listing(self, listing: EventListed) -> None:
        known = self.listings.get(listing.event_id)
        # Publishers with different partitioners put one event into two partitions, which are read in any order.
        if known is None or listing.occurred_at >= known.occurred_at:
            self.listings[listing.event_id] = listing


class SnapshotReader:
    """Keeps snapshots current from Kafka in a thread; waits for a Kafka that is away, also at the start."""

    def __init__(self, settings: Settings, snapshots: Snapshots) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that waits for a dead broker is left to the process's end."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (BrokerUnavailable, ConfigurationError) as error:
                self._snapshots.problem = str(error)
                self._stop.wait(RETRY_SECONDS)
            except Exception:  # a thread that dies in silence would freeze prices for ever
                log.exception("reading listings and policies failed")
                self._stop.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        with BroadcastReader(self._settings, EVENT_LISTINGS.name, PRICE_POLICIES.name) as reader:
            self._snapshots.take(reader.load())
            self._snapshots.loaded, self._snapshots.problem = True, ""
            while not self._stop.is_set():
                self._snapshots.take(reader.poll_new(POLL_SECONDS))
