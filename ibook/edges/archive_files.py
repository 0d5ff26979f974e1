"""The files of an archive folder: what their names say, which of them count, how one becomes durable or larger.

A file covers all offsets from its first to its last of one partition, of records that the broker took on one day (UTC).
Offsets that held nothing to archive are covered, too: the names alone say where to go on, and whether anything is
missing in between. A file whose range lies inside another's does not count: it was merged into that one, and its
removal was interrupted.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ibook.topics import ENTITY_UPDATES, FRAUD_EVIDENCE

DATASETS: Mapping[str, str] = {ENTITY_UPDATES.name: "entity_updates", FRAUD_EVIDENCE.name: "fraud_evidence"}
"""Topic -> the folder of its files."""
POSITIONS = "positions.json"
FAN_IN = 8
"""Neighbours of a size that are merged into one: a row is written again once per factor of so much."""
SMALL_BYTES = 64 << 10
"""Files up to this size are alike."""
LARGEST_BYTES = 128 << 20
"""A merge makes nothing larger."""
ROW_GROUP = 100_000
HOLES_NAMED = 4
_NAME = re.compile(r"p(\d{4})-(\d{20})-(\d{20})-([0-9a-z]+)\.parquet")


class ArchiveFile(NamedTuple):
    """A file, as its name and folder tell; `last` is inclusive, `size` in bytes."""

    path: Path
    day: date
    partition: int
    first: int
    last: int
    columns: str
    """Which columns it has: files of different columns are not merged."""
    size: int = 0


class Hole(NamedTuple):
    """Offsets of a partition that no file covers; `last` is inclusive."""

    partition: int
    first: int
    last: int
    until: date | None
    """The day of the file behind it, if there is one."""


class SpoiltFile(Exception):
    """An archive file that can't be read."""

    def __init__(self, path: Path, reason: Exception) -> None:
        super().__init__(f"{path.name}: {reason}")
        self.path = path


class Positions(msgspec.Struct):
    """What no file can tell: offsets behind the last row, and which topics were archived here.

    Written after the files it vouches for.
    """

    next: dict[str, dict[str, int]] = {}
    """Topic -> partition -> everything before this offset is in a file, held nothing to archive, or was lost."""
    start: dict[str, dict[str, int]] = {}
    """Topic -> partition -> where its next file begins: behind its last one, also if that was deleted, unless Kafka
    dropped what followed."""
    topic_ids: dict[str, str] = {}
    """A topic that was made anew begins at offset 0 again, under another id."""


def file_path(dataset: Path, day: date, partition: int, first: int, last: int, columns: str) -> Path:
    """Where the file of these offsets belongs."""
    return dataset / f"day={day.isoformat()}" / f"p{partition:04d}-{first:020d}-{last:020d}-{columns}.parquet"


def list_files(dataset: Path) -> list[ArchiveFile]:
    """Every file of a dataset, those that do not count included.

    A listing made while files are merged may miss both old and new ones, so two must agree.
    """
    found = _scan(dataset)
    while (again := _scan(dataset)) != found:
        found = again
    return found


def list_day(dataset: Path, day: date) -> list[ArchiveFile]:
    """Every file of one day; for whoever writes them."""
    folder = dataset / f"day={day.isoformat()}"
    return sorted(_scan_day(folder)) if folder.is_dir() else []


def _scan(dataset: Path) -> list[ArchiveFile]:
    return sorted(each for folder in dataset.glob("day=*") for each in _scan_day(folder))


def _scan_day(folder: Path) -> Iterator[ArchiveFile]:
    day = date.fromisoformat(folder.name.removeprefix("day="))
    with os.scandir(folder) as entries:
        for entry in entries:
            if matched := _NAME.fullmatch(entry.name):
                partition, first, last, columns = matched.groups()
                try:
                    size = entry.stat().st_size
                except FileNotFoundError:  # merged away a moment ago
                    continue
                yield ArchiveFile(Path(entry.path), day, int(partition), int(first), int(last), columns, size)


def counting(files: Sequence[ArchiveFile]) -> tuple[list[ArchiveFile], list[ArchiveFile]]:
    """The files that count, by partition and offset; and those inside another one."""
    kept: list[ArchiveFile] = []
    inside: list[ArchiveFile] = []
    for file in sorted(files, key=lambda each: (each.partition, each.first, -each.last)):
        if kept and kept[-1].partition == file.partition and file.last <= kept[-1].last:
            inside.append(file)
        else:
            kept.append(file)
    return kept, inside


def read_positions(folder: Path) -> Positions:
    """The positions of an archive; empty when there are none, or none that can be read."""
    try:
        return msgspec.json.decode((folder / POSITIONS).read_bytes(), type=Positions)
    except (FileNotFoundError, msgspec.DecodeError):
        return Positions()


def write_positions(folder: Path, positions: Positions) -> None:
    """Replace them; raises OSError."""
    write_durably(folder / POSITIONS, lambda file: file.write(msgspec.json.encode(positions)))


def next_offsets(folder: Path, topic: str) -> dict[int, int]:
    """Per partition, the first offset that is not archived yet; partitions that nothing was read of are left out."""
    found = {int(partition): offset for partition, offset in read_positions(folder).next.get(topic, {}).items()}
    for file in list_files(folder / DATASETS[topic]):
        found[file.partition] = max(found.get(file.partition, 0), file.last + 1)
    return found


def next_starts(folder: Path, topic: str) -> dict[int, int]:
    """Per partition, the offset at which its next file begins; 0 for those that are left out."""
    found = {int(partition): offset for partition, offset in read_positions(folder).start.get(topic, {}).items()}
    for file in list_files(folder / DATASETS[topic]):
        found[file.partition] = max(found.get(file.partition, 0), file.last + 1)
    return found


def holes(folder: Path, topic: str) -> list[Hole]:
    """What the archive lacks of a topic from offset 0 on: Kafka dropped it, or its files were deleted."""
    ends = next_starts(folder, topic)  # first: files may come meanwhile, none goes
    found: list[Hole] = []
    covered = dict.fromkeys(ends, 0)
    for file in counting(list_files(folder / DATASETS[topic]))[0]:
        begin = covered.get(file.partition, 0)
        if file.first > begin:
            found.append(Hole(file.partition, begin, file.first - 1, file.day))
        covered[file.partition] = file.last + 1
    found += [Hole(number, covered[number], end - 1, None) for number, end in ends.items() if end > covered[number]]
    return sorted(found, key=lambda each: (each.partition, each.first))


def name_holes(found: Sequence[Hole], topic: str) -> str:
    """Which offsets they are, in words."""
    named = [f"{each.first} to {each.last} of partition {each.partition}" for each in found[:HOLES_NAMED]]
    more = f", and {len(found) - HOLES_NAMED} more stretches," if len(found) > HOLES_NAMED else ""
    return f"offsets {', '.join(named)}{more} of {topic}"


# ------------------------------------------------------------------------------------------------------------- durable
def write_durably(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it is there whole, and survives a power cut, or is not there at all.

    Raises OSError (a full disk), and what `fill` raises; what was half written is gone then.
    """
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:  # whatever it was: a half-written file would take room until the next start
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_table(path: Path, table: pa.Table) -> None:
    """One file of these rows; raises OSError."""
    write_durably(path, lambda file: pq.write_table(table, file, compression="zstd", row_group_size=ROW_GROUP))


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tidy(dataset: Path) -> int:
    """Remove what an interruption left: half-written files, and those merged into another; how many there were."""
    left = [*dataset.glob("day=*/.*.tmp"), *(file.path for file in counting(list_files(dataset))[1])]
    for path in left:
        path.unlink()
    return len(left)


# --------------------------------------------------------------------------------------------------------------- merge
def to_merge(files: Sequence[ArchiveFile], *, day_over: bool) -> list[ArchiveFile]:
    """Neighbours to merge next, out of one day's files of one partition; empty when there are few enough.

    While a day lasts, a run with FAN_IN of a size, and smaller ones between them, so that each row is written again few
    times; when it is over, whatever fits into one file.
    """
    for level in range(_level(LARGEST_BYTES) + 1):
        for run in _runs(files, level):
            alike = sum(_level(file.size) == level for file in run)
            if len(run) >= 2 and (day_over or alike >= FAN_IN):
                return run
    return []


def _level(size: int) -> int:
    """0 up to SMALL_BYTES, then one more for every factor FAN_IN."""
    level = 0
    while size > SMALL_BYTES * FAN_IN**level:
        level += 1
    return level


def _runs(files: Sequence[ArchiveFile], level: int) -> Iterator[list[ArchiveFile]]:
    """Files of this level or below that follow one another without a gap and fit into one; the latest first."""
    run: list[ArchiveFile] = []
    for file in sorted(files, key=lambda each: each.first, reverse=True):
        if run and not _joins(file, run[0], run):
            yield run
            run = []
        if _level(file.size) <= level:
            run.insert(0, file)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _joins(file: ArchiveFile, after: ArchiveFile, run: Sequence[ArchiveFile]) -> bool:
    whole = file.last + 1 == after.first and file.columns == after.columns
    return whole and file.size + sum(each.size for each in run) <= LARGEST_BYTES


def merge(files: Sequence[ArchiveFile]) -> Path:
    """Make one file of neighbours, then remove them. Raises OSError, SpoiltFile; they stay then.

    Rows are copied a few row groups at a time. Interrupted after the new file is there, the old ones lie inside its
    range and do not count; `tidy` removes them.
    """
    first, last = files[0], files[-1]
    path = file_path(first.path.parent.parent, first.day, first.partition, first.first, last.last, first.columns)
    write_durably(path, lambda file: _copy(files, file))
    for each in files:
        each.path.unlink()
    return path


def _copy(files: Sequence[ArchiveFile], target: IO[bytes]) -> None:
    waiting: list[pa.RecordBatch] = []
    schema = _schema(files[0])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for each in files:
            for batch in _batches(each, schema):
                waiting.append(batch)
                if sum(len(one) for one in waiting) >= ROW_GROUP:
                    writer.write_table(pa.Table.from_batches(waiting))
                    waiting.clear()
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting))


def _schema(file: ArchiveFile) -> pa.Schema:
    try:
        return pq.read_schema(file.path)
    except (OSError, pa.ArrowException) as error:
        raise SpoiltFile(file.path, error) from error


def _batches(file: ArchiveFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Its rows. Raises SpoiltFile: Arrow says OSError, too, of bytes that it can't decompress."""
    try:
        with pq.ParquetFile(file.path) as source:
            if not source.schema_arrow.equals(schema):
                raise SpoiltFile(file.path, ValueError("its columns are not those of its name"))
            yield from source.iter_batches(ROW_GROUP)
    except (OSError, pa.ArrowException) as error:
        raise SpoiltFile(file.path, error) from error
