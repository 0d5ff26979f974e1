"""Payments and verdicts -> the journal of the quote they belong to. Stateless: repeats are harmless downstream."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import faust
import structlog

from ibook import metrics
from ibook.clock import Clock, SystemClock
from ibook.codec import decode, encode
from ibook.edges.unanswered import Unanswered
from ibook.errors import InvalidMessage, QuoteRefused
from ibook.failing import OwnFailures
from ibook.journal import entry_of
from ibook.partitioning import partition_of
from ibook.quotes import QuoteKeys, quote_keys
from ibook.settings import Settings
from ibook.topics import BY_NAME, FRAUD_VERDICTS, PAYMENT_OUTCOMES, QUOTE_JOURNAL
from streams.app import Event, Stream, create_app, raw_topic
from streams.batches import acknowledge, each_batch
from streams.dead_letters import publish_dead_letters, unhandled
from streams.publish import Record, publish_all

log = structlog.get_logger()

NAME = "outcomes-to-journal"


@dataclass
class Entries:
    """What a batch says about quotes: records by journal partition, and what is dead-lettered."""

    records: dict[int, list[Record]] = field(default_factory=dict)
    rejected: list[tuple[Event, InvalidMessage]] = field(default_factory=list)


def entries_of(events: Sequence[Event], keys: QuoteKeys, settings: Settings, failures: OwnFailures) -> Entries:
    """The journal entries of a batch. Sales at quotes that can't be honoured are counted and left out.

    Raises OwnCodeFails when our own code fails on one message after another; a lone one is dead-lettered, `unhandled`.
    """
    found = Entries()
    for event in events:
        try:
            message = decode(event.message.value, BY_NAME[event.message.topic].message)
            entry = entry_of(message, keys, settings.quote_grace_seconds)
        except InvalidMessage:
            continue  # the features worker dead-letters what can't be read here; verdicts are our own
        except QuoteRefused as refusal:
            _refuse(event, refusal, found)
            continue
        except Exception as error:  # a bug, and no reason to journal nothing else
            found.rejected.append((event, unhandled(event, error, failures)))
            continue
        failures.worked()
        if entry is not None:
            partition = partition_of(entry.event_id, settings.partitions)
            found.records.setdefault(partition, []).append(Record(entry.quote_id.encode(), encode(entry)))
    return found


def _refuse(event: Event, refusal: QuoteRefused, found: Entries) -> None:
    """Count once: the payment is what claims the quote. What we never signed is worth a look at the message."""
    if event.message.topic != PAYMENT_OUTCOMES.name:
        return
    metrics.QUOTES_REFUSED.labels(refusal.reason).inc()
    if refusal.reason != "expired":
        found.rejected.append((event, InvalidMessage(refusal.reason, str(refusal))))


def create(settings: Settings, clock: Clock | None = None) -> faust.App:
    """The worker's Faust app."""
    clock = clock or SystemClock()
    app = create_app(NAME, settings)
    if settings.metrics_port:
        Unanswered.follow(settings)  # here too: the verdict worker may be what is dead
    keys, failures = quote_keys(settings), OwnFailures(settings.own_failures, settings.own_failure_share)

    async def _handle(batch: list[Event]) -> None:
        found = entries_of(batch, keys, settings, failures)
        await publish_all(app, QUOTE_JOURNAL.name, found.records)
        await publish_dead_letters(app, found.rejected, clock=clock)
        acknowledge(batch)

    @app.agent(raw_topic(app, PAYMENT_OUTCOMES.name, FRAUD_VERDICTS.name), concurrency=1)
    async def outcomes_to_journal(stream: Stream) -> None:
        await each_batch(stream, _handle, limit=200)

    return app
