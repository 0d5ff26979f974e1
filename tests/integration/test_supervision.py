"""`ibook up` and friends, with small real worker processes: what is started ends, however its parent ends."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from cli.main import app
from ibook.edges.kafka_admin import apply_topics
from ibook.edges.running_platform import holder
from ibook.errors import ConfigurationError
from ibook.settings import Settings
from infra.local import state
from infra.local.backends import Parts
from infra.local.processes import wait_until
from infra.local.running import Platform, running_platform
from infra.local.workers import Worker

UP = """
import sys
from cli import up
from infra.local import running, workers
tiny = tuple(workers.Worker(name=name, arguments=("tests.tiny_worker", manner)) for name, manner in {named})
whole = running.running_platform
running.running_platform = lambda *a, **k: whole(*a, **k, workers=tiny, prepare=False)
from cli.main import main
sys.argv = ["ibook", *{arguments}]
main()
"""
"""`ibook …` as its users run it, but with tiny workers; Kafka and Redis are whatever the environment names."""


def tiny(name: str, manner: str = "obedient") -> Worker:
    return Worker(name=name, arguments=("tests.tiny_worker", manner))


def environment(parts: Parts) -> dict[str, str]:
    ours = {"IBOOK_KAFKA_BOOTSTRAP": parts.kafka_bootstrap, "IBOOK_REDIS_URL": parts.redis_url}
    return {name: value for name, value in os.environ.items() if not name.startswith("IBOOK_")} | ours


def ibook(parts: Parts, *arguments: str, workers: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    named = list((workers or {"one": "obedient", "two": "obedient"}).items())
    program = UP.format(named=named, arguments=list(arguments))
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(parts),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_until(process: "subprocess.Popen[str]", sign: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if sign in line:
            return lines
    pytest.fail(f"it ended without saying {sign!r}: {lines} {process.stderr and process.stderr.read()}")


@pytest.fixture(scope="module")
def platform(
    parts: Parts, wipe: Callable[[Settings], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """On empty topics: nobody answers here what other tests have published."""
    settings = parts.settings(Settings(data_dir=tmp_path_factory.mktemp("platform")))
    wipe(settings)
    with running_platform(settings, workers=(tiny("one"), tiny("two")), prepare=False) as running:
        yield running


def test_a_killed_worker_is_started_again(platform: Platform) -> None:
    first = platform.pid("one")
    assert first is not None
    before = platform.restarts("one")
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: platform.restarts("one") > before, timeout_seconds=150)
    platform.wait_ready(timeout_seconds=150)
    assert platform.pid("one") not in (first, None)


def test_a_worker_is_restarted_in_order(platform: Platform) -> None:
    first, before = platform.pid("two"), platform.restarts("two")
    platform.restart("two", timeout_seconds=150)
    assert platform.pid("two") not in (first, None)
    assert platform.restarts("two") == before


def test_workers_get_the_settings_of_their_platform(platform: Platform) -> None:
    line = f"obedient worker uses {platform.settings.kafka_bootstrap}"
    assert line in platform.log("one").read_text()
    assert platform.env["IBOOK_SERVING_PORT"] == str(platform.settings.serving_port)


def test_others_can_see_what_runs(platform: Platform) -> None:
    found = state.running_state(platform.settings.data_dir)
    assert found is not None
    assert found.supervisor == os.getpid()
    assert found.kafka_bootstrap == platform.settings.kafka_bootstrap
    assert found.parts["one"].pid == platform.pid("one")

    apply_topics(platform.settings)
    shown = CliRunner().invoke(app, ["status", "--data-dir", str(platform.settings.data_dir)])
    assert shown.exit_code == 0
    assert "Ready in " in shown.stdout
    assert "Purchases that wait longer than 10 s for a verdict: 0." in shown.stdout
    assert str(platform.pid("one")) in shown.stdout


def test_a_second_platform_on_the_same_folder_is_refused(platform: Platform) -> None:
    with (
        pytest.raises(ConfigurationError, match=rf"A platform already runs on .* \(process {os.getpid()}\): "),
        running_platform(platform.settings, workers=(), prepare=False),
    ):
        pass


@pytest.mark.parametrize("inside", ["", "demo", "a folder"])
def test_who_runs_already_is_named_by_commands_that_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    monkeypatch.setenv("IBOOK_DATA_DIR", str(tmp_path))
    folder = tmp_path / inside
    with state.exclusive(folder):
        state.write_state(folder, state.PlatformState(supervisor=os.getpid(), kafka_bootstrap="k", redis_url="r",
                                                      serving_port=1))  # fmt: skip
        with pytest.raises(ConfigurationError) as refused, state.exclusive(folder):
            pass
        shown, ends = str(refused.value).split("`")[1::2]
        assert ends == shown.replace("status", "down")
        assert (ends == "ibook down") == (not inside)
        assert "Nothing runs" not in CliRunner().invoke(app, shlex.split(shown)[1:]).stdout


def test_logs_show_one_part_or_all(platform: Platform) -> None:
    folder = ["--data-dir", str(platform.settings.data_dir)]
    one = CliRunner().invoke(app, ["logs", "one", "-n", "1", *folder])
    assert one.stdout.startswith("obedient worker uses ")
    both = CliRunner().invoke(app, ["logs", *folder])
    assert "one | obedient worker" in both.stdout
    assert "two | obedient worker" in both.stdout
    unknown = CliRunner().invoke(app, ["logs", "three", *folder])
    assert str(unknown.exception) == "There is no log of 'three'; there are: one, two."


def test_a_worker_that_breaks_ends_the_start_and_everything_with_it(parts: Parts, tmp_path: Path) -> None:
    settings = parts.settings(Settings(data_dir=tmp_path))
    before = set(psutil.Process().children())
    with (
        pytest.raises(ConfigurationError, match=r"bad does not start: exit code 3, .*bad.log: the reason it broke"),
        running_platform(settings, workers=(tiny("good"), tiny("bad", "broken")), prepare=False),
    ):
        pass
    assert set(psutil.Process().children()) == before
    assert holder(tmp_path) is None


def test_a_serving_port_that_is_named_and_taken_is_one_sentence(parts: Parts, tmp_path: Path) -> None:
    taken = int(parts.kafka_bootstrap.rpartition(":")[2])
    settings = parts.settings(Settings(data_dir=tmp_path, serving_port=taken))
    with (
        pytest.raises(ConfigurationError, match=f"Serving can't listen on 127.0.0.1:{taken}: the port is in use"),
        running_platform(settings, workers=(), prepare=False),
    ):
        pass


def test_ports_stay_the_same_from_one_start_to_the_next(parts: Parts, tmp_path: Path) -> None:
    settings = parts.settings(Settings(data_dir=tmp_path))
    ports = []
    for _ in range(2):
        with running_platform(settings, workers=(), prepare=False) as running:
            ports.append(running.settings.serving_port)
    assert ports[0] == ports[1]


def test_fresh_begins_on_empty_data_but_keeps_models(parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    settings = parts.settings(Settings(data_dir=folder))
    with running_platform(settings, workers=(), prepare=False):
        (folder / "models").mkdir()
        (folder / "tables").mkdir()
    with running_platform(settings, workers=(), prepare=False, fresh=True):
        assert (folder / "models").exists()
        assert not (folder / "tables").exists()


def test_fresh_never_empties_a_folder_of_somebody_else(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    settings = parts.settings(Settings(data_dir=tmp_path))
    with (
        pytest.raises(ConfigurationError, match="holds files that ibook did not make"),
        running_platform(settings, workers=(), prepare=False, fresh=True),
    ):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_supervisor(parts: Parts, tmp_path: Path, number: signal.Signals) -> None:
    manners = {"one": "obedient", "two": "stubborn"} if number == signal.SIGKILL else None
    with ibook(parts, "up", "--data-dir", str(tmp_path), workers=manners) as supervisor:
        read_until(supervisor, "Ready in ")
        children = psutil.Process(supervisor.pid).children(recursive=True)
        assert len(children) == 2
        supervisor.send_signal(number)
        assert supervisor.wait(120) == (-9 if number == signal.SIGKILL else 0)
        _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    assert holder(tmp_path) is None


def test_the_whole_of_it_dies_with_its_supervisor_kafka_and_redis_too(tmp_path: Path) -> None:
    program = UP.format(named=[("one", "obedient")], arguments=["up", "--data-dir", str(tmp_path)])
    env = {name: value for name, value in os.environ.items() if not name.startswith("IBOOK_")}
    with subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True) as supervisor:
        read_until(supervisor, "Ready in ")
        children = psutil.Process(supervisor.pid).children(recursive=True)
        assert {"java", "redis-server"} < {child.name() for child in children}
        supervisor.kill()
        _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_detached_returns_when_ready_and_down_ends_it(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.local.detached import start_detached, stop_running

    settings = Settings(data_dir=tmp_path)
    program = UP.format(named=[("one", "obedient")], arguments=["up", "--data-dir", str(tmp_path)])
    said: list[str] = []
    for name, value in environment(parts).items():
        monkeypatch.setenv(name, value)
    start_detached(settings, [sys.executable, "-c", program], say=said.append)
    assert said[-1].startswith("Ready in ")
    found = state.running_state(tmp_path)
    assert found is not None
    children = psutil.Process(found.supervisor).children(recursive=True)
    again = CliRunner().invoke(app, ["down", "--data-dir", str(tmp_path)])
    assert again.exit_code == 0
    assert again.stdout.startswith("Stopped in ")
    assert not psutil.wait_procs(children, timeout=60)[1]
    assert not stop_running(tmp_path, timeout_seconds=1)


def test_a_detached_start_that_fails_says_why(parts: Parts, tmp_path: Path, platform: Platform) -> None:
    with ibook(parts, "up", "--detach", "--data-dir", str(platform.settings.data_dir)) as second:
        _, told = second.communicate(timeout=120)
    assert second.returncode == 2
    assert told.startswith("A platform already runs on ")
    assert len(told.splitlines()) == 1
