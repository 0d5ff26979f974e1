"""The data a command looks at: of a platform that runs, or kept by one that has stopped."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from cli.settings import settings_for, settings_of_running
from ibook.errors import ConfigurationError

if TYPE_CHECKING:
    from ibook.settings import Settings


class Reached(NamedTuple):
    """Settings that point at the data, and whether the workers run."""

    settings: "Settings"
    live: bool
    own_redis: bool = False
    """Whether Redis was started for the command, empty."""


INTERRUPTED = 130


@contextmanager
def reached_data(data_dir: Path | None, *, with_redis: bool = False) -> Iterator[Reached]:
    """`kept_data` for a command: an interruption stops what was started for it, and ends the command."""
    from infra.local.processes import interrupt_on_signals

    interrupt_on_signals()
    try:
        with kept_data(data_dir, with_redis=with_redis) as reached:
            yield reached
    except KeyboardInterrupt:
        print("Stopped before its end; nothing is left running.", flush=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def kept_data(data_dir: Path | None, *, with_redis: bool = False) -> Iterator[Reached]:
    """The platform that runs on the folder, or its demo's; else the data kept there last, with a Kafka of its own.

    With IBOOK_KAFKA_BOOTSTRAP set, that cluster. With `with_redis` a Redis is started too, unless the settings name
    one: the platform's own keeps nothing on disk. All is stopped again at the end. Raises ConfigurationError when there
    is no data.
    """
    from infra.local.kafka import LocalKafka
    from infra.local.redis import LocalRedis
    from infra.local.state import exclusive, running_state

    base = settings_for(data_dir)
    folders = (base.data_dir, base.data_dir / "demo")
    for folder in folders:
        if running_state(folder) is not None:
            yield Reached(settings_of_running(folder), live=True)
            return
    if "kafka_bootstrap" in base.model_fields_set:
        yield Reached(base, live=True)
        return
    folder = _kept_last(folders)
    with exclusive(folder), ExitStack() as stack:
        kafka = LocalKafka(folder)
        stack.callback(kafka.start().stop)
        addresses = {"data_dir": folder, "kafka_bootstrap": kafka.bootstrap}
        own_redis = with_redis and "redis_url" not in base.model_fields_set
        if own_redis:
            redis = LocalRedis(folder)
            stack.callback(redis.start().stop)
            addresses["redis_url"] = redis.url
        yield Reached(base.model_copy(update=addresses), live=False, own_redis=own_redis)


def _kept_last(folders: tuple[Path, ...]) -> Path:
    kept = [folder for folder in folders if (folder / "kafka" / "data" / "meta.properties").exists()]
    if not kept:
        raise ConfigurationError(f"No platform runs on {folders[0]}, and it keeps no data: run `ibook demo` first.")
    return max(kept, key=_last_used)


def _last_used(folder: Path) -> float:
    from ibook.edges.running_platform import notes_file

    noted = notes_file(folder)
    return (noted if noted.exists() else folder).stat().st_mtime


def archive_folder(data_dir: Path | None) -> "Settings":
    """Settings whose folder has an archive: the named one, or its demo's, whichever is used or was used last.

    Raises ConfigurationError.
    """
    from infra.local.state import running_state

    base = settings_for(data_dir)
    folders = [folder for folder in (base.data_dir, base.data_dir / "demo") if (folder / "archive").exists()]
    if not folders:
        raise ConfigurationError(f"There is no archive in {base.data_dir}: `updates-to-archive` writes it.")
    running = [folder for folder in folders if running_state(folder) is not None]
    return base.model_copy(update={"data_dir": max(running or folders, key=_last_used)})
