"""Records in memory, and how they become files: by rows, by age, when the log falls silent, and when asked.

Knows nothing of Kafka. What can't be written stays in memory and is tried again; whoever reads the log must stop
reading while the writer is `full`.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa
import structlog

from ibook import metrics
from ibook.edges import archive_checks, archive_files
from ibook.edges.archive_files import DATASETS, Positions
from ibook.edges.archive_schema import COLUMNS, LogRecord, Segment, cut, day_of, payloads_of, table_of

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When rows in memory become a file."""

    rows: int = 100_000
    """Of one partition."""
    bytes: int = 64 << 20
    """Of all partitions, as they came; decoded, a chunk at a time, they are some ten times as large."""
    age_seconds: float = 60.0
    idle_seconds: float = 2.0
    """So long after the last row, whatever there is."""
    positions_seconds: float = 10.0
    """How often positions are noted while nothing but watermarks comes."""
    retry_seconds: float = 1.0
    """After a failure; doubled each time, up to 30 s."""


@dataclass
class Pending:
    """A partition, as far as it is read: its next file begins at `start`, `next` follows the last offset read."""

    topic: str
    partition: int
    start: int
    next: int
    records: list[LogRecord] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    since: float = 0.0
    """When the oldest row came."""
    day: date | None = None
    """Of the last file."""

    def add(self, record: LogRecord) -> None:
        """Remember a record that has rows."""
        self.records.append(record)
        self.rows += len(record.payloads)
        self.bytes += sum(map(len, record.payloads))

    def drop_until(self, last: int) -> None:
        """Everything up to this offset is in a file."""
        left = [record for record in self.records if record.offset > last]
        self.start, self.records, self.rows, self.bytes = last + 1, [], 0, 0
        for record in left:
            self.add(record)


class ArchiveWriter:
    """The files of one archive folder; nobody else may write there. One thread at a time."""

    def __init__(
        self, folder: Path, limits: Limits | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Removes what an interruption left. Raises OSError."""
        self._folder = folder
        self._limits = limits or Limits()
        self._monotonic = monotonic
        self._pending: dict[tuple[str, int], Pending] = {}
        self._noted = archive_files.read_positions(folder)
        self._noted_at = self._last_row = monotonic()
        self._failures = 0
        self._retry_at = 0.0
        self.trouble = ""
        """Why the last try failed, one sentence; empty when it did not."""
        self.rows_written = 0
        self._days_over: set[tuple[str, date, int]] = set()
        self._spoilt: set[Path] = set()
        """Files that could not be merged: they stay as they are, and nothing is merged over them."""
        self._starts: dict[str, dict[int, int]] = {}
        for topic, dataset in DATASETS.items():
            archive_files.tidy(folder / dataset)
            self._starts[topic] = archive_files.next_starts(folder, topic)
            found = archive_files.list_files(folder / dataset)
            self._days_over |= {(topic, each.day, each.partition) for each in found}

    # --------------------------------------------------------------------------------------------------------- reading
    @property
    def topic_ids(self) -> dict[str, str]:
        """The topics that are archived here; written with the positions."""
        return self._noted.topic_ids

    def begin(self, topic: str, partition: int, offset: int, *, lost: bool = False) -> None:
        """A partition, of which nothing is in memory, will be read from this offset on.

        What lies between its last file and that held nothing to archive, and the next file covers it; unless it is
        `lost`: the next file begins here then, so that the names tell.
        """
        start = self._starts[topic].get(partition, 0)
        pending = self._pending.setdefault((topic, partition), Pending(topic, partition, start, offset))
        pending.next = offset
        if lost:
            pending.start = offset

    def holds(self, topic: str, partition: int) -> bool:
        """Whether rows of a partition wait in memory."""
        return (topic, partition) in self._pending and bool(self._pending[topic, partition].records)

    def take(self, topic: str, partition: int, offset: int, broker_ms: int, value: bytes | None) -> None:
        """The next record of a partition."""
        pending = self._pending[topic, partition]
        pending.next = offset + 1
        payloads = payloads_of(topic, value)
        if payloads:
            self._last_row = self._monotonic()
            pending.since = pending.since if pending.records else self._last_row
            pending.add(LogRecord(offset, day_of(broker_ms), payloads))

    def reached(self, topic: str, partition: int, offset: int) -> None:
        """Nothing but what was taken lies before this offset."""
        pending = self._pending[topic, partition]
        pending.next = max(pending.next, offset)

    def next_offset(self, topic: str, partition: int) -> int:
        """The first offset that was not read; 0 of a partition that is not known here."""
        pending = self._pending.get((topic, partition))
        return pending.next if pending else 0

    def first_unwritten(self, topic: str, partition: int) -> int:
        """The first offset that has rows in no file, though perhaps in memory; or the next to read."""
        pending = self._pending[topic, partition]
        return pending.records[0].offset if pending.records else pending.next

    @property
    def full(self) -> bool:
        """Whether nothing more should be read before something is written."""
        most = max((pending.rows for pending in self._pending.values()), default=0)
        return self._bytes() >= self._limits.bytes or most >= self._limits.rows

    def _bytes(self) -> int:
        return sum(pending.bytes for pending in self._pending.values())

    # --------------------------------------------------------------------------------------------------------- writing
    def flush_due(self) -> None:
        """Write what has waited long enough; merge files while there is nothing else to do."""
        now = self._monotonic()
        if now < self._retry_at:
            return
        waiting = [pending for pending in self._pending.values() if pending.records]
        idle = now - self._last_row >= self._limits.idle_seconds
        everything = idle or self._bytes() >= self._limits.bytes
        due = [each for each in waiting if everything or self._is_due(each, now)]
        if due or now - self._noted_at >= self._limits.positions_seconds:
            self._attempt(due)
        for each in due:
            self._merge(each)
        if idle and self._days_over:
            self._merge_day_over()

    def _is_due(self, pending: Pending, now: float) -> bool:
        return pending.rows >= self._limits.rows or now - pending.since >= self._limits.age_seconds

    def flush(self) -> bool:
        """Write everything there is; False, and `trouble`, when that could not be done."""
        return self._attempt([pending for pending in self._pending.values() if pending.records])

    def _attempt(self, due: Iterable[Pending]) -> bool:
        try:
            for pending in due:
                self._write(pending)
            self._note_positions()
        except OSError as error:
            self._failed(error)
            return False
        if self.trouble:
            log.warning("the archive is written again")
        self.trouble, self._failures, self._retry_at = "", 0, 0.0
        return True

    def _failed(self, error: OSError) -> None:
        metrics.ARCHIVE_WRITE_FAILURES.inc()
        rows = sum(pending.rows for pending in self._pending.values())
        trouble = f"The archive in {self._folder} can't be written: {error.strerror or error}."
        if not self.trouble:
            log.error(f"{trouble} {rows} rows wait in memory, the rest in Kafka; trying again.")
        self.trouble = trouble
        self._retry_at = self._monotonic() + min(30.0, self._limits.retry_seconds * 2**self._failures)
        self._failures += 1

    def _write(self, pending: Pending) -> None:
        for segment in cut(pending.records, pending.start, pending.next):
            self._write_segment(pending, segment)
            pending.drop_until(segment.last)
            if pending.day is not None and pending.day != segment.day:
                self._days_over.add((pending.topic, pending.day, pending.partition))
            pending.day = segment.day

    def _write_segment(self, pending: Pending, segment: Segment) -> None:
        topic, dataset = pending.topic, self._folder / DATASETS[pending.topic]
        path = archive_files.file_path(
            dataset, segment.day, pending.partition, segment.first, segment.last, COLUMNS[topic]
        )
        table = table_of(topic, pending.partition, segment.records)
        archive_files.write_table(path, table)
        metrics.ARCHIVE_ROWS.labels(topic).inc(table.num_rows)
        metrics.ARCHIVE_FILES.labels("flushed").inc()
        self.rows_written += table.num_rows
        self._check(topic, table, path)

    def _check(self, topic: str, table: pa.Table, path: Path) -> None:
        rejects = archive_checks.rejects_of(topic, table, path.name, archive_checks.now())
        for each in rejects:
            metrics.ARCHIVE_REJECTS.labels(topic, each.check).inc(each.rows)
            log.warning("a check failed", check=each.check, rows=each.rows, first=each.row, file=each.file)
        if rejects:
            try:
                archive_checks.list_rejects(self._folder, rejects)
            except OSError as error:  # the rows are safe, and the log has the line
                log.warning("rejects can't be listed", error=str(error))

    def _note_positions(self) -> None:
        """After the files: they vouch for what lies before."""
        following: dict[str, dict[str, int]] = {topic: dict(known) for topic, known in self._noted.next.items()}
        starts: dict[str, dict[str, int]] = {topic: dict(known) for topic, known in self._noted.start.items()}
        for pending in self._pending.values():
            first = self.first_unwritten(pending.topic, pending.partition)
            following.setdefault(pending.topic, {})[str(pending.partition)] = first
            starts.setdefault(pending.topic, {})[str(pending.partition)] = pending.start
        positions = Positions(following, starts, self._noted.topic_ids)
        if positions != self._noted or not (self._folder / archive_files.POSITIONS).exists():
            archive_files.write_positions(self._folder, positions)
            self._noted = positions
        self._noted_at = self._monotonic()

    # --------------------------------------------------------------------------------------------------------- merging
    def _merge(self, pending: Pending) -> None:
        if not self.trouble and pending.day is not None:
            self._merge_some(pending.topic, pending.day, pending.partition, day_over=False)

    def _merge_day_over(self) -> None:
        """One merge of one day that is over; the day is done with when nothing is left to merge."""
        latest = {(each.topic, each.day, each.partition) for each in self._pending.values()}
        one = min(self._days_over)
        if one in latest or not self._merge_some(*one, day_over=one[1] < day_of(int(time.time() * 1000))):
            self._days_over.discard(one)

    def _merge_some(self, topic: str, day: date, partition: int, *, day_over: bool) -> bool:
        """Whether there was something to merge, and it is merged, or no more tried."""
        files = [
            each for each in archive_files.list_day(self._folder / DATASETS[topic], day)
            if each.partition == partition and each.path not in self._spoilt
        ]  # fmt: skip
        chosen = archive_files.to_merge(archive_files.counting(files)[0], day_over=day_over)
        if not chosen:
            return False
        try:
            archive_files.merge(chosen)
        except archive_files.SpoiltFile as error:
            self._spoilt.add(error.path)
            log.error("an archive file can't be read", error=str(error))
            return True
        except (OSError, pa.ArrowException) as error:  # a full disk: they go on as they are
            log.warning("archive files can't be merged", first=chosen[0].path.name, error=str(error))
            return False
        metrics.ARCHIVE_FILES.labels("merged").inc()
        return True
