"""What the log said, kept as Parquet: every entity update and every verdict's evidence, once, by day.

Layout: `archive/entity_updates/day=YYYY-MM-DD/*.parquet` and `archive/fraud_evidence/day=YYYY-MM-DD/*.parquet`, the day
being that of the broker's time, UTC. Columns are those of `archive_schema`; files are written by `archive_sink`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ibook.edges.archive_files import DATASETS, ArchiveFile, Hole, counting, holes, list_files, next_offsets
from ibook.edges.archive_schema import UNREADABLE, decode_evidence, update_decoder
from ibook.edges.archive_sink import archive_to_the_end
from ibook.entities import EntityName, EntityUpdate
from ibook.messages import VerdictEvidence
from ibook.settings import Settings
from ibook.topics import ENTITY_UPDATES, FRAUD_EVIDENCE

__all__ = ["Archive", "LoggedUpdate", "archive_of", "archive_to_the_end"]

BATCH = 2_000
"""Rows read at a time: few enough that the garbage collector hardly ever sees them."""


class LoggedUpdate(NamedTuple):
    """An update, and the record of `entity-updates` it came in."""

    partition: int
    offset: int
    update: EntityUpdate


class Archive:
    """The archive in a folder, also while a sink writes it: a reader then sees a part of the log without gaps.

    Rows that can't be decoded (the list of rejects has them) are left out.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def updates(self, *, partition: int | None = None) -> Iterator[LoggedUpdate]:
        """Every update once, in log order within a partition, partitions one after the other."""
        for number, offsets, payloads in self._rows(ENTITY_UPDATES.name, partition):
            yield from _logged(number, offsets, payloads)

    def updates_of(self, entity: EntityName, keys: Collection[str]) -> Iterator[LoggedUpdate]:
        """The updates of a few entities, in the order of `updates`; only their rows are decoded."""
        wanted = pa.array(list(keys), pa.string())

        def concerned(batch: pa.RecordBatch) -> pa.RecordBatch:
            return batch.filter(pc.is_in(pc.map_lookup(batch["ids"], entity, "first"), wanted))

        for number, offsets, payloads in self._rows(ENTITY_UPDATES.name, None, ("ids",), concerned):
            yield from (each for each in _logged(number, offsets, payloads) if entity in each.update.entities)

    def evidence(self, *, from_day: date = date.min) -> Iterator[VerdictEvidence]:
        """Every evidence record of a day or later once, in log order within a partition."""
        for _, _, payloads in self._rows(FRAUD_EVIDENCE.name, from_day=from_day):
            yield from _readable(decode_evidence, payloads)

    def next_offsets(self, topic: str) -> dict[int, int]:
        """Per partition of a topic, the first offset not archived yet; partitions nothing was read of are left out."""
        return next_offsets(self._folder, topic)

    def holes(self, topic: str) -> list[Hole]:
        """The offsets of a topic, from 0 on, that no file covers; empty when nothing was dropped or deleted."""
        return holes(self._folder, topic)

    def files(self, topic: str) -> list[Path]:
        """The files that count, for other readers of Parquet: a glob may see rows twice while files are merged."""
        return [file.path for file in self._counting(topic)]

    def _counting(self, topic: str) -> list[ArchiveFile]:
        return counting(list_files(self._folder / DATASETS[topic]))[0]

    def _rows(
        self,
        topic: str,
        partition: int | None = None,
        columns: Sequence[str] = (),
        keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None,
        from_day: date = date.min,
    ) -> Iterator[tuple[int, list[int], list[bytes]]]:
        """Partition, offsets and payloads, a batch at a time. Files merged meanwhile are looked for again."""
        done: dict[int, int] = {}
        while True:
            files = [
                each for each in self._counting(topic)
                if (partition is None or each.partition == partition) and each.day >= from_day
            ]  # fmt: skip
            try:
                for file in files:
                    if file.last >= done.get(file.partition, 0):
                        for batch in _batches(file, done.get(file.partition, 0), columns):
                            kept = keep(batch) if keep else batch
                            yield file.partition, kept["offset"].to_pylist(), kept["payload"].to_pylist()
                        done[file.partition] = file.last + 1
            except FileNotFoundError:  # merged into a larger one since we looked
                continue
            return


def _batches(file: ArchiveFile, start: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows from offset `start` on. A file is found, or not, before its first row: removed later, it stays readable."""
    with pq.ParquetFile(file.path) as source:
        for batch in source.iter_batches(BATCH, columns=["offset", *columns, "payload"], use_threads=False):
            yield batch if file.first >= start else batch.filter(pc.greater_equal(batch["offset"], start))


def _logged(partition: int, offsets: Sequence[int], payloads: Sequence[bytes]) -> Iterator[LoggedUpdate]:
    try:
        updates = list(map(update_decoder.decode, payloads))
    except msgspec.DecodeError:
        for offset, payload in zip(offsets, payloads, strict=True):
            for update in _readable(update_decoder.decode, [payload]):
                yield LoggedUpdate(partition, offset, update)
    else:
        yield from map(LoggedUpdate, repeat(partition), offsets, updates)


def _readable(read: Callable[[bytes], Any], payloads: Sequence[bytes]) -> Iterator[Any]:
    for payload in payloads:
        try:
            yield read(payload)
        except UNREADABLE:
            continue


def archive_of(settings: Settings) -> Archive:
    """The archive of the settings' data folder."""
    return Archive(settings.data_dir / "archive")
