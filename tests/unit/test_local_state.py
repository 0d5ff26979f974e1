"""What a child process is told of our settings, and which folders are ours to empty."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from ibook.errors import ConfigurationError
from ibook.settings import Settings, load_settings
from infra.local.state import KEPT, empty_data_dir, environment, mark_data_dir


@pytest.mark.parametrize("changes", [{}, {"partitions": 3, "quote_secret": SecretStr("s" * 40), "seed": 9}])
def test_a_child_reads_the_very_settings_it_was_started_with(
    changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path).model_copy(update=changes)
    told = environment(settings)
    for name in [name for name in os.environ if name.startswith("IBOOK_")]:
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def begin_anew(folder: Path) -> None:
    mark_data_dir(folder)
    (folder / "run").mkdir(exist_ok=True)
    empty_data_dir(folder, KEPT)


def test_a_folder_that_only_a_measurement_has_used_is_ours_and_its_results_stay(tmp_path: Path) -> None:
    for name in ("bench", "models", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "bench" / "result.json").touch()
    begin_anew(tmp_path)
    (tmp_path / "kafka").mkdir()
    begin_anew(tmp_path)
    assert (tmp_path / "bench" / "result.json").exists()
    assert not (tmp_path / "kafka").exists()


@pytest.mark.parametrize("name", ["thesis.txt", "kafka", "archive"])
def test_a_folder_with_anything_else_in_it_is_somebody_elses(tmp_path: Path, name: str) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError, match="holds files that ibook did not make"):
        begin_anew(tmp_path)
    assert (tmp_path / name).exists()
