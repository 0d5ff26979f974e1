"""Publish many records as one batch to an explicit partition, and know when the broker has them.

Faust's `topic.send` costs about 100 µs a record; one aiokafka batch costs that once. This is the one place that
reaches for Faust's private producer; `tests/integration/test_publish.py` fails when it moves.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError
from faust.types import AppT

from ibook.errors import IbookError
from streams.leaving import leave, watchdog_of

DURABLE_WITHIN_SECONDS = 30.0
"""Work that can't be made durable in this time is left to the next worker."""

MAX_RECORD_BYTES = 1_000_000
"""A little less than a batch, and than what brokers take by default."""


class Record(NamedTuple):
    """One record to publish."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class RecordTooLarge(IbookError):
    """A record no batch can hold: nothing of its publish was sent."""


async def publish(app: AppT, topic: str, partition: int, records: Sequence[Record]) -> int:
    """Publish records in order; returns the offset of the last one when the broker has acknowledged all.

    Leaves the process when the broker does not answer within `DURABLE_WITHIN_SECONDS`: nothing after this point
    may be acknowledged.
    """
    watchdog_of(app).check()
    for record in records:
        if len(record.value or b"") + len(record.key or b"") > MAX_RECORD_BYTES:
            size = len(record.value or b"")
            raise RecordTooLarge(f"a record of {size} bytes for {topic}, at most {MAX_RECORD_BYTES}")
    producer = app.producer._ensure_producer()  # type: ignore[attr-defined]
    last = -1
    start = 0
    while start < len(records):
        builder = producer.create_batch()
        taken = _fill(builder, records, start)
        last = await _send(producer, builder, topic, partition) + taken - 1
        start += taken
    return last


def _fill(builder: Any, records: Sequence[Record], start: int) -> int:
    """Append records to a batch until it is full; how many went in."""
    for index in range(start, len(records)):
        key, value, headers = records[index]
        if builder.append(key=key, value=value, timestamp=None, headers=list(headers)) is None:
            return index - start
    return len(records) - start


async def _send(producer: Any, builder: Any, topic: str, partition: int) -> int:
    """Send a batch; the offset of its first record once acknowledged by all in-sync replicas."""
    try:
        async with asyncio.timeout(DURABLE_WITHIN_SECONDS):
            future = await producer.send_batch(builder, topic, partition=partition)
            metadata = await future
    except (TimeoutError, OSError, KafkaError) as error:
        leave("the broker did not take a batch in time", topic=topic, partition=partition, error=str(error))
        raise
    return int(metadata.offset)


async def publish_all(app: AppT, topic: str, records: Mapping[int, Sequence[Record]]) -> dict[int, int]:
    """Publish to several partitions at once; last offset per partition."""
    sends: list[Awaitable[int]] = [publish(app, topic, partition, each) for partition, each in records.items()]
    return dict(zip(records, await asyncio.gather(*sends), strict=True))
