"""Where the platform of a data folder listens, for commands that did not start it: what it noted, and what proves it.

The launcher writes `<data_dir>/run/platform.json` and holds a lock beside it for as long as it lives.
"""

import fcntl
from pathlib import Path

import msgspec

from ibook.settings import Settings


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the launcher's notes that clients need; `supervisor` is its process id."""

    supervisor: int
    kafka_bootstrap: str
    redis_url: str
    serving_port: int


def run_dir(data_dir: Path) -> Path:
    """The folder of what only means something while the platform runs."""
    return data_dir / "run"


def notes_file(data_dir: Path) -> Path:
    """The launcher's notes."""
    return run_dir(data_dir) / "platform.json"


def lock_file(data_dir: Path) -> Path:
    """Locked while a platform runs; it holds the launcher's process id."""
    return run_dir(data_dir) / "lock"


def holder(data_dir: Path) -> int | None:
    """Process id of the platform that holds this folder, or None."""
    try:
        with lock_file(data_dir).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0)
    except FileNotFoundError:
        pass
    return None


def addresses(data_dir: Path) -> Addresses | None:
    """Where the platform listens that runs on this folder now; None when none does, or it has only just begun."""
    try:
        found = msgspec.json.decode(notes_file(data_dir).read_bytes(), type=Addresses)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.supervisor == holder(data_dir) else None


def pointed_at_running(settings: Settings) -> Settings:
    """The settings, pointed at the platform on their folder for every address that nobody has named.

    Unchanged when none runs there.
    """
    found = addresses(settings.data_dir)
    if found is None:
        return settings
    listening = {
        "kafka_bootstrap": found.kafka_bootstrap, "redis_url": found.redis_url, "serving_port": found.serving_port,
    }  # fmt: skip
    unnamed = {name: value for name, value in listening.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=unnamed)
