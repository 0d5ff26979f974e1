"""Reading messages whose header has a name that is not UTF-8.

A header's name is bytes to clients in C, Go or Rust, and text to aiokafka, which decodes it while it takes a batch
apart: one odd name, and the batch can't be read, so the consumer comes back to it for ever and its partition stands
still. Here such a batch is read once more, with a replacement character where the name can't be decoded.
"""

from collections.abc import Iterator
from typing import Any, Self

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


def read_odd_header_names() -> None:
    """Make every consumer of this process read such batches; safe to repeat."""
    fetcher.MemoryRecords = _Records


class _Records(_MemoryRecordsPy):  # type: ignore[misc]  # final for type checkers only
    """What a fetch brought, batch by batch."""

    def next_batch(self, *_: Any) -> Any:
        raw, batch = self._next_slice, super().next_batch()
        return None if batch is None or raw is None else _Batch(batch, raw)


class _Batch:
    """A batch as aiokafka's compiled code reads it, until that fails."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)  # only control batches are read like this

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                read += 1
                yield record
        except UnicodeDecodeError:
            for number, record in enumerate(_TolerantBatch(self._raw)):
                if number >= read:
                    yield record


class _TolerantBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch that decodes what it can."""

    def __iter__(self) -> Self:
        self._maybe_uncompress()
        self._buffer: bytearray = _Bytes(self._buffer)
        return self


class _Bytes(bytearray):
    """Bytes whose slices, too, decode whatever they are."""

    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(key)
        return got if isinstance(got, int) else _Bytes(got)

    def decode(self, *_: Any) -> str:
        return super().decode("utf-8", "replace")
