"""Quotes on disk: in order, bounded by nothing but the disk, whole after a kill -9, one process at a time."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ibook.errors import ConfigurationError
from serving.spool import Spool, SpoolFull

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "journal-1.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    opened = Spool(path)
    yield opened
    opened.close()


def fill(spool: Spool, n: int, keep_until: datetime = LATER) -> None:
    for number in range(n):
        spool.add(b"key-%d" % number, b"payload-%d" % number, keep_until)


def test_what_waits_is_read_in_order_and_leaves_when_it_is_settled(spool: Spool) -> None:
    fill(spool, 500)
    first = spool.after(0, 300)
    assert [message.key for message in first] == [b"key-%d" % number for number in range(300)]
    spool.settle([message.number for message in first])
    assert len(spool) == 200
    assert spool.after(0, 1)[0].payload == b"payload-300"
    assert spool.get(first[0].number) is None


def test_numbers_are_never_used_again(spool: Spool) -> None:
    fill(spool, 3)
    last = spool.after(0, 10)[-1].number
    spool.settle([message.number for message in spool.after(0, 10)])
    fill(spool, 1)
    assert spool.after(0, 10)[0].number == last + 1


def test_what_nobody_waits_for_is_forgotten(spool: Spool) -> None:
    fill(spool, 2, keep_until=NOW - timedelta(seconds=1))
    fill(spool, 3)
    assert spool.forget_before(NOW) == 2
    assert len(spool) == 3


def test_a_kill_loses_nothing_that_was_added(path: Path) -> None:
    script = (
        "import os, sys; from tests.unit.test_spool import *\n"
        "spool = Spool(Path(sys.argv[1])); fill(spool, 1000); spool.checkpoint(); fill(spool, 234)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    left = Spool(path)
    assert len(left) == 1234
    assert [message.key for message in left.after(1000, 1000)] == [b"key-%d" % number for number in range(234)]
    left.close()


def test_a_second_process_is_refused_and_may_come_when_the_first_has_gone(spool: Spool, path: Path) -> None:
    with pytest.raises(ConfigurationError, match="IBOOK_WORKER_NAME"):
        Spool(path)
    spool.close()
    Spool(path).close()


@pytest.mark.parametrize("harm", ["nonsense", "torn"])
def test_a_file_that_cant_be_read_is_put_aside_and_a_new_one_goes_on(path: Path, harm: str) -> None:
    whole = Spool(path)
    fill(whole, 2000)
    whole.checkpoint()
    whole.close()
    content = path.read_bytes()
    path.write_bytes(b"nonsense" * 1000 if harm == "nonsense" else content[: len(content) // 2])
    opened = Spool(path)
    fill(opened, 1)
    assert len(opened) == 1
    assert path.with_name("journal-1.db.broken").exists()
    opened.close()


def break_under(path: Path) -> None:
    """Let a file that is in use point at pages it does not have."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA writable_schema = ON")
    other.execute("UPDATE sqlite_master SET rootpage = 99999")
    other.execute("PRAGMA schema_version = 77")
    other.close()


def test_a_file_that_breaks_in_use_refuses_messages_until_it_is_begun_anew(spool: Spool, path: Path) -> None:
    fill(spool, 3)
    break_under(path)
    with pytest.raises(SpoolFull, match="malformed"):
        fill(spool, 1)
    assert "malformed" in spool.broken
    spool.begin_anew()
    assert (spool.broken, len(spool)) == ("", 0)
    fill(spool, 1)
    assert [message.number for message in spool.after(0, 10)] == [4]
    assert path.with_name("journal-1.db.broken").exists()


def test_a_break_is_noticed_by_reading_too(spool: Spool, path: Path) -> None:
    fill(spool, 3)
    break_under(path)
    with pytest.raises(sqlite3.DatabaseError):
        spool.after(0, 10)
    assert "malformed" in spool.broken
