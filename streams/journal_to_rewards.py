"""A quote's life, or its expiry -> settled rewards.

Order, always: states and their rewards in the changelog, rewards published, journal acknowledged. A restart publishes
the newest rewards of each partition again; a redelivered entry changes no state and so settles nothing.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import faust
import structlog
from faust.types import TP, AppT

from ibook import metrics
from ibook.clock import Clock, SystemClock, to_us
from ibook.codec import decode, encode, unpack_state
from ibook.errors import InvalidMessage
from ibook.ids import message_id
from ibook.ledger import OUTBOX_KEY, Agenda, Outbox, Page, due_of
from ibook.messages import ClockTicked, PriceReward, QuoteIssued, QuoteJournal, QuoteSold, QuoteTakenBack
from ibook.partitioning import partition_of
from ibook.rewards import RewardRules, kind
from ibook.settings import Settings
from ibook.topics import PRICE_REWARDS, QUOTE_JOURNAL
from streams.app import Event, Stream, assigned_partitions, create_app, generation, raw_topic
from streams.batches import acknowledge, each_batch
from streams.dead_letters import publish_dead_letters
from streams.leaving import every, or_leave
from streams.publish import Record, publish, publish_all
from streams.state_table import StateTable

log = structlog.get_logger()

NAME = "journal-to-rewards"
TABLE = "quotes"
TICK_SECONDS = 0.5
DUE_AT_ONCE = 250
"""Quotes that lapse in one changelog batch: states and rewards of so many fit into a megabyte twice over."""


@dataclass
class Held:
    """A journal partition this worker holds, as far as it is in memory."""

    outbox: Outbox
    agenda: Agenda
    reading: asyncio.Task[None] | None = None


class Ledger:
    """Settles the journal partitions held here, one step at a time."""

    def __init__(self, app: faust.App, table: StateTable, settings: Settings, clock: Clock) -> None:
        self._app = app
        self._table = table
        self._partitions = settings.partitions
        self._rules = RewardRules.of(settings)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._held: dict[int, Held] = {}

    async def take_over(self, partitions: set[int]) -> None:
        """The table of these partitions is restored: publish their newest rewards again and note what is due."""
        async with self._lock:
            self._held.clear()
            for partition in sorted(partitions):
                outbox = self._outbox(partition)
                await self._publish(outbox.rewards)
                self._held[partition] = held = Held(outbox, Agenda())
                held.reading = asyncio.create_task(or_leave(self._read_agenda(partition, held)))

    async def hand_over(self) -> None:
        """Partitions are about to move: finish the step at hand and touch them no more."""
        async with self._lock:
            self._held.clear()

    async def _read_agenda(self, partition: int, held: Held) -> None:
        """Note when what was stored before is due; in a thread, since there may be millions."""
        try:
            due = await asyncio.to_thread(lambda: list(self._stored_due(partition)))
        except Exception:  # whatever a table says that is closed because its partition has moved
            if self._held.get(partition) is held:
                raise
            return
        held.agenda.add_all(due)

    async def handle(self, batch: list[Event]) -> None:
        """Settle a batch and acknowledge it."""
        async with self._lock:
            ours = [event for event in batch if self._is_ours(event)]
            rejected = await self._settle(ours)
            await publish_dead_letters(self._app, rejected, clock=self._clock)
            acknowledge(ours)

    async def tick(self) -> None:
        """Write the time into the partitions where something is due."""
        now = self._clock.now()
        for partition, held in list(self._held.items()):
            if held.agenda.any_due(to_us(now)):
                tick = ClockTicked(message_id=message_id("tick", str(partition), now.isoformat()), occurred_at=now)
                await publish(self._app, QUOTE_JOURNAL.name, partition, [Record(None, encode(tick))])

    def _is_ours(self, event: Event) -> bool:
        return event.message.partition in self._held and event.message.generation_id == generation(self._app)

    async def _settle(self, events: Sequence[Event]) -> list[tuple[Event, InvalidMessage]]:
        entries: dict[int, list[QuoteJournal]] = {}
        rejected: list[tuple[Event, InvalidMessage]] = []
        for event in events:
            try:
                entries.setdefault(event.message.partition, []).append(decode(event.message.value, QuoteJournal))
            except InvalidMessage as error:
                rejected.append((event, error))
        for partition, each in entries.items():
            await self._settle_partition(partition, each)
        return rejected

    async def _settle_partition(self, partition: int, entries: Sequence[QuoteJournal]) -> None:
        """What happened first, then the time: an entry that came after a tick could only correct it."""
        page = self._page(partition)
        tick: ClockTicked | None = None
        for entry in entries:
            if isinstance(entry, QuoteIssued | QuoteSold | QuoteTakenBack):
                page.note(entry)
            elif tick is None or entry.occurred_at > tick.occurred_at:
                tick = entry
        await self._commit(partition, page)
        if tick is not None:
            await self._pass_time(partition, tick)

    async def _pass_time(self, partition: int, tick: ClockTicked) -> None:
        while due := self._held[partition].agenda.take(to_us(tick.occurred_at), DUE_AT_ONCE):
            page = self._page(partition)
            for key in due:
                page.pass_time(key, tick)
            await self._commit(partition, page)

    async def _commit(self, partition: int, page: Page) -> None:
        held = self._held[partition]
        outbox = page.outbox(held.outbox)
        await self._table.write(partition, page.records(outbox))
        held.outbox = outbox
        for at_us, key in page.due():
            held.agenda.add(at_us, key)
        await self._publish(page.rewards)
        for reward in page.rewards:
            metrics.REWARDS.labels(kind(reward)).inc()
        for reason in page.refused:
            metrics.QUOTES_REFUSED.labels(reason).inc()
        for cap in page.beyond:
            metrics.OFFERS_CAPPED.labels(cap).inc()

    async def _publish(self, rewards: Sequence[PriceReward]) -> None:
        by_partition: dict[int, list[Record]] = {}
        for reward in rewards:
            partition = partition_of(reward.event_id, self._partitions)
            by_partition.setdefault(partition, []).append(Record(reward.event_id.encode(), encode(reward)))
        await publish_all(self._app, PRICE_REWARDS.name, by_partition)

    def _page(self, partition: int) -> Page:
        return Page(partition, self._held[partition].outbox, partial(self._table.get, partition), self._rules)

    def _outbox(self, partition: int) -> Outbox:
        stored = self._table.get(partition, OUTBOX_KEY)
        return unpack_state(stored, Outbox) if stored else Outbox()

    def _stored_due(self, partition: int) -> Iterator[tuple[int, bytes]]:
        for key, value in self._table.items(partition):
            if (due := due_of(key, value, self._rules)) is not None:
                yield due, key


def create(settings: Settings, clock: Clock | None = None) -> faust.App:
    """The worker's Faust app."""
    app = create_app(NAME, settings)
    ledger = Ledger(app, StateTable(app, TABLE, settings.partitions), settings, clock or SystemClock())

    @app.on_partitions_revoked.connect(weak=False)
    async def _hand_over(sender: AppT, revoked: set[TP], **_: object) -> None:
        await ledger.hand_over()

    @app.on_rebalance_complete.connect(weak=False)
    async def _take_over(sender: AppT, **_: object) -> None:
        await ledger.take_over(assigned_partitions(app, QUOTE_JOURNAL.name))

    @app.agent(raw_topic(app, QUOTE_JOURNAL.name), concurrency=1)
    async def journal_to_rewards(stream: Stream) -> None:
        await each_batch(stream, ledger.handle)

    every(app, TICK_SECONDS, ledger.tick)
    return app
