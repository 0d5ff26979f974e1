"""Settled rewards -> posterior per price -> how likely each price is drawn, per event.

The table holds integer sums; which policy an event has is read back from `price-policies`, so what was published is
what counts after a restart too.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import faust
import structlog
from faust.types import TP, AppT
from msgspec.structs import replace
from numpy.linalg import LinAlgError

from ibook import metrics
from ibook.bandit import Decision, next_decision
from ibook.clock import Clock, SystemClock
from ibook.codec import decode, encode, pack_state, unpack_state
from ibook.edges.experiment_watch import LOOK_SECONDS, ExperimentWatch
from ibook.edges.price_snapshots import READ_BY_LEARNERS, SnapshotReader, Snapshots
from ibook.entities import check_not_future
from ibook.errors import InvalidMessage
from ibook.messages import EventListed, PricePolicy, PriceReward
from ibook.partitioning import partition_of
from ibook.pricing import PricingRules, is_due_again, postponed, slot_of, slot_start
from ibook.pricing_forecast import market_of
from ibook.rewards import EventSums, fold, known
from ibook.settings import Settings
from ibook.topics import BY_NAME, COMPETITOR_PRICES, EVENT_LISTINGS, PRICE_POLICIES, PRICE_REWARDS
from streams.app import Event, Stream, assigned_partitions, create_app, generation, raw_topic
from streams.batches import acknowledge, each_batch
from streams.dead_letters import publish_dead_letters
from streams.leaving import every
from streams.lessons import Lessons
from streams.publish import Record, publish
from streams.state_table import StateTable

log = structlog.get_logger()

NAME = "rewards-to-policies"
TABLE = "posteriors"
LEAD_SECONDS = 2.0
"""A policy is published so long before its first slot (a quarter of a short slot), so that every replica has it."""


class Learner:
    """Folds rewards into the table and publishes policies for the events whose partition is held here."""

    def __init__(
        self, app: faust.App, table: StateTable, settings: Settings, snapshots: Snapshots, clock: Clock
    ) -> None:
        self._app = app
        self._table = table
        self._partitions = settings.partitions
        self._rules = PricingRules.of(settings)
        self._snapshots = snapshots
        self._lessons = Lessons(app, snapshots)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._held: set[int] = set()
        self._up_to_date: dict[str, str] = {}
        """Event -> the listing its newest policy was made for; events with new rewards are left out."""
        self._decided: set[str] = set()
        """Events that got a policy since partitions moved last."""
        self._tried: dict[str, datetime] = {}
        """Event -> when its policy was decided last, or could not be."""

    async def take_over(self, partitions: set[int]) -> None:
        """The table of these partitions is restored."""
        async with self._lock:
            self._up_to_date.clear()
            self._decided.clear()
            self._tried.clear()
            self._held = partitions
            self._lessons.start_anew()

    @property
    def watches(self) -> bool:
        """Whether this process looks after the experiment: one of them does, the one that holds partition 0."""
        return 0 in self._held

    async def hand_over(self) -> None:
        """Partitions are about to move: finish the step at hand and touch them no more."""
        async with self._lock:
            self._held = set()

    # ---------------------------------------------------------------------------------------------------- learning
    async def handle(self, batch: list[Event]) -> None:
        """Fold a batch and acknowledge it."""
        async with self._lock:
            ours = [event for event in batch if self._is_ours(event)]
            rewards, rejected = _sort(ours)
            await self._fold(rewards)
            await publish_dead_letters(self._app, rejected, clock=self._clock)
            acknowledge(ours)

    def _is_ours(self, event: Event) -> bool:
        return event.message.partition in self._held and event.message.generation_id == generation(self._app)

    async def _fold(self, rewards: Sequence[tuple[int, PriceReward]]) -> None:
        changed: dict[int, dict[str, EventSums]] = {}
        for partition, reward in rewards:
            sums = changed.setdefault(partition, {})
            if reward.event_id not in sums:
                sums[reward.event_id] = self._sums(partition, reward.event_id)
            fold(sums[reward.event_id], reward, self._rules.half_life_seconds)
        for partition, each in changed.items():
            await self._table.write(partition, {event_id.encode(): pack_state(sums) for event_id, sums in each.items()})
            for event_id in each:
                self._up_to_date.pop(event_id, None)

    def _sums(self, partition: int, event_id: str) -> EventSums:
        stored = self._table.get(partition, event_id.encode())
        return unpack_state(stored, EventSums) if stored else EventSums()

    # -------------------------------------------------------------------------------------------------- publishing
    async def publish_policies(self) -> None:
        """A new policy for each event of ours whose rewards or listing changed, or whose policy is getting old."""
        if not self._snapshots.loaded:
            return
        for listing in self._on_sale_first():
            partition = partition_of(listing.event_id, self._partitions)
            if self._is_due(partition, listing):
                await self._until_there_is_time()
                async with self._lock:
                    if self._is_due(partition, listing):
                        await self._publish_policy(partition, listing)
        async with self._lock:
            await self._lessons.publish(self._held & self._complete(), self._clock.now())

    def _on_sale_first(self) -> list[EventListed]:
        """After a start all are due: years of events that are over must keep nobody waiting for a price."""
        now = self._clock.now()
        return sorted(self._snapshots.listings.values(), key=lambda listing: listing.starts_at <= now)

    def _complete(self) -> set[int]:
        """Partitions whose events were all decided since they are held here."""
        missing = {
            partition_of(event_id, self._partitions)
            for event_id in self._snapshots.listings if event_id not in self._decided
        }  # fmt: skip
        return set(range(self._partitions)) - missing

    def _is_due(self, partition: int, listing: EventListed) -> bool:
        if partition not in self._held:
            return False
        if self._up_to_date.get(listing.event_id) != listing.message_id:
            return True
        return is_due_again(listing, self._tried[listing.event_id], now=self._clock.now(), rules=self._rules)

    async def _until_there_is_time(self) -> None:
        """Too late in a slot for the next one: wait for the next one to begin."""
        now = self._clock.now()
        slot_end = slot_start(slot_of(now, self._rules.slot_seconds) + 1, self._rules.slot_seconds)
        left = (slot_end - now).total_seconds()
        if left < min(LEAD_SECONDS, self._rules.slot_seconds / 4):
            await asyncio.sleep(left + 0.001)

    async def _publish_policy(self, partition: int, listing: EventListed) -> None:
        sums, now = self._sums(partition, listing.event_id), self._clock.now()
        self._up_to_date[listing.event_id], self._tried[listing.event_id] = listing.message_id, now
        self._decided.add(listing.event_id)
        try:
            decided = await asyncio.to_thread(self._decide, partition, listing, sums, now)
        except (ArithmeticError, ValueError, LinAlgError):
            # Something about this event that nobody thought of: all others still get their prices, it those by rule.
            log.exception("no price can be decided", event_id=listing.event_id)
            metrics.POLICIES_FAILED.inc()
            return
        self._lessons.note(partition, listing, decided.curves, now)
        if now < listing.starts_at:  # else it is priced no more, and was looked at for what it teaches
            await self._publish(partition, replace(decided.policy, learned=sorted(sums.seen.items())))

    async def _publish(self, partition: int, decided: PricePolicy) -> None:
        slot = slot_of(self._clock.now(), self._rules.slot_seconds)
        policy = postponed(decided, self._snapshots.policies.get(decided.event_id), slot, self._rules)
        await publish(self._app, PRICE_POLICIES.name, partition, [Record(policy.event_id.encode(), encode(policy))])
        self._snapshots.take_policy(policy)
        metrics.POLICIES.inc()

    def _decide(self, partition: int, listing: EventListed, sums: EventSums, now: datetime) -> Decision:
        """As of now; of an event that is over as of its begin, or what it teaches would fade until nothing is left."""
        shop, as_of = self._snapshots, min(now, listing.starts_at)
        market = market_of(
            listing, sums, seats_left=shop.seats_left(listing.event_id), rivals=shop.rivals(listing.event_id),
            prior=self._lessons.prior(partition, listing), now=as_of, rules=self._rules,
        )  # fmt: skip
        last = shop.policies.get(listing.event_id)
        rewards = known(sums, now, self._rules)
        return next_decision(listing, rewards, last, now=as_of, rules=self._rules, market=market)


def _sort(events: Sequence[Event]) -> tuple[list[tuple[int, PriceReward]], list[tuple[Event, InvalidMessage]]]:
    """The rewards of a batch with their partitions, and what nobody can read.

    Listings and competitors' prices are looked at for that alone: they are read elsewhere, by every process, and
    dead-lettered here, once.
    """
    rewards: list[tuple[int, PriceReward]] = []
    rejected: list[tuple[Event, InvalidMessage]] = []
    for event in events:
        payload = event.message.value
        try:
            if event.message.topic == PRICE_REWARDS.name:
                rewards.append((event.message.partition, decode(payload, PriceReward)))
            elif payload:  # none: it was deleted
                told = decode(payload, BY_NAME[event.message.topic].message)
                check_not_future(told, int(event.message.timestamp * 1_000_000))
        except InvalidMessage as error:
            rejected.append((event, error))
    return rewards, rejected


def create(settings: Settings, clock: Clock | None = None) -> faust.App:
    """The worker's Faust app."""
    clock = clock or SystemClock()
    app = create_app(NAME, settings)
    snapshots = Snapshots()
    reader = SnapshotReader(settings, snapshots, READ_BY_LEARNERS)
    learner = Learner(app, StateTable(app, TABLE, settings.partitions), settings, snapshots, clock)

    async def _follow_listings_and_policies() -> None:
        reader.start()

    app.task(_follow_listings_and_policies)

    @app.on_partitions_revoked.connect(weak=False)
    async def _hand_over(sender: AppT, revoked: set[TP], **_: object) -> None:
        await learner.hand_over()

    @app.on_rebalance_complete.connect(weak=False)
    async def _take_over(sender: AppT, **_: object) -> None:
        await learner.take_over(assigned_partitions(app, PRICE_REWARDS.name))

    @app.agent(raw_topic(app, PRICE_REWARDS.name, EVENT_LISTINGS.name, COMPETITOR_PRICES.name), concurrency=1)
    async def rewards_to_policies(stream: Stream) -> None:
        await each_batch(stream, learner.handle)

    every(app, settings.policy_seconds, learner.publish_policies)
    every(app, LOOK_SECONDS, ExperimentWatch(settings, snapshots, clock).task(lambda: learner.watches))
    return app
