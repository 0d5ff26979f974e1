"""Where a past to decide once more comes from: the archive and the log of labels, or a history that is replayed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from confluent_kafka import KafkaException, TopicPartition

from ibook.backtest import BATCH, Kind, Past, Rules, decide_again, past_of
from ibook.clock import from_us, to_us
from ibook.codec import decode
from ibook.edges.archive import Archive
from ibook.edges.kafka import extent
from ibook.edges.kafka_admin import list_topics
from ibook.edges.log import SILENT_SECONDS, Stretch, log_reader, offset_at, read
from ibook.errors import BrokerUnavailable, ConfigurationError, InvalidMessage
from ibook.features import FEATURE_NAMES_HASH
from ibook.labels import labels_as_of, settled_as_of, target_of
from ibook.messages import FraudLabel, PaymentOutcome, Posture
from ibook.replay import Recorded, replay
from ibook.settings import Settings
from ibook.topics import BY_NAME, FRAUD_EVIDENCE, FRAUD_LABELS, PAYMENT_OUTCOMES

SKEW_MS = 60_000
"""Of clocks: a label may seem to come so much before the decision it is about."""
WARM_UP = 1 / 9
"""Share of a history left out at its beginning, where windows are empty and everybody looks new."""
MATURITY = 1 / 3
"""Share left out at its end, whose labels have not arrived; a simulated past squeezes the longest delay into it."""
DAY = timedelta(days=1)
"""The archive's days are the broker's; at midnight its clock and ours may differ."""
END_OF_TIME_US = 2**62


@dataclass
class LeftOut:
    """Decisions that can't be made again, and why."""

    counts: Counter[str] = field(default_factory=Counter)
    currency: str = ""
    """The one that money is counted in; empty until a purchase names it."""


@dataclass(frozen=True)
class Kinds:
    """What became of transactions, as far as anybody has said."""

    labels: dict[str, bool]
    settled: set[str]
    refused: set[str]
    """Payments that the bank declined."""
    delays_days: tuple[float, ...]
    """Of each label that says fraud: days from purchase to label."""

    def __call__(self, transaction_id: str) -> Kind | None:
        """What it was: its label, honest when it settled undisputed, nothing when the bank refused it."""
        target = target_of(transaction_id, self.labels, self.settled)
        if target is not None:
            return "fraud" if target else "honest"
        return "nothing" if transaction_id in self.refused else None

    @classmethod
    def of(cls, messages: Iterable[FraudLabel | PaymentOutcome], as_of_us: int = END_OF_TIME_US) -> "Kinds":
        """As known at an instant."""
        labels, payments = list[FraudLabel](), list[PaymentOutcome]()
        for message in messages:
            if isinstance(message, FraudLabel):
                labels.append(message)
            else:
                payments.append(message)
        declined = {each.transaction_id for each in payments if each.status == "declined"}
        return cls(
            labels_as_of(labels, as_of_us), settled_as_of(payments, as_of_us), declined,
            tuple((each.occurred_at - each.effective_at) / timedelta(days=1) for each in labels if each.is_fraud),
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- the archive
def newest_decision(archive: Archive) -> datetime:
    """When the last archived verdict was decided. Raises ConfigurationError when there is none."""
    found = []
    for path in archive.files(FRAUD_EVIDENCE.name):
        try:
            found.append(pc.max(pq.read_table(path, columns=["decided_at"])["decided_at"]).as_py())
        except FileNotFoundError:  # merged into a larger one meanwhile, with its neighbours
            continue
    instants = [instant for instant in found if instant is not None]
    if not instants:
        raise ConfigurationError("The archive holds no verdicts: `updates-to-archive` writes them while it runs.")
    newest: datetime = max(instants)
    return newest


def archived(archive: Archive, since: datetime, until: datetime, left_out: LeftOut) -> Iterator[Past]:
    """What was decided in ``[since, until]``, each transaction once, in one currency."""
    seen: set[str] = set()
    for evidence in archive.evidence(from_day=(since - DAY).date()):
        if not since <= evidence.occurred_at <= until:
            continue
        past = past_of(evidence) if evidence.feature_names_hash == FEATURE_NAMES_HASH else None
        if evidence.purchase is None:
            left_out.counts["could not be read"] += 1
        elif past is None:
            left_out.counts["were decided on other features"] += 1
        elif evidence.transaction_id in seen:
            left_out.counts["were decided again after a fault"] += 1
        elif is_of(past, left_out):
            seen.add(evidence.transaction_id)
            yield past


def is_of(past: Past, left_out: LeftOut) -> bool:
    """Whether a purchase is in the currency that money is counted in; the first one's, when none was named."""
    left_out.currency = left_out.currency or past.purchase.currency
    if past.purchase.currency == left_out.currency:
        return True
    left_out.counts[f"were not in {left_out.currency}"] += 1
    return False


def kinds_in_log(settings: Settings, since: datetime) -> Kinds:
    """Labels and outcomes that Kafka holds from an instant on. Raises BrokerUnavailable."""
    return Kinds.of(_said(settings, int(since.timestamp() * 1000) - SKEW_MS))


def _said(settings: Settings, since_ms: int) -> Iterator[FraudLabel | PaymentOutcome]:
    known = list_topics(settings)  # which says that no broker answers better than the client does
    consumer = log_reader(settings.kafka_bootstrap)
    try:
        stretches = []
        for topic in (FRAUD_LABELS.name, PAYMENT_OUTCOMES.name):
            for partition in range(known.get(topic, 0)):
                end = extent(consumer, TopicPartition(topic, partition), SILENT_SECONDS)[1]
                start = offset_at(consumer, topic, partition, since_ms, end)
                stretches.append(Stretch(topic, partition, start, end))
        for message in read(consumer, stretches):
            try:
                yield decode(message.value(), BY_NAME[str(message.topic())].message)
            except InvalidMessage:
                continue  # it was dead-lettered when it was first read
    except KafkaException as error:
        raise BrokerUnavailable(f"Labels and payments can't be read from Kafka: {error}.") from error
    finally:
        consumer.close()


# -------------------------------------------------------------------------------------------------------- a history
def of_history(
    history: Sequence[Recorded], now: Rules, since: timedelta, left_out: LeftOut
) -> tuple[Iterator[Past], Kinds]:
    """A history as the present rules would have decided it, and what became of it.

    Its beginning and its end are left out: windows fill, labels arrive. Of what is between, the last `since`. What was
    let through then is known whatever the present rules say, so chance has no part in what is seen.
    """
    first_us, last_us = (to_us(history[place].message.occurred_at) for place in (0, -1))
    until_us = last_us - int((last_us - first_us) * MATURITY)
    from_us_ = max(first_us + int((last_us - first_us) * WARM_UP), until_us - since // timedelta(microseconds=1))
    said = (each.message for each in history if isinstance(each.message, FraudLabel | PaymentOutcome))
    return _decided(history, now, (from_us(from_us_), from_us(until_us)), left_out), Kinds.of(said, last_us)


def _decided(
    history: Sequence[Recorded], now: Rules, window: tuple[datetime, datetime], left_out: LeftOut
) -> Iterator[Past]:
    posture: Posture = "normal" if now.model is not None else "rules_only"
    undecided = (
        Past(purchase, features, posture, None, purchase.occurred_at, "approve", 1.0, ())
        for purchase, features in replay(history, wanted=lambda purchase: window[0] <= purchase.occurred_at < window[1])
    )
    ours = (past for past in undecided if is_of(past, left_out))
    while batch := list(islice(ours, BATCH)):
        if now.model is not None:
            scores = now.model.score(np.stack([past.features for past in batch])).tolist()
            batch = [past._replace(score=score) for past, score in zip(batch, scores, strict=True)]
        for past, decision in zip(batch, decide_again(batch, now._replace(model=None)), strict=True):
            yield past._replace(action=decision.action, propensity=decision.propensity, rules=decision.rules)
