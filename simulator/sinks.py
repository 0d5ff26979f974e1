"""Where messages go: Kafka, Parquet files, or a list."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import KafkaError, Producer

from ibook import codec, topics
from ibook.errors import ConfigurationError
from ibook.messages import Message, PurchaseRequested

SCHEMA = pa.schema(
    [("position", pa.int64()), ("key", pa.string()), ("occurred_at", pa.timestamp("us", "UTC")), ("value", pa.binary())]
)
"""Columns of a history file: place in the whole history, Kafka key, event time, and the message as JSON."""
Record = tuple[str, str, Message]
"""Topic name, key, message."""


class Sink(Protocol):
    """Takes messages in order; closing it makes sure that they have arrived."""

    def write(self, topic: str, key: str, message: Message) -> None:
        """Take one message."""
        ...

    def close(self) -> None:
        """Return when everything written has arrived."""
        ...


class MemorySink:
    """Keeps messages in a list, for tests."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, topic: str, key: str, message: Message) -> None:
        """Take one message."""
        self.records.append((topic, key, message))

    def close(self) -> None:
        """Nothing to do."""


class ParquetSink:
    """One file per topic under `folder`, `<topic>.parquet`, written in row groups; columns as in `SCHEMA`."""

    rows_per_group = 20_000

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.parquet"):  # a topic without messages this time must not keep its last ones
            old.unlink()
        self._folder = folder
        self._rows: defaultdict[str, list[tuple[int, str, Any, bytes]]] = defaultdict(list)
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._position = 0

    def write(self, topic: str, key: str, message: Message) -> None:
        """Take one message."""
        rows = self._rows[topic]
        rows.append((self._position, key, message.occurred_at, codec.encode(message)))
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
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, columns=["position", "key", "value"]).to_pydict()
        rows += zip(table["position"], [path.stem] * len(table["key"]), table["key"], table["value"], strict=True)
    for _, topic, key, value in sorted(rows):
        yield topic, key, codec.decode(value, topics.BY_NAME[topic].message)


class KafkaSink:
    """Publishes as the shop does: acknowledged by all replicas, keyed, murmur2 like Java clients and Faust.

    Purchases carry their `transaction_id` as a header, so that one nobody can read may still be answered.
    """

    def __init__(self, bootstrap: str, *, linger_ms: float = 2.0) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "enable.idempotence": True,
                "linger.ms": linger_ms, "compression.type": "lz4", "message.timeout.ms": 120_000,
            },
            logger=None,
        )  # fmt: skip
        self.undelivered = 0
        """Messages that Kafka did not take."""
        self.last_error = ""

    def write(self, topic: str, key: str, message: Message) -> None:
        """Take one message; waits while the local queue is full."""
        headers = {"transaction_id": message.transaction_id} if isinstance(message, PurchaseRequested) else None
        self.write_raw(topic, key, codec.encode(message), headers)

    def write_raw(self, topic: str, key: str, value: bytes, headers: dict[str, str] | None = None) -> None:
        """Take any bytes."""
        while True:
            try:
                self._producer.produce(
                    topic, value, key, headers=dict(headers) if headers else None, on_delivery=self._on_delivery
                )
                break
            except BufferError:
                self._producer.poll(0.05)

    def poll(self) -> None:
        """Handle what the broker has acknowledged by now."""
        self._producer.poll(0)

    def flush(self, seconds: float = 30.0) -> int:
        """Wait for acknowledgements; returns how many are still missing."""
        return int(self._producer.flush(seconds))

    def close(self) -> None:
        """Wait for every acknowledgement. Raises ConfigurationError when Kafka did not take everything."""
        missing = self.flush() + self.undelivered
        if missing:
            raise ConfigurationError(f"Kafka did not take {missing} messages ({self.last_error or 'no answer'}).")

    def _on_delivery(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self.undelivered += 1
            self.last_error = error.str()


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
