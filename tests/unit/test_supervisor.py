"""Starting again what ended: pauses that grow, failures that are told, a start that is given up."""

import sys
from pathlib import Path

import pytest

from ibook.errors import ConfigurationError
from infra.local import processes, supervisor
from infra.local.processes import Child, wait_until
from infra.local.supervisor import Supervisor, Task


class Said(list[str]):
    def __call__(self, sentence: str) -> None:
        self.append(sentence)


def task(name: str, tmp_path: Path, program: str) -> Task:
    def launch() -> Child:
        return processes.start(name, [sys.executable, "-c", program], log=tmp_path / f"{name}.log")

    return Task(name, launch, ready=lambda: True)


def tick_until(watcher: Supervisor, condition: object, seconds: float = 120.0) -> None:
    def holds() -> bool:
        watcher.tick()
        return bool(condition())  # type: ignore[operator]

    assert wait_until(holds, timeout_seconds=seconds)


def test_what_is_killed_starts_again_under_a_new_process_id(tmp_path: Path) -> None:
    watcher = Supervisor(said := Said())
    one = task("one", tmp_path, "import time; print('working', flush=True); time.sleep(600)")
    watcher.add(one)
    tick_until(watcher, lambda: one.is_ready and one.child and one.child.lines() == ["working"])
    assert one.child is not None
    first = one.child.pid
    one.child.kill()
    tick_until(watcher, lambda: one.is_ready and one.restarts == 1)
    assert one.child is not None
    assert one.child.pid != first
    assert said == [f"one ended (exit code -9, last line of {tmp_path}/one.log: working); it starts again in 0.5 s."]
    watcher.stop()


def test_pauses_grow_while_it_keeps_ending_and_shrink_after_a_long_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)
    watcher = Supervisor(said := Said())
    one = task("one", tmp_path, "raise SystemExit(7)")
    watcher.add(one)
    tick_until(watcher, lambda: len(said) >= 3)
    assert [sentence.split("again in ")[1] for sentence in said[:3]] == ["0.01 s.", "0.02 s.", "0.04 s."]
    monkeypatch.setattr(supervisor, "STEADY_SECONDS", 0.0)  # from now on every run counts as a long one
    said.clear()
    tick_until(watcher, lambda: len(said) >= 2)
    assert said[-1].endswith("again in 0.01 s.")
    watcher.stop()


def test_a_start_that_keeps_failing_is_given_up_with_the_last_line_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)
    watcher = Supervisor(Said())
    watcher.start()
    one = task("one", tmp_path, "raise SystemExit('no such setting')")
    one.ready = lambda: False
    watcher.add(one)
    with pytest.raises(ConfigurationError, match=r"one does not start: exit code 1, .*one.log: no such setting"):
        watcher.wait_ready(["one"], timeout_seconds=120)
    watcher.close()
    watcher.stop()


def test_one_that_never_gets_ready_is_named(tmp_path: Path) -> None:
    watcher = Supervisor(Said())
    one = task("one", tmp_path, "import time; time.sleep(600)")
    one.ready = lambda: False
    watcher.add(one)
    with pytest.raises(ConfigurationError, match=r"one is not ready after 0 s: see .*one.log"):
        watcher.wait_ready(["one"], timeout_seconds=0.2)
    watcher.stop()


def test_a_launch_that_raises_counts_as_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)

    def launch() -> Child:
        raise ConfigurationError("the port is in use")

    watcher = Supervisor(said := Said())
    watcher.add(Task("kafka", launch, ready=lambda: True))
    tick_until(watcher, lambda: len(said) >= 2)
    assert said[0] == "kafka ended (the port is in use); it starts again in 0.01 s."


def test_supervision_goes_on_after_an_unforeseen_error(tmp_path: Path) -> None:
    watcher = Supervisor(said := Said())
    one = task("one", tmp_path, "import time; time.sleep(600)")
    answers = iter([ZeroDivisionError("unforeseen"), None])

    def ready() -> bool:
        if error := next(answers):
            raise error
        return True

    one.ready = ready
    watcher.add(one)
    watcher.start()
    assert wait_until(lambda: one.is_ready, timeout_seconds=120)
    assert said == ["The supervisor goes on after an error: ZeroDivisionError('unforeseen')"]
    watcher.close()
    watcher.stop()


IGNORE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.mark.parametrize(
    ("begin", "grace_seconds", "exit_code"), [("", 300.0, -15), (IGNORE, 0.5, -9)], ids=["obedient", "stubborn"]
)
def test_stopping_ends_the_obedient_and_kills_the_stubborn(
    tmp_path: Path, begin: str, grace_seconds: float, exit_code: int
) -> None:
    watcher = Supervisor(Said())
    one = task("one", tmp_path, f"{begin}\nimport time; print('up', flush=True); time.sleep(600)")
    watcher.add(one)
    child = one.child
    assert child is not None
    assert wait_until(lambda: child.lines() == ["up"], timeout_seconds=120)
    watcher.stop(grace_seconds=grace_seconds)
    assert child.exit_code == exit_code
    assert watcher.tasks == {}
