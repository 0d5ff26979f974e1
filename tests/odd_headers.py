"""Messages whose header has a name that is not UTF-8: clients in C, Go or Rust write the bytes they are given."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

NAME = b"na\xefve"


class _Name(str):
    """Encodes as bytes that no decoder takes."""

    def encode(self, *_: Any) -> bytes:
        """Latin 1, whatever was asked for."""
        return NAME


async def publish_odd(
    monkeypatch: pytest.MonkeyPatch, bootstrap: str, topic: str, partition: int, values: Sequence[bytes],
    *, key: bytes, compression: str | None = None,
) -> None:  # fmt: skip
    """Publish these in one batch; each but the first has such a header, and one that says `plain`."""
    monkeypatch.setattr(message_accumulator, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=compression)
    await producer.start()
    try:
        batch = producer.create_batch()
        for number, value in enumerate(values):
            headers = [("plain", b"1"), (_Name("odd"), b"2")] if number else []
            assert batch.append(key=key, value=value, timestamp=None, headers=headers) is not None
        await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()
