"""Quotes on disk until Kafka has them: an SQLite file that a kill -9 leaves whole."""

import fcntl
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

import structlog

from ibook.errors import ConfigurationError

log = structlog.get_logger()

_TABLE = """
CREATE TABLE IF NOT EXISTS waiting (
    number INTEGER PRIMARY KEY, keep_until REAL NOT NULL, key BLOB NOT NULL, payload BLOB NOT NULL
)
"""
_INSERT = "INSERT INTO waiting (number, keep_until, key, payload) VALUES (?, ?, ?, ?)"
SETTLED_AT_ONCE = 200
"""Rows deleted under one lock: a request that comes meanwhile waits for less than a millisecond."""


class SpoolFull(Exception):
    """The disk takes no more, or what is on it can't be read."""


class Waiting(NamedTuple):
    """A message on disk."""

    number: int
    key: bytes
    payload: bytes


class Spool:
    """Messages in the order they came, numbered from a start on. Any thread may call; one process holds a file.

    What was added survives the end of the process, however it ends. The end of the machine can take the last moments,
    as it can of what Kafka has acknowledged: nothing waits for a disk to flush.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError when another process has the file, or the folder can't be written."""
        self._path = path
        self._held = _hold(path.with_suffix(".lock"))
        self._lock = threading.Lock()
        self.broken = ""
        """Why the file can't be used any more; empty while it can. `begin_anew` mends it."""
        self._rows = _open_or_begin_anew(path)
        self._checkpoints = _connect(path)
        self._count: int
        self._number: int
        """The last one given."""
        waiting = self._rows.execute("SELECT count(*), coalesce(max(number), 0) FROM waiting").fetchone()
        self._count, self._number = waiting

    def __len__(self) -> int:
        return self._count

    def add(self, key: bytes, payload: bytes, keep_until: datetime) -> None:
        """Append one message. Raises SpoolFull."""
        with self._lock:
            # SQLite would number them by itself, but note the last number in a second page of its log each time.
            row = (self._number + 1, keep_until.timestamp(), key, payload)
            try:
                with self._noting():
                    self._rows.execute(_INSERT, row)
            except sqlite3.Error as error:
                raise SpoolFull(str(error)) from error
            self._number += 1
            self._count += 1

    def after(self, number: int, limit: int) -> list[Waiting]:
        """The next messages behind a number, in order."""
        asked = "SELECT number, key, payload FROM waiting WHERE number > ? ORDER BY number LIMIT ?"
        with self._lock, self._noting():
            return [Waiting(*row) for row in self._rows.execute(asked, (number, limit))]

    def get(self, number: int) -> Waiting | None:
        """One message, if it still waits."""
        with self._lock, self._noting():
            row = self._rows.execute("SELECT number, key, payload FROM waiting WHERE number = ?", (number,)).fetchone()
        return Waiting(*row) if row else None

    def settle(self, numbers: Sequence[int]) -> None:
        """Forget messages that Kafka has."""
        for start in range(0, len(numbers), SETTLED_AT_ONCE):
            some = numbers[start : start + SETTLED_AT_ONCE]
            marks = ",".join("?" * len(some))
            self._delete(f"DELETE FROM waiting WHERE number IN ({marks})", some)

    def forget_before(self, moment: datetime) -> int:
        """Forget messages that are of no use any more; returns how many there were."""
        return self._delete("DELETE FROM waiting WHERE keep_until < ?", (moment.timestamp(),))

    def checkpoint(self) -> None:
        """Move what was written from SQLite's log into its table, while others go on."""
        with self._noting():
            self._checkpoints.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def begin_anew(self) -> None:
        """Put a broken file aside and go on in a new one; numbers go on too: Kafka may still acknowledge old ones.

        Raises sqlite3.Error or OSError when the disk does not take a new file either.
        """
        with self._lock:
            self._checkpoints.close()
            self._rows.close()
            _set_aside(self._path, self.broken)
            self._rows, self._checkpoints = _open(self._path), _connect(self._path)
            self._count, self.broken = 0, ""

    def close(self) -> None:
        """Let another process have the file."""
        with self._lock:
            self._checkpoints.close()
            self._rows.close()
            self._held.close()

    def _delete(self, statement: str, values: Sequence[float]) -> int:
        with self._lock, self._noting():
            deleted = self._rows.execute(statement, values).rowcount
            self._count -= deleted
        return deleted

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note that the file is broken when SQLite says so; what is full or busy now is an OperationalError."""
        try:
            yield
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self.broken = self.broken or str(error)
            raise


def _hold(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.open("w")
    except OSError as error:
        raise ConfigurationError(f"Quotes can't be kept in {path.parent}: {error.strerror}.") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        raise ConfigurationError(
            f"Another price API journals in {path.parent}: give this one an IBOOK_WORKER_NAME of its own."
        ) from error
    return held


def _open_or_begin_anew(path: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        _set_aside(path, str(error))
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    rows = _connect(path)
    try:
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("PRAGMA wal_autocheckpoint = 0")  # a request would wait for it
        rows.execute(_TABLE)
        [state] = rows.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
    except sqlite3.DatabaseError:
        rows.close()
        raise
    return rows


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _set_aside(path: Path, reason: str) -> None:
    """A file that can't be read is kept for people to look at; quotes go on in a new one."""
    log.error("the quotes on disk can't be read and were put aside", path=str(path), reason=reason)
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(part.with_name(f"{part.name}.broken"))
