"""Workers that tests start: one that a busy machine stopped is started again, as a supervisor would, and no other."""

import inspect
from pathlib import Path

import pytest

from ibook.settings import Settings
from streams.leaving import Watchdog
from tests.workers import STOOD_STILL, WorkerProcess, wait_until


def tiny(manner: str, folder: Path) -> WorkerProcess:
    worker = WorkerProcess("tiny", Settings(data_dir=folder))
    worker.arguments = ["tests.tiny_worker", manner]
    return worker


def starts(worker: WorkerProcess) -> int:
    return worker.log.read_text().count("worker uses")


def test_one_that_stood_still_is_started_again(tmp_path: Path) -> None:
    worker = tiny("frozen", tmp_path).start()
    wait_until(lambda: starts(worker) == 2, 20, "its second start")
    assert worker.alive()
    assert worker.stop() == -15
    assert starts(worker) == 2


def test_one_that_breaks_is_shown_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the reason it broke"):
        tiny("broken", tmp_path).start()


def test_a_worker_says_that_it_stood_still_in_these_words() -> None:
    assert f'leave("{STOOD_STILL}"' in inspect.getsource(Watchdog.check)
