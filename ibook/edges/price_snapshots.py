"""Listings, seats, competitors and price policies in memory, read from Kafka by a thread: nobody waits for them."""

from collections.abc import Container, Iterable
from datetime import datetime
from typing import Any

import structlog

from ibook.codec import MAX_OWN_BYTES, decode
from ibook.edges.follower import Follower
from ibook.edges.kafka import Record
from ibook.edges.kept_topics import KeptTopics
from ibook.entities import check_not_future
from ibook.errors import InvalidMessage
from ibook.messages import (
    CompetitorPrices,
    CurveMoments,
    EventListed,
    ExperimentFigures,
    InventoryChanged,
    PriceControlled,
    PriceExperiment,
    PricePolicy,
    PricePrior,
)
from ibook.pricing_priors import Name
from ibook.settings import Settings
from ibook.topics import (
    BY_NAME,
    COMPETITOR_PRICES,
    EVENT_INVENTORY,
    EVENT_LISTINGS,
    PRICE_CONTROLS,
    PRICE_EXPERIMENTS,
    PRICE_POLICIES,
    PRICE_PRIORS,
    Topic,
)

log = structlog.get_logger()

POLL_SECONDS = 0.25
READ = (EVENT_LISTINGS, EVENT_INVENTORY, COMPETITOR_PRICES, PRICE_POLICIES, PRICE_CONTROLS, PRICE_EXPERIMENTS)
READ_BY_LEARNERS = (*READ, PRICE_PRIORS)
Told = EventListed | InventoryChanged | CompetitorPrices
"""What the shop tells of an event."""


class Snapshots:
    """What is on sale, what is left of it, what others ask, and which policy each event has: the newest of each."""

    def __init__(self) -> None:
        self.listings: dict[str, EventListed] = {}
        self.policies: dict[str, PricePolicy] = {}
        self.inventory: dict[str, InventoryChanged] = {}
        self.competitors: dict[str, CompetitorPrices] = {}
        self.controls: dict[str, PriceControlled] = {}
        self.experiment: PriceExperiment | None = None
        """What was ordered of the experiment; None: the settings' shares."""
        self.figures: ExperimentFigures | None = None
        """How it stood when that was last told."""
        self.priors: dict[int, dict[Name, CurveMoments]] = {}
        """By partition of the events that they are of; only learners read them."""
        self._said: dict[tuple[str, str], dict[int, Told]] = {}
        """Topic and event -> the last message of each partition."""
        self.loaded = False
        """All these topics were read to their end once."""
        self.problem = "Kafka was not read yet."
        """Why `loaded` is False, in a sentence."""
        self.kept_from: datetime | None = None
        """Until Kafka is read: what is known is what an earlier process had read until then."""
        self.unkept = ""
        """Why a later process would not find what is known now, in a sentence."""

    @property
    def begun(self) -> bool:
        """Whether prices can be given: by what Kafka says, or said to an earlier process."""
        return self.loaded or self.kept_from is not None

    def seats_left(self, event_id: str) -> int | None:
        """Seats an event has to sell; None when nobody said."""
        known = self.inventory.get(event_id)
        return known.remaining if known else None

    def rivals(self, event_id: str) -> dict[str, int]:
        """Ticket type -> what the cheapest competitor asks, in minor units of the event's currency."""
        known, listing = self.competitors.get(event_id), self.listings.get(event_id)
        if known is None or listing is None or known.currency != listing.currency:
            return {}
        return {one.ticket_type: one.price_minor for one in known.prices}

    def experience(self, without: Container[int] = ()) -> list[dict[Name, CurveMoments]]:
        """What the events of each partition but these were like."""
        return [of for partition, of in list(self.priors.items()) if partition not in without]

    def become(self, other: "Snapshots") -> None:
        """Know what the other one knows and nothing else, in one step: nobody ever sees a part of it."""
        vars(self).update(vars(other))

    def take(self, records: Iterable[Record]) -> list[Record]:
        """Remember and return these; what can't be read is left out (the owner of its topic dead-letters it)."""
        taken = []
        for record in records:
            try:
                self._take(record)
                taken.append(record)
            except InvalidMessage as error:
                log.warning("unreadable", topic=record.topic, partition=record.partition, offset=record.offset,
                            reason=error.reason, detail=error.detail)  # fmt: skip
        return taken

    def _take(self, record: Record) -> None:
        if record.topic == PRICE_EXPERIMENTS.name:
            self._take_experiment(record.value)
        elif record.value is None and record.topic in self._known:
            event_id = (record.key or b"").decode(errors="replace")
            self._known[record.topic].pop(event_id, None)
            self._said.pop((record.topic, event_id), None)
        elif record.value is None:
            return  # nobody deletes these
        elif record.topic == PRICE_POLICIES.name:
            self.take_policy(decode(record.value, PricePolicy, max_bytes=MAX_OWN_BYTES))
        elif record.topic == PRICE_CONTROLS.name:  # one partition: the last one counts, whatever clocks say
            control: PriceControlled = decode(record.value, PriceControlled, max_bytes=MAX_OWN_BYTES)
            self.controls[control.event_id] = control
        elif record.topic == PRICE_PRIORS.name:
            prior: PricePrior = decode(record.value, PricePrior, max_bytes=MAX_OWN_BYTES)
            self.priors.setdefault(prior.partition, {})[prior.scope, prior.name] = prior.moments
        else:
            self._take_told(record, decode(record.value, BY_NAME[record.topic].message))

    def _take_told(self, record: Record, message: Told) -> None:
        """The last message of its partition counts, whatever clocks say: it is what compaction leaves to a restart.

        Publishers with different partitioners put one event into two partitions, which are read in any order: of
        their last messages the newest one counts.
        """
        check_not_future(message, record.timestamp_ms * 1000)
        said = self._said.setdefault((record.topic, message.event_id), {})
        said[record.partition] = message
        newest = max(said.values(), key=lambda each: (each.occurred_at, each is message))
        self._known[record.topic][message.event_id] = newest

    def _take_experiment(self, value: bytes | None) -> None:
        if value is not None:
            told: PriceExperiment | ExperimentFigures = decode(value, PriceExperiment | ExperimentFigures)
            if isinstance(told, PriceExperiment):
                self.experiment = told
            else:
                self.figures = told

    @property
    def _known(self) -> dict[str, dict[str, Any]]:
        return {
            EVENT_LISTINGS.name: self.listings, PRICE_POLICIES.name: self.policies,
            EVENT_INVENTORY.name: self.inventory, COMPETITOR_PRICES.name: self.competitors,
            PRICE_CONTROLS.name: self.controls,
        }  # fmt: skip

    def take_policy(self, policy: PricePolicy) -> None:
        """Remember a policy unless a later one is known."""
        known = self.policies.get(policy.event_id)
        if known is None or policy.version >= known.version:
            self.policies[policy.event_id] = policy


class SnapshotReader:
    """Keeps snapshots current from Kafka in a thread; waits for a Kafka that is away, also at the start.

    With `kept`, a start without Kafka begins with what an earlier process had read.
    """

    def __init__(
        self, settings: Settings, snapshots: Snapshots, topics: Iterable[Topic] = READ, kept: KeptTopics | None = None
    ) -> None:
        self._snapshots = snapshots
        self._kept = kept
        self._anew = self._stopping = self._looked = False
        self._follower = Follower(
            settings, *[topic.name for topic in topics], take=self._take, poll_seconds=POLL_SECONDS,
            begin=self._begin, then=self._keep, trouble=self._trouble,
        )  # fmt: skip

    def start(self) -> None:
        """Begin to read."""
        self._follower.start()

    def stop(self) -> None:
        """End the thread; the last it does is to keep what it has read."""
        self._stopping = True
        self._follower.close()

    def _begin(self) -> None:
        self._anew = self._kept is not None

    def _take(self, records: Iterable[Record]) -> None:
        if self._anew:  # what was kept may have gone from Kafka since
            self._replace(records)
        else:
            taken = self._snapshots.take(records)
            if self._kept is not None:
                self._kept.add(taken)
        self._snapshots.loaded, self._snapshots.problem = True, ""

    def _replace(self, records: Iterable[Record]) -> None:
        fresh = Snapshots()
        taken = fresh.take(records)
        fresh.loaded, fresh.problem = True, ""
        self._snapshots.become(fresh)
        self._anew = False
        if self._kept is not None:
            self._kept.replace(taken)

    def _keep(self) -> None:
        if self._kept is None:
            return
        if self._stopping:
            self._kept.write()
        else:
            self._kept.write_if_due()
        self._snapshots.unkept = self._kept.problem

    def _trouble(self, why: str) -> None:
        if self._kept is not None and not self._snapshots.loaded and not self._looked:
            self._looked = True
            self._begin_with(self._kept, why)
        self._snapshots.problem = _sentence(why, self._snapshots.kept_from)

    def _begin_with(self, kept: KeptTopics, why: str) -> None:
        """Only when Kafka did not answer: what was ordered and delisted since then would not hold for a moment."""
        try:
            found = kept.read()
            if found is not None:
                fresh = Snapshots()
                fresh.take(found.records)
                fresh.kept_from, fresh.problem = found.read_at, _sentence(why, found.read_at)
                self._snapshots.become(fresh)
        except Exception:  # it is a help; a thread that ended here would never read Kafka
            log.exception("what was kept can't be used")


def _sentence(why: str, kept_from: datetime | None) -> str:
    """Why Kafka is not read, and what holds meanwhile."""
    if kept_from is None:
        return why
    return f"Kafka was not read since the start, and what was known at {kept_from:%Y-%m-%d %H:%M:%S} UTC holds: {why}"
