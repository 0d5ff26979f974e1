"""Where messages go: Kafka, Parquet files, JSON lines, or a list."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import KafkaError, KafkaException

from ibook import codec, topics
from ibook.edges.kafka import ANSWER_SECONDS, DELIVERY_SECONDS, producer
from ibook.errors import BrokerUnavailable
from ibook.messages import Message, PurchaseRequested
from ibook.settings import Settings

SCHEMA = pa.schema(
    [("position", pa.int64()), ("key", pa.string()), ("occurred_at", pa.timestamp("us", "UTC")), ("value", pa.binary())]
)
"""Columns of a history file: place in the whole history, Kafka key, event time, and the message as JSON.

A damaged message, which only a degraded run has, is kept as it is, without an event time."""
Record = tuple[str, str, Message]
"""Topic name, key, message."""


class Sink(Protocol):
    """Takes messages in order; closing it makes sure that they have arrived."""

    def write(self, topic: str, key: str, message: Message) -> None:
        """Take one message."""
        ...

    def write_raw(self, topic: str, key: str, value: bytes, transaction_id: str = "") -> None:
        """Take any bytes; with a transaction id, as a purchase."""
        ...

    def close(self) -> None:
        """Return when everything written has arrived."""
        ...


class MemorySink:
    """Keeps messages in a list, for tests."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.raw: list[tuple[str, str, bytes, str]] = []

    def write(self, topic: str, key: str, message: Message) -> None:
        """Take one message."""
        self.records.append((topic, key, message))

    def write_raw(self, topic: str, key: str, value: bytes, transaction_id: str = "") -> None:
        """Take any bytes."""
        self.raw.append((topic, key, value, transaction_id))

    def close(self) -> None:
        """Nothing to do."""


class ParquetSink:
    """One file per topic under `folder`, `<topic>.parquet`, written in row groups; columns as in `SCHEMA`."""

    rows_per_group = 20_000

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for topic in topics.TOPICS:  # one without messages this time must not keep its last ones
            (folder / f"{topic.name}.parquet").unlink(missing_ok=True)
        self._folder = folder
        self._rows: defaultdict[str, list[tuple[int, str, Any, bytes]]] = defaultdict(list)
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._position = 0

    def write(self, topic: str, key: str, message: Message) -> None:
        """Take one message."""
        self._add(topic, key, message.occurred_at, codec.encode(message))

    def write_raw(self, topic: str, key: str, value: bytes, transaction_id: str = "") -> None:
        """Take any bytes; there is no place for a header."""
        self._add(topic, key, None, value)

    def _add(self, topic: str, key: str, occurred_at: datetime | None, value: bytes) -> None:
        rows = self._rows[topic]
        rows.append((self._position, key, occurred_at, value))
        self._position += 1
        if len(rows) >= self.rows_per_group:
            self._write_group(topic)

    def close(self) -> None:
        """Write what is left and end the files."""
        for topic in list(self._rows):
            self._write_group(topic)
        for writer in self._writers.values():
            writer.close()

    def _write_group(self, topic: str) -> None:
        rows = self._rows.pop(topic)
        if topic not in self._writers:
            self._writers[topic] = pq.ParquetWriter(self._folder / f"{topic}.parquet", SCHEMA, compression="zstd")
        columns = [list(column) for column in zip(*rows, strict=True)]
        self._writers[topic].write_table(pa.table(columns, schema=SCHEMA))


def read_parquet(folder: Path) -> Iterator[Record]:
    """What a ParquetSink wrote, in its order. Raises InvalidMessage when a value is none of its topic's messages."""
    rows: list[tuple[int, str, str, bytes]] = []
    for path in sorted(folder / f"{topic.name}.parquet" for topic in topics.TOPICS):
        if not path.exists():
            continue
        table = pq.read_table(path, columns=["position", "key", "value"]).to_pydict()
        rows += zip(table["position"], [path.stem] * len(table["key"]), table["key"], table["value"], strict=True)
    for _, topic, key, value in sorted(rows):
        yield topic, key, codec.decode(value, topics.BY_NAME[topic].message)


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a JSON lines file: a message, or the bytes of one that nobody can read."""

    topic: str
    key: str
    message: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    raw: bytes | None = None
    """In base64."""


class JsonLinesSink:
    """All topics in one file, in the order in which messages left, one `Line` each."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")

    def write(self, topic: str, key: str, message: Message) -> None:
        """Take one message."""
        self._add(Line(topic=topic, key=key, message=msgspec.Raw(codec.encode(message))))

    def write_raw(self, topic: str, key: str, value: bytes, transaction_id: str = "") -> None:
        """Take any bytes; there is no place for a header."""
        self._add(Line(topic=topic, key=key, raw=value))

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _add(self, line: Line) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")


class KafkaSink:
    """Publishes as the shop does: keyed, and acknowledged by all replicas.

    Purchases carry their `transaction_id` as a header, so that one nobody can read may still be answered.
    `on_lost` is called, while polling, with the transaction id of each purchase that Kafka did not take.
    """

    def __init__(self, settings: Settings, on_lost: Callable[[str], None] | None = None) -> None:
        self._bootstrap = settings.kafka_bootstrap
        self._producer = producer(settings, {"log_level": 0, "queue.buffering.max.messages": 200_000})
        self._on_lost = on_lost
        self.undelivered = 0
        """Messages that Kafka did not take."""
        self.last_error = ""

    def check(self) -> None:
        """Raises BrokerUnavailable when no broker answers."""
        try:
            self._producer.list_topics(timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise BrokerUnavailable(f"No Kafka broker answers on {self._bootstrap}.") from error

    def write(self, topic: str, key: str, message: Message) -> None:
        """Take one message; waits while the local queue is full."""
        transaction_id = message.transaction_id if isinstance(message, PurchaseRequested) else ""
        self.write_raw(topic, key, codec.encode(message), transaction_id)

    def write_raw(self, topic: str, key: str, value: bytes, transaction_id: str = "") -> None:
        """Take any bytes; with a transaction id, as a purchase."""
        headers: list[tuple[str, str | bytes | None]] = [("transaction_id", transaction_id)] if transaction_id else []
        on_delivery = partial(self._on_delivery, transaction_id) if transaction_id else self._on_other_delivery
        while True:
            try:
                self._producer.produce(topic, value, key, headers=headers, on_delivery=on_delivery)
                break
            except BufferError:  # the local queue is full: let deliveries drain it
                self._producer.poll(0.05)

    def poll(self) -> None:
        """Handle what the broker has acknowledged by now."""
        self._producer.poll(0)

    def flush(self, seconds: float = DELIVERY_SECONDS + 1) -> int:
        """Wait for acknowledgements; returns how many are still missing."""
        return int(self._producer.flush(seconds))

    def close(self) -> None:
        """Wait for every acknowledgement. Raises BrokerUnavailable when Kafka did not take everything."""
        missing = self.flush() + self.undelivered
        if missing:
            raise BrokerUnavailable(f"Kafka did not take {missing} messages: {self.last_error or 'no answer'}.")

    def _on_delivery(self, transaction_id: str, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self.undelivered += 1
            self.last_error = error.str()
            if transaction_id and self._on_lost is not None:
                self._on_lost(transaction_id)

    def _on_other_delivery(self, error: KafkaError | None, _: object) -> None:
        self._on_delivery("", error, _)


def write_all(records: Iterable[Record], sink: Sink) -> int:
    """Write every record and close the sink; returns how many there were."""
    n = 0
    for topic, key, message in records:
        sink.write(topic, key, message)
        n += 1
        if isinstance(sink, KafkaSink) and n % 1000 == 0:
            sink.poll()
    sink.close()
    return n
