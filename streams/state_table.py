"""A Faust table whose changelog is written first, one batch at a time.

Stock tables write RocksDB before the changelog, one record at a time, and to the partition of the current event.
Here a batch goes to the changelog of an explicit partition and is acknowledged; then the same records and the
changelog offset go to RocksDB in one write. Recovery is `streams/recovery.py`, assignment stays Faust's own. It leans
on private parts of Faust's store; `tests/integration/test_publish.py` fails when they move.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import faust
import rocksdict

from streams.leaving import Watchdog, watchdog_of
from streams.publish import Record, publish
from streams.recovery import BulkRecovery

# RocksDB's defaults would take up to 2 GB of cache for each partition.
_OPTIONS = {"block_cache_size": 32 << 20, "write_buffer_size": 16 << 20, "max_write_buffer_number": 2}


class StateTable:
    """Bytes to bytes per partition, in RocksDB, restored from a compacted changelog."""

    def __init__(self, app: faust.App, name: str, partitions: int) -> None:
        self._app = app
        self._table = app.Table(
            name,
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            options=dict(_OPTIONS),
        )
        self._changelog = f"{app.conf.id}-{name}-changelog"
        self._guarded: object = None
        BulkRecovery.install(app)

    def get(self, partition: int, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        value: bytes | None = self._db(partition).get(key)
        return value

    async def write(self, partition: int, records: Mapping[bytes, bytes | None]) -> None:
        """Make records durable; None deletes. Returns when the changelog has them and RocksDB agrees.

        A write that changes nothing must still be made on redelivery: after a crash RocksDB may be ahead of the
        changelog, and only the changelog survives a lost disk.
        """
        if not records:
            return
        self._guard()
        batch = [Record(key, value) for key, value in records.items()]
        offset = await publish(self._app, self._changelog, partition, batch)
        watchdog_of(self._app).check()
        self._store(partition, records, offset)

    def _guard(self) -> None:
        """A batch that waits in the producer while this process is frozen must not leave it when it wakes."""
        producer = self._app.producer._ensure_producer()  # type: ignore[attr-defined]
        if producer is not self._guarded:
            self._guarded = producer
            _ask_before_each_request(producer.client, watchdog_of(self._app))

    def items(self, partition: int, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All keys that begin with `prefix`, and their values, in the order of the keys."""
        offset_key = self._rocksdb.offset_key
        for key, value in self._db(partition).items(from_key=prefix or None):
            if not key.startswith(prefix):
                return
            if key != offset_key:
                yield key, value

    def _store(self, partition: int, records: Mapping[bytes, bytes | None], offset: int) -> None:
        write = rocksdict.WriteBatch(raw_mode=True)
        for key, value in records.items():
            if value is None:
                write.delete(key)
            else:
                write.put(key, value)
        write.put(self._rocksdb.offset_key, str(offset).encode())
        self._db(partition).write(write)

    @property
    def _rocksdb(self) -> Any:
        return self._table.data

    def _db(self, partition: int) -> Any:
        return self._rocksdb._db_for_partition(partition)


def _ask_before_each_request(client: Any, watchdog: Watchdog) -> None:
    send = client.send

    async def _send(*arguments: Any, **named: Any) -> Any:
        watchdog.check()
        return await send(*arguments, **named)

    client.send = _send
