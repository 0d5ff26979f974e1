"""The settings of a command: the environment, the command line, the platform that runs here, and who asks."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from ibook.settings import Settings, load_settings

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the platform keeps its data [default: IBOOK_DATA_DIR, .ibook].")
]
By = Annotated[str, typer.Option("--by", help="Who does it [default: the user of this machine].")]


def settings_for(data_dir: Path | None = None) -> Settings:
    """What the environment says, with the folder of the command line. Raises ConfigurationError."""
    settings = load_settings()
    folder = settings.data_dir if data_dir is None else data_dir
    return settings.model_copy(update={"data_dir": folder.absolute()})


def settings_of_running(data_dir: Path | None = None) -> Settings:
    """The same, pointed at the platform that runs on this folder, for every address the environment does not name."""
    from ibook.edges.running_platform import pointed_at_running

    return pointed_at_running(settings_for(data_dir))


def person() -> str:
    """Who runs the command, for timelines; `unknown` for a container's user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
