"""Which data a command looks at."""

import os
from pathlib import Path

import pytest

from cli import kept
from ibook.errors import ConfigurationError


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("IBOOK_")]:
        monkeypatch.delenv(name)


def keep(folder: Path, used_at: int) -> Path:
    """Data of a platform that stopped at some time."""
    (folder / "kafka" / "data").mkdir(parents=True)
    (folder / "kafka" / "data" / "meta.properties").touch()
    (folder / "archive").mkdir()
    (folder / "run").mkdir()
    (folder / "run" / "platform.json").touch()
    os.utime(folder / "run" / "platform.json", (used_at, used_at))
    return folder


def test_without_any_data_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="run `ibook demo` first"), kept.kept_data(tmp_path):
        pass
    with pytest.raises(ConfigurationError, match="no archive"):
        kept.archive_folder(tmp_path)


@pytest.mark.parametrize(("demo_used_at", "chosen"), [(300, "demo"), (100, ".")])
def test_the_data_used_last_is_looked_at(tmp_path: Path, demo_used_at: int, chosen: str) -> None:
    keep(tmp_path, used_at=200)
    keep(tmp_path / "demo", used_at=demo_used_at)
    assert kept.archive_folder(tmp_path).data_dir == (tmp_path / chosen).absolute()


def test_a_named_cluster_is_looked_at_as_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBOOK_KAFKA_BOOTSTRAP", "kafka.example:9092")
    with kept.kept_data(tmp_path) as reached:
        assert (reached.settings.kafka_bootstrap, reached.live) == ("kafka.example:9092", True)
