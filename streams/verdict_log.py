"""What a partition already knows when a verdict worker gets it: blocking reads of bounded length, once per assignment.

The verdict log is the deduplication state, and tells what chance has approved on the day; the purchases between the
heartbeat and the committed position are what the online store does not have yet.
"""

from datetime import date
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicPartition

from ibook.answered import MAX_TRANSACTIONS, Answered
from ibook.edges.kafka import extent
from ibook.edges.log import SILENT_SECONDS, Stretch, log_reader, offset_at, read
from ibook.errors import BrokerUnavailable
from ibook.exploration import Spent
from ibook.settings import Settings
from ibook.topics import FRAUD_VERDICTS, TICKET_PURCHASES

LOOK_BACK_MS = 60_000
REMEMBERED_MS = 24 * 3600 * 1000
MAX_UNSEEN = 20_000
DIGEST_HEADER = "asked"
SOURCE_HEADER = "source"
SPENT_HEADER = "explored"


class Purchased(NamedTuple):
    """A purchase as it lies in its partition."""

    offset: int
    broker_ms: int
    payload: bytes


class Told(NamedTuple):
    """What a partition's verdict log tells."""

    answered: Answered
    spent: Spent | None
    """What chance had approved on the latest day on which it approved anything; None when no verdict read tells."""


def answered_before(settings: Settings, partition: int, broker_ms: int) -> Told:
    """The transactions answered in a partition, as its verdict log tells, and what chance has approved there.

    From a minute before `broker_ms`, the broker time of the first purchase to decide, or further back: up to 24 h
    before it, or the last `MAX_TRANSACTIONS` verdicts. All of them are kept, however many a group that was set back
    has to pass again: the oldest are the first to be asked for.
    """
    # What is uncommitted is no matter: the verdict log is ours, and these purchases were read before.
    consumer = log_reader(settings.kafka_bootstrap, uncommitted=True)
    try:
        topic = FRAUD_VERDICTS.name
        low, high = extent(consumer, TopicPartition(topic, partition), SILENT_SECONDS)
        must = offset_at(consumer, topic, partition, broker_ms - LOOK_BACK_MS, high)
        day = offset_at(consumer, topic, partition, broker_ms - REMEMBERED_MS, high)
        start = max(low, min(must, max(day, high - MAX_TRANSACTIONS)))
        answered, spent = Answered(max(MAX_TRANSACTIONS, high - start)), list[Spent]()
        for message in read(consumer, [Stretch(topic, partition, start, high)]):
            key = message.key()
            if key is not None:
                headers = message.headers()
                answered.add(_text(key), header(headers, DIGEST_HEADER), _offset(header(headers, SOURCE_HEADER)))
                spent += _spent(header(headers, SPENT_HEADER))
    except KafkaException as error:
        raise BrokerUnavailable(f"the verdict log of partition {partition} can't be read: {error}") from error
    finally:
        consumer.close()
    return Told(answered, max(spent, default=None))


def purchases_before(settings: Settings, partition: int, seen: int, first: int) -> list[Purchased]:
    """Offset, broker time and payload of the purchases after `seen`, which the online store has, and before `first`."""
    consumer = log_reader(settings.kafka_bootstrap, uncommitted=True)
    try:
        topic = TICKET_PURCHASES.name
        low, _ = extent(consumer, TopicPartition(topic, partition), SILENT_SECONDS)
        start = max(low, seen + 1, first - MAX_UNSEEN)
        return [
            Purchased(message.offset() or 0, message.timestamp()[1], message.value() or b"")
            for message in read(consumer, [Stretch(topic, partition, start, first)])
        ]
    except KafkaException as error:
        raise BrokerUnavailable(f"purchases of partition {partition} can't be read: {error}") from error
    finally:
        consumer.close()


def header(headers: object, name: str) -> bytes:
    """The value of a header, empty when there is none."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    for key, value in pairs or ():  # type: ignore[attr-defined]
        if key == name:
            return value.encode() if isinstance(value, str) else bytes(value or b"")
    return b""


def source_header(partition: int, offset: int) -> tuple[str, bytes]:
    """Where the purchase of a verdict lies."""
    return SOURCE_HEADER, f"{partition}:{offset}".encode()


def spent_header(spent: Spent) -> tuple[str, bytes]:
    """What chance has approved in a verdict's partition by then: the last verdict of a day tells the day's total."""
    return SPENT_HEADER, f"{spent.day.isoformat()} {spent.amount_minor}".encode()


def _spent(said: bytes) -> list[Spent]:
    """What a header of `spent_header` tells; nothing where it is missing or of another's making."""
    day, _, amount = said.decode(errors="replace").partition(" ")
    try:
        return [Spent(date.fromisoformat(day), int(amount))] if said else []
    except ValueError:
        return []


def _offset(source: bytes) -> int:
    """The offset a source header tells; -1 where it is missing or of another's making."""
    offset = source.rpartition(b":")[2]
    return int(offset) if offset.isdigit() else -1


def _text(key: bytes | str) -> str:
    return key if isinstance(key, str) else key.decode(errors="replace")
