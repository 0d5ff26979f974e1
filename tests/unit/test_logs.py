"""Logs that stay bounded while somebody writes and somebody reads."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest

from infra.local import logs, processes
from infra.local.logs import LogTail, put_aside
from infra.local.processes import wait_until
from infra.local.supervisor import Supervisor, Task


def test_a_log_that_is_not_large_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one.log").write_text("small\n")
    assert not put_aside(tmp_path / "one.log", 6)
    assert not put_aside(tmp_path / "none.log", 6)
    assert (tmp_path / "one.log").read_text() == "small\n"


def test_a_large_log_is_put_aside_and_its_writer_goes_on_from_the_beginning(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.with_name("one.log.1").write_text("older\n")
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a long line\n")
        assert put_aside(log, 6)
        writer.write(b"after\n")
    assert log.read_text() == "after\n"
    assert log.with_name("one.log.1").read_text() == "a long line\n"


def test_without_room_for_a_copy_the_log_is_emptied_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    (tmp_path / "one.log").write_text("a long line\n")
    assert put_aside(tmp_path / "one.log", 6)
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("one.log", 0)]


def test_a_tail_reads_on_across_a_log_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.write_text("first\n")
    tail = LogTail(log, 1)
    assert tail.new_lines() == ["first"]
    with log.open("a") as writer:
        writer.write("second\n")
    put_aside(log, 6)
    with log.open("a") as writer:
        writer.write("3\n")
    assert tail.new_lines() == ["second", "3"]
    assert tail.new_lines() == []


def test_the_supervisor_bounds_the_log_of_a_talkative_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LARGEST_BYTES", 20_000)
    program = "import time\nfor n in range(10**6):\n    print('x' * 500, n, flush=True); time.sleep(0.01)"
    log = tmp_path / "one.log"
    watcher = Supervisor(lambda sentence: None)
    one = Task("one", lambda: processes.start("one", [sys.executable, "-c", program], log=log), ready=lambda: True)
    watcher.add(one)
    assert one.child is not None
    put = log.with_name("one.log.1")
    sizes = []

    def rotated_often() -> bool:
        watcher.tick()
        size = log.stat().st_size
        sizes.append(size)
        return sum(after < before for before, after in pairwise(sizes)) >= 3

    assert wait_until(rotated_often, timeout_seconds=300)
    assert put.stat().st_size < 1_000_000
    assert max(sizes) < 1_000_000, "of what it said while the supervisor had to wait for the processor"
    assert wait_until(lambda: bool(one.child and one.child.lines()), timeout_seconds=120), "its lines are still found"
    watcher.stop()
