"""What a child process is told of our settings."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from ibook.settings import Settings, load_settings
from infra.local.state import environment


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
