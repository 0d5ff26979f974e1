"""Tables restored from their changelogs in bulk: Faust hands every record through its event loop, twenty times slower.

Before Faust looks how far a table is behind, RocksDB is filled from the changelog with a plain consumer, up to its end
and with the offset that Faust then resumes from; what little came since is restored by Faust itself. This happens
after the rebalance, while the member's heartbeats go on; a callback of the rebalance would lose the partitions after
the session. It leans on private parts of Faust's recovery; `tests/integration/test_feature_agents.py` fails when they
move.
"""

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rocksdict
import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from faust.tables.recovery import Recovery
from faust.types import TP, AppT

from ibook.edges.kafka import extent
from ibook.errors import BrokerUnavailable

log = structlog.get_logger()

OFFSET_KEY = b"__faust\0offset__"
"""Where Faust's RocksDB store keeps the offset of the last changelog record it holds."""
BATCH_RECORDS = 10_000
ANSWER_SECONDS = 10.0
FILL_SECONDS = 900.0
"""What Faust's patience with one step of a recovery grows by."""


@dataclass(frozen=True)
class Span:
    """What is missing of one partition's table: changelog offsets `[start, end)`."""

    db: Any
    start: int
    end: int


def bootstrap_of(app: AppT) -> str:
    """The brokers of an app as librdkafka wants them."""
    return ",".join(f"{url.host}:{url.port or 9092}" for url in app.conf.broker_consumer)


def fill(bootstrap: str, dbs: Mapping[TP, Any], stop: threading.Event) -> int:
    """Bring the tables of changelog partitions up to the end of their changelogs; returns how many records it took.

    Blocking. Ended early by `stop`, each table still is a prefix of its changelog with the offset that says which.
    A table that is ahead of its changelog is emptied first: only the changelog survives a lost disk. Raises
    BrokerUnavailable when nothing comes for ANSWER_SECONDS.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "recovery",  # asked for by the client; nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "max.partition.fetch.bytes": 8 << 20,
            "fetch.max.bytes": 64 << 20,
            "log_level": 0,
        }
    )
    try:
        spans = {tp: _span(consumer, tp, db) for tp, db in dbs.items()}
        missing = {tp: span for tp, span in spans.items() if span.start < span.end}
        if not missing:
            return 0
        consumer.assign([TopicPartition(tp.topic, tp.partition, span.start) for tp, span in missing.items()])
        return _copy(consumer, missing, stop)
    finally:
        consumer.close()


def _span(consumer: Consumer, tp: TP, db: Any) -> Span:
    low, high = extent(consumer, TopicPartition(tp.topic, tp.partition), ANSWER_SECONDS)
    held = db.get(OFFSET_KEY)
    if held is not None and int(held) >= high:
        log.warning("a table is ahead of its changelog and is restored anew", topic=tp.topic, partition=tp.partition)
        _empty(db)
        held = None
    return Span(db, low if held is None else max(low, int(held) + 1), high)


def _empty(db: Any) -> None:
    write = rocksdict.WriteBatch(raw_mode=True)
    for key in db.keys():  # noqa: SIM118 - not a dict
        write.delete(key)
    db.write(write)


def _copy(consumer: Consumer, missing: Mapping[TP, Span], stop: threading.Event) -> int:
    awaited, count, heard = set(missing), 0, time.monotonic()
    while awaited and not stop.is_set():
        messages = consumer.consume(BATCH_RECORDS, 0.2)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > ANSWER_SECONDS:
            raise BrokerUnavailable("the changelog is not delivered")
        batches: dict[TP, list[Message]] = {}
        for message in messages:
            tp, error = TP(str(message.topic()), int(message.partition() or 0)), message.error()
            if error is None:
                batches.setdefault(tp, []).append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                _note(missing[tp].db, int(message.offset() or 0) - 1)
                awaited.discard(tp)
        for tp, batch in batches.items():
            _write(missing[tp].db, batch)
            count += len(batch)
    return count


def _write(db: Any, batch: list[Message]) -> None:
    write = rocksdict.WriteBatch(raw_mode=True)
    for message in batch:
        key, value = message.key() or b"", message.value()
        if value is None:
            write.delete(key)
        else:
            write.put(key, value)
    write.put(OFFSET_KEY, str(batch[-1].offset()).encode())
    db.write(write)


def _note(db: Any, offset: int) -> None:
    """The end of a compacted changelog may lie beyond its last record."""
    if offset >= 0:
        db.put(OFFSET_KEY, str(offset).encode())


class BulkRecovery(Recovery):
    """Faust's recovery, with the tables filled in bulk first."""

    _ended: asyncio.Future[None] | None = None
    _stop_filling: threading.Event

    @classmethod
    def install(cls, app: AppT) -> None:
        """Make an app recover its tables this way; before it starts, more than once is once."""
        tables: Any = app.tables
        if not isinstance(tables._recovery, cls):
            tables._recovery = cls(app, tables, beacon=tables.beacon, loop=tables.loop)

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Partitions move: what is being filled stays as far as it got."""
        if self._ended is not None:
            self._stop_filling.set()
        super().on_partitions_revoked(revoked)

    async def on_stop(self) -> None:
        """The worker stops."""
        if self._ended is not None:
            self._stop_filling.set()
        await super().on_stop()

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        await super()._wait(coro, timeout=None if timeout is None else timeout + FILL_SECONDS)

    async def _build_highwaters(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        if title == "active" and tps:
            await self._fill(tps)
        await super()._build_highwaters(consumer, tps, destination, title)

    async def _fill(self, tps: set[TP]) -> None:
        if self._ended is not None:  # a rebalance has overtaken it
            self._stop_filling.set()
            await asyncio.wait({self._ended})
        self._stop_filling, began = threading.Event(), time.monotonic()
        tables: Mapping[TP, Any] = self.tp_to_table
        dbs = {tp: tables[tp].data._db_for_partition(tp.partition) for tp in tps}
        work = asyncio.to_thread(self._fill_in_thread, bootstrap_of(self.app), dbs, self._stop_filling)
        self._ended = asyncio.ensure_future(work)
        await asyncio.shield(self._ended)
        for tp in tps:
            self.active_offsets[tp] = tables[tp].persisted_offset(tp)
        seconds = time.monotonic() - began
        if seconds > 1.0:
            log.info("tables restored from their changelogs", partitions=len(tps), seconds=round(seconds, 1))

    @staticmethod
    def _fill_in_thread(bootstrap: str, dbs: Mapping[TP, Any], stop: threading.Event) -> None:
        try:
            fill(bootstrap, dbs, stop)
        except Exception as error:  # anything: Faust restores what is left, more slowly
            log.warning("a table is not restored in bulk", error=repr(error))
