"""Purchase + features -> rules, model -> verdict and evidence: stateless, exactly one answer.

Evidence is acknowledged by the broker before its verdict is sent; then the purchases are acknowledged, in order. One
batch may be on its way while the next is computed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import faust
import structlog
from faust.types import TP, AppT

from ibook import metrics
from ibook.answered import Answered, digest_of
from ibook.clock import Clock, SystemClock, to_us
from ibook.codec import decode, encode
from ibook.edges.champion import Champion
from ibook.edges.feature_reader import FeatureReader, Reading
from ibook.edges.online_store import OnlineStore
from ibook.edges.policy_in_force import PolicyInForce
from ibook.edges.scoring import Asked, Batch, Scorer
from ibook.edges.unanswered import Unanswered
from ibook.entities import ENTITIES, EntityName, is_future, source_slot
from ibook.errors import FeatureUnavailable, InvalidMessage
from ibook.exploration import Spent
from ibook.failing import OwnFailures
from ibook.heartbeat import Heartbeat, offset_of
from ibook.letters import TRANSACTION_HEADER
from ibook.messages import PurchaseRequested
from ibook.own_purchases import update_of_purchase
from ibook.settings import Settings
from ibook.topics import FRAUD_EVIDENCE, FRAUD_VERDICTS, TICKET_PURCHASES
from ibook.verdicts import evidence_of, explored_minor, unreadable_verdict, verdict_of
from streams.app import Event, Stream, create_app, raw_topic
from streams.batches import acknowledge, each_batch, is_ours
from streams.dead_letters import publish_dead_letters
from streams.fetching import PROMPT_SECONDS
from streams.holding import Outcome
from streams.leaving import every, or_leave
from streams.publish import Record, publish_all
from streams.verdict_knowledge import Knowledge
from streams.verdict_log import (
    DIGEST_HEADER,
    answered_before,
    header,
    purchases_before,
    source_header,
    spent_header,
)

log = structlog.get_logger()

NAME = "purchases-to-verdicts"
TOPIC = TICKET_PURCHASES.name
MODEL_WAIT_SECONDS = 30.0
HAND_OVER_SECONDS = 5.0
HELD_SECONDS = 0.5
"""How often it is looked whether purchases are held too long."""
BATCH_LIMIT = 128
"""A batch costs a read of the store and two acknowledged sends, whatever its size; only a backlog makes it as large."""


@dataclass
class Sorted:
    """A batch, sorted by what is to be done."""

    purchases: list[Asked] = field(default_factory=list)
    rejected: list[tuple[Event, InvalidMessage]] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    """What our own code could not even sort."""


@dataclass
class Answers:
    """Records to publish for a batch, by partition; evidence first."""

    events: Sequence[Event]
    rejected: list[tuple[Event, InvalidMessage]]
    evidence: dict[int, list[Record]] = field(default_factory=dict)
    verdicts: dict[int, list[Record]] = field(default_factory=dict)


class Worker:
    """Decides batches of purchases. Holds nothing that the logs and the online store can't give back."""

    def __init__(
        self, app: faust.App, settings: Settings, reader: FeatureReader, champion: Champion, policies: PolicyInForce,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._app = app
        self._settings = settings
        self._reader = reader
        self._champion = champion
        self._policies = policies
        self._scorer = Scorer(settings, champion, policies, clock)
        self._clock = clock
        self._failures = OwnFailures(settings.own_failures, settings.own_failure_share)
        self._knowledge = Knowledge()
        self._on_its_way: asyncio.Task[None] | None = None
        self._deciding = asyncio.Lock()

    async def hand_over(self) -> None:
        """Partitions are about to move: finish what was begun, then forget what is known of them.

        What the next holder of a partition reads in the verdict log is then all there will be. It waits for this, but
        not for ever: what is on its way after `HAND_OVER_SECONDS` is left to the rule that the first verdict counts.
        """
        try:
            async with asyncio.timeout(HAND_OVER_SECONDS), self._deciding:
                await self._arrived()
        except TimeoutError:
            log.warning("partitions move while verdicts are on their way")
        self._knowledge = Knowledge()

    async def handle(self, batch: list[Event]) -> None:
        """Decide a batch and send it on its way, when the batch before it has arrived."""
        async with self._deciding:
            known = self._knowledge  # of this assignment: another's replaces it when hand_over can't wait for us
            ours = [event for event in batch if is_ours(event)]
            await self._learn(ours, known)
            work = self._sort(ours, known)
            reading = await self._read(work.purchases, known)
            if all(map(is_ours, ours)):
                answers = self._decide(work, reading, ours, known)
                await self._arrived()
                self._on_its_way = asyncio.create_task(or_leave(self._deliver(answers)))
            elif known is self._knowledge:
                self._knowledge = Knowledge()  # it takes for answered what is left to the next holder

    async def answer_held(self) -> None:
        """Answer the purchases that our own code failed on and nothing has followed for a while."""
        async with self._deciding:
            known = self._knowledge
            overdue = [(event, error) for event, error in known.holding.overdue(self._clock.now()) if is_ours(event)]
            if overdue:
                answers = Answers([event for event, _ in overdue], overdue)
                self._answer_rejected(answers, known)
                await self._arrived()
                self._on_its_way = asyncio.create_task(or_leave(self._deliver(answers)))

    async def _arrived(self) -> None:
        """Wait for the batch that is on its way."""
        if self._on_its_way is not None:
            await asyncio.shield(self._on_its_way)

    # ------------------------------------------------------------------------------------------ getting a partition
    async def _learn(self, batch: Sequence[Event], known: Knowledge) -> None:
        """For partitions that are new here: what was answered, and what was read but is not in the store yet."""
        first = {event.message.partition: event for event in reversed(batch)}
        new = {partition: event for partition, event in first.items() if partition not in known.answered}
        if not new:
            return
        await self._arrived()  # its verdicts belong to what the log is asked for below
        heartbeats = await self._heartbeats()
        await asyncio.gather(  # a worker that was killed has no time to do one after the other
            asyncio.to_thread(self._champion.wait, MODEL_WAIT_SECONDS),
            asyncio.to_thread(self._policies.wait, MODEL_WAIT_SECONDS),
            *(self._learn_partition(event, heartbeats, known) for event in new.values()),
        )

    async def _learn_partition(self, event: Event, heartbeats: Sequence[Heartbeat | None], known: Knowledge) -> None:
        partition, first = event.message.partition, event.message.offset
        broker_ms = int(event.message.timestamp * 1000)
        seen = offset_of(heartbeats, source_slot(TOPIC, partition))
        told, before = await asyncio.gather(
            asyncio.to_thread(answered_before, self._settings, partition, broker_ms),
            asyncio.to_thread(purchases_before, self._settings, partition, seen, first),
        )
        known.remember_before(before, partition)
        known.answered[partition] = told.answered
        if told.spent is not None:
            known.spent[partition] = told.spent
        log.info("partition learned", partition=partition, answered=len(told.answered), unseen=len(before))

    async def _heartbeats(self) -> list[Heartbeat | None]:
        try:
            return (await self._reader.read({})).heartbeats
        except FeatureUnavailable:
            return []

    # --------------------------------------------------------------------------------------------------- deciding
    def _sort(self, batch: Sequence[Event], known: Knowledge) -> Sorted:
        """Decode, and leave out what was answered before."""
        work = Sorted()
        for event in batch:
            answered = known.answered[event.message.partition]
            try:
                purchase: PurchaseRequested = decode(event.message.value, PurchaseRequested)
                if is_future(purchase, int(event.message.timestamp * 1_000_000)):
                    raise InvalidMessage("future", f"occurred_at {purchase.occurred_at.isoformat()} is yet to come")
                digest = digest_of(purchase)
                found = answered.known(purchase.transaction_id, digest)
                if found == "conflict":
                    metrics.CONFLICTS.inc()
                    raise InvalidMessage("conflict", f"transaction {purchase.transaction_id} asked for something else")
            except InvalidMessage as error:
                work.rejected.append((event, error))
                continue
            if found == "answered":
                _leave_out(event, purchase, known)
                continue
            answered.add(purchase.transaction_id, digest, event.message.offset)
            try:
                work.purchases.append(Asked.of(purchase, source_of(event)))
            except Exception as error:  # a bug, and no reason to stop answering everybody else
                log.exception("a purchase could not be taken apart", transaction=purchase.transaction_id)
                why = InvalidMessage("unscorable", repr(error))
                work.failed.append(Outcome(event, purchase.transaction_id, why))
        return work

    def _decide(self, work: Sorted, reading: Reading | None, batch: Sequence[Event], known: Knowledge) -> Answers:
        done = self._scorer.decide(work.purchases, reading, known.own, known.spent)
        known.spent.update(done.spent)
        metrics.EXPLORED_MINOR.inc(explored_minor(done.scored))
        released = known.holding.take(_outcomes(work, done, batch), self._failures, self._clock.now())
        held = known.holding.events()
        answers = Answers(
            [event for event, _ in released if event not in batch] + [event for event in batch if event not in held],
            work.rejected + released,
        )
        for scored in done.scored:
            partition = scored.source[1]
            key = scored.purchase.transaction_id.encode()
            answers.evidence.setdefault(partition, []).append(Record(key, encode(evidence_of(scored, done.about))))
            verdict = encode(verdict_of(scored, done.about))
            headers = _headers(scored.source, digest_of(scored.purchase), known.spent.get(partition))
            answers.verdicts.setdefault(partition, []).append(Record(key, verdict, headers))
            metrics.VERDICTS.labels(scored.decision.action, done.about.posture).inc()
        self._answer_rejected(answers, known)
        return answers

    def _answer_rejected(self, answers: Answers, known: Knowledge) -> None:
        for event, error in answers.rejected:
            self._answer_unreadable(event, error, answers, known.answered[event.message.partition])

    async def _read(self, purchases: Sequence[Asked], known: Knowledge) -> Reading | None:
        """Bring what is known of the purchases' entities up to date; None when the store does not answer."""
        now_us = to_us(self._clock.now())
        keys: dict[EntityName, dict[str, None]] = {entity: {} for entity in ENTITIES}
        for asked in purchases:
            for entity, key in asked.keys.items():
                if key not in keys[entity] and known.own.is_due(entity, key, now_us):
                    keys[entity][key] = None
        unique = {entity: list(found) for entity, found in keys.items()}
        try:
            reading = await self._reader.read(unique)
        except FeatureUnavailable:
            for entity, wanted in unique.items():
                for key in wanted:
                    known.own.keep(entity, key)
            return None
        self._reader.recovered()
        for entity, wanted in unique.items():
            for key, base in zip(wanted, reading.states[entity], strict=True):
                known.own.refresh(entity, key, base, now_us)
        return reading

    def _answer_unreadable(self, event: Event, error: InvalidMessage, answers: Answers, answered: Answered) -> None:
        """A purchase nobody can read still gets an answer, when its header says which transaction it is."""
        transaction = _transaction_of(event, error)
        is_new = answered.known(transaction, b"") == "new" or error.reason == "unscorable"
        if not transaction or error.reason == "conflict" or not is_new:
            return
        answered.add(transaction, b"", event.message.offset)
        verdict = unreadable_verdict(transaction, source_of(event), self._clock.now())
        record = Record(transaction.encode(), encode(verdict), _headers(source_of(event), b""))
        answers.verdicts.setdefault(event.message.partition, []).append(record)
        metrics.VERDICTS.labels(verdict.action, verdict.posture).inc()

    # -------------------------------------------------------------------------------------------------- delivering
    async def _deliver(self, answers: Answers) -> None:
        await asyncio.gather(  # before the verdicts: what was answered is not looked at again after a crash
            publish_all(self._app, FRAUD_EVIDENCE.name, answers.evidence),
            publish_dead_letters(self._app, answers.rejected, clock=self._clock),
        )
        await publish_all(self._app, FRAUD_VERDICTS.name, answers.verdicts)
        acknowledge(answers.events)
        now = self._clock.now().timestamp()
        for event in answers.events:
            metrics.VERDICT_SECONDS.observe(max(0.0, now - event.message.timestamp))
        metrics.BATCH_SIZE.observe(len(answers.events))


def source_of(event: Event) -> tuple[str, int, int]:
    """Topic, partition and offset of a purchase."""
    return event.message.topic, event.message.partition, event.message.offset


def _outcomes(work: Sorted, done: Batch, batch: Sequence[Event]) -> list[Outcome]:
    """What became of the purchases that were asked for, in the order of the batch."""
    failed = {asked.source: error for asked, error in done.rejected}
    found = {source_of(outcome.event): outcome for outcome in work.failed}
    asked_for = {asked.source: asked.purchase.transaction_id for asked in work.purchases}
    for event in batch:
        source = source_of(event)
        if source in asked_for:
            found[source] = Outcome(event, asked_for[source], failed.get(source))
    return [found[source] for source in map(source_of, batch) if source in found]


def _leave_out(event: Event, purchase: PurchaseRequested, known: Knowledge) -> None:
    """A purchase delivered again needs no second answer, but the store may not have it yet: it counts."""
    partition, offset = event.message.partition, event.message.offset
    if known.answered[partition].is_redelivery(purchase.transaction_id, offset):
        known.own.remember(update_of_purchase(purchase, partition, offset))
    else:
        metrics.DUPLICATES.inc()


def _transaction_of(event: Event, error: InvalidMessage) -> str:
    """The transaction of a rejected purchase: its own word where that can be read, its header otherwise."""
    if error.reason in ("future", "unscorable"):
        purchase: PurchaseRequested = decode(event.message.value, PurchaseRequested)
        return purchase.transaction_id
    return header(event.message.headers, TRANSACTION_HEADER).decode(errors="replace")[:128]


def _headers(source: tuple[str, int, int], digest: bytes, spent: Spent | None = None) -> tuple[tuple[str, bytes], ...]:
    headers = source_header(source[1], source[2]), (DIGEST_HEADER, digest)
    return headers if spent is None else (*headers, spent_header(spent))


def create(settings: Settings, clock: Clock | None = None) -> faust.App:
    """The worker's Faust app."""
    clock = clock or SystemClock()
    app = create_app(NAME, settings, PROMPT_SECONDS)
    reader = FeatureReader(OnlineStore(settings), settings.partitions, settings.feature_read_seconds, clock)
    policies = PolicyInForce.follow(settings)
    champion = Champion.follow(settings, f"{NAME} {settings.worker_name}", policies.report)
    worker = Worker(app, settings, reader, champion, policies, clock)
    if settings.metrics_port:
        Unanswered.follow(settings)

    @app.on_partitions_revoked.connect(weak=False)
    async def _hand_over(sender: AppT, revoked: set[TP], **_: object) -> None:
        await worker.hand_over()

    every(app, HELD_SECONDS, worker.answer_held)

    @app.agent(raw_topic(app, TOPIC), concurrency=1)
    async def purchases_to_verdicts(stream: Stream) -> None:
        await each_batch(stream, worker.handle, limit=BATCH_LIMIT)

    return app
