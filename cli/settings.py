"""The settings of a command: the environment, the command line, and the platform that runs here."""

from pathlib import Path
from typing import Annotated

import typer

from ibook.settings import Settings, load_settings

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the platform keeps its data [default: IBOOK_DATA_DIR, .ibook].")
]


def settings_for(data_dir: Path | None = None) -> Settings:
    """What the environment says, with the folder of the command line. Raises ConfigurationError."""
    settings = load_settings()
    folder = settings.data_dir if data_dir is None else data_dir
    return settings.model_copy(update={"data_dir": folder.absolute()})


def settings_of_running(data_dir: Path | None = None) -> Settings:
    """The same, pointed at the platform that runs on this folder, for every address the environment does not name."""
    from infra.local.state import running_state

    settings = settings_for(data_dir)
    state = running_state(settings.data_dir)
    if state is None:
        return settings
    found = {
        "kafka_bootstrap": state.kafka_bootstrap,
        "redis_url": state.redis_url,
        "serving_port": state.serving_port,
    }
    unnamed = {name: value for name, value in found.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=unnamed)
