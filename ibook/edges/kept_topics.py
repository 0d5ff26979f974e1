"""Topics as they were last read, kept on disk: what a process begins with while Kafka can't be read."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog

from ibook.clock import Clock
from ibook.edges.kafka import Record

FORMAT = 1
"""Of the tables; another one is not read."""
WRITE_SECONDS = 2.0
"""What came meanwhile is written together; a kill -9 loses so much."""
AGAIN_SECONDS = 60.0
"""A disk that took nothing is left to quotes for so long."""

_TABLES = f"""
CREATE TABLE about (partitions INTEGER NOT NULL, read_at REAL NOT NULL);
CREATE TABLE records (
    number INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, place INTEGER NOT NULL,
    stamped_ms INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, UNIQUE (topic, key, partition)
);
PRAGMA user_version = {FORMAT};
"""
_INSERT = "INSERT OR REPLACE INTO records (topic, partition, place, stamped_ms, key, value) VALUES (?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM records WHERE topic = ? AND key = ?"
_SELECT = "SELECT topic, partition, place, stamped_ms, key, value FROM records ORDER BY number"
_EVERYWHERE = -1
"""The partition of what was taken back: it is, in all of them."""

log = structlog.get_logger()


class Kept(NamedTuple):
    """What was kept, in the order it came, and when the last of it was read."""

    read_at: datetime
    records: list[Record]


class _OfNoUse(Exception):
    """A file that is well, but not ours."""


class KeptTopics:
    """The last record of each key and partition, as compaction would leave them. One process and thread for a file.

    What was written survives the end of the process and of the machine. What the disk does not take waits in memory.
    """

    def __init__(self, path: Path, partitions: int, clock: Clock) -> None:
        """Opens nothing. With other `partitions` the file is of no use: its keys lie elsewhere now."""
        self._path = path
        self._partitions = partitions
        self._clock = clock
        self._waiting: dict[tuple[str, int, bytes], Record] = {}
        """In the order they came; the last one of each."""
        self._anew = False
        self._read_at = clock.now()
        self._due = 0.0
        self.problem = ""
        """Why what was read is not on disk, in a sentence."""

    def read(self) -> Kept | None:
        """What was kept; None when nothing was, or it can't be used: then it is put aside."""
        if not self._path.exists():
            return None
        try:
            with closing(_open(self._path, "rw")) as rows:
                return self._read(rows)
        except (sqlite3.Error, _OfNoUse) as error:
            self._put_aside(str(error))
            return None

    def replace(self, records: Sequence[Record]) -> None:
        """Keep these, and nothing that was kept before."""
        self._waiting, self._anew = {}, True
        self.add(records)

    def add(self, records: Sequence[Record]) -> None:
        """Keep these too; one without a value takes back what has its key."""
        for record in records:
            place = record.topic, record.partition if record.value is not None else _EVERYWHERE, record.key or b""
            self._waiting.pop(place, None)  # or it would stay before what it comes after
            self._waiting[place] = record
        if records:  # none come also while Kafka is away
            self._read_at = self._clock.now()

    def write_if_due(self) -> None:
        """Write what waits, unless that was done a moment ago."""
        if time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """Write what waits, in one step. What can't be written waits on, and `problem` says why."""
        if not self._waiting and not self._anew:
            return
        try:
            if self._anew:
                self._write_anew()
            else:
                self._write_to(self._path, "rw")  # part of what is known, in a file that had gone, would be a lie
        except (OSError, sqlite3.Error) as error:
            self._fail(str(error))
        else:
            self._waiting, self._anew, self.problem = {}, False, ""
            self._due = time.monotonic() + WRITE_SECONDS

    def _read(self, rows: sqlite3.Connection) -> Kept:
        [version] = rows.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            raise _OfNoUse(f"format {version} instead of {FORMAT}")
        [state] = rows.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise _OfNoUse(state)
        partitions, read_at = rows.execute("SELECT partitions, read_at FROM about").fetchone()
        if partitions != self._partitions:
            raise _OfNoUse(f"kept with IBOOK_PARTITIONS={partitions}, which is {self._partitions} now")
        return Kept(datetime.fromtimestamp(read_at, UTC), [_record(*row) for row in rows.execute(_SELECT)])

    def _write_anew(self) -> None:
        """Beside the former file, which may be broken, and then in its place."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f"{self._path.name}.new")
        _remove(part)
        try:
            self._write_to(part, "rwc")
            _journal(self._path).unlink(missing_ok=True)  # SQLite would undo in the new file what was begun in the old
            part.replace(self._path)
        finally:
            _remove(part)

    def _write_to(self, path: Path, mode: str) -> None:
        with closing(_open(path, mode)) as rows:
            rows.execute("BEGIN IMMEDIATE")
            if self._anew:
                for statement in _TABLES.split(";"):
                    rows.execute(statement)
            rows.execute("DELETE FROM about")
            rows.execute("INSERT INTO about VALUES (?, ?)", (self._partitions, self._read_at.timestamp()))
            for (topic, partition, key), record in self._waiting.items():
                if record.value is None:
                    rows.execute(_DELETE, (topic, key))
                else:
                    rows.execute(_INSERT, (topic, partition, record.offset, record.timestamp_ms, key, record.value))
            rows.execute("COMMIT")

    def _fail(self, why: str) -> None:
        self._due = time.monotonic() + AGAIN_SECONDS
        problem = f"What is read of Kafka is not kept on disk, for a start without Kafka: {why}."
        if problem != self.problem:
            log.warning("not kept", path=str(self._path), why=why)
        self.problem = problem

    def _put_aside(self, why: str) -> None:
        log.warning("what was kept can't be used and is put aside", path=str(self._path), why=why)
        try:
            _journal(self._path).unlink(missing_ok=True)
            self._path.replace(self._path.with_name(f"{self._path.name}.aside"))
        except OSError as error:
            log.warning("it can't be put aside", why=str(error))


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


def _record(topic: str, partition: int, place: int, stamped_ms: int, key: bytes, value: bytes) -> Record:
    return Record(
        topic=topic, partition=partition, offset=place, timestamp_ms=stamped_ms, key=key, value=value, headers=()
    )  # fmt: skip


def _journal(path: Path) -> Path:
    """Where SQLite notes what it has to undo after a kill."""
    return path.with_name(f"{path.name}-journal")


def _remove(path: Path) -> None:
    for each in (path, _journal(path)):
        each.unlink(missing_ok=True)
