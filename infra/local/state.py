"""What other processes may know of a running platform: `<data_dir>/run/platform.json`, and the lock that proves it."""

import fcntl
import json
import os
import shlex
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import get_ident
from typing import IO

from pydantic import SecretStr

from ibook.edges.running_platform import holder, lock_file, notes_file, run_dir
from ibook.errors import ConfigurationError
from ibook.settings import Settings, load_settings
from infra.local.processes import disk_errors, wait_until

_MARK = ".made-by-ibook"
KEPT = ("models", "demo", "bench")
"""What stays in a data folder that is begun anew: models, and folders of their own that are like it."""
_LOCK_SECONDS = 0.5
"""Somebody who only looks holds the lock for an instant."""


@dataclass(kw_only=True)
class PartState:
    """One process of the platform."""

    state: str
    """`ready`, `starting` or `down`."""
    pid: int | None
    restarts: int
    log: str
    metrics_url: str = ""


@dataclass(kw_only=True)
class PlatformState:
    """Where a platform listens, and what runs for it."""

    supervisor: int
    """Process id."""
    kafka_bootstrap: str
    redis_url: str
    serving_port: int
    ready: bool = False
    ready_seconds: float = 0.0
    """How long the start took."""
    parts: dict[str, PartState] = field(default_factory=dict)

    @property
    def serving_url(self) -> str:
        """Where prices are asked for."""
        return f"http://127.0.0.1:{self.serving_port}"

    def listening(self) -> str:
        """One sentence: how long the start took, and where a client finds what."""
        redis = self.redis_url.rpartition("@")[2].removeprefix("redis://")  # it may hold a password
        return (
            f"Ready in {self.ready_seconds:.1f} s: Kafka on {self.kafka_bootstrap}, Redis on {redis}, "
            f"prices on {self.serving_url}."
        )


def write_state(data_dir: Path, state: PlatformState) -> None:
    """Replace the state in one step, so that a reader never sees half of it."""
    path = notes_file(data_dir)
    temporary = path.with_suffix(f".{get_ident()}.new")  # parts change state in several threads
    temporary.touch(mode=0o600)  # an address may hold a password
    temporary.write_text(json.dumps(asdict(state), indent=2))
    temporary.replace(path)


def read_state(data_dir: Path) -> PlatformState | None:
    """The last state written, whether its platform still runs or not; None when there is none that can be read."""
    try:
        found = json.loads(notes_file(data_dir).read_text())
        parts = {name: PartState(**part) for name, part in found.pop("parts").items()}
        return PlatformState(**found, parts=parts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def running_state(data_dir: Path) -> PlatformState | None:
    """The state of the platform that runs on this folder now; None when none does, or it has only just begun."""
    found = read_state(data_dir)
    return found if found is not None and found.supervisor == holder(data_dir) else None


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold the folder for one platform; released when the process ends, however it ends.

    Raises ConfigurationError when another platform holds it.
    """
    with disk_errors(data_dir):
        lock_file(data_dir).parent.mkdir(parents=True, exist_ok=True)
        file = lock_file(data_dir).open("a+")
    with file:
        if not wait_until(lambda: _flock(file, fcntl.LOCK_EX), timeout_seconds=_LOCK_SECONDS):
            option = _option(data_dir)
            raise ConfigurationError(
                f"A platform already runs on {data_dir} (process {holder(data_dir)}): "
                f"`ibook status{option}` shows it, `ibook down{option}` ends it."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _option(data_dir: Path) -> str:
    """What makes a command look at this folder; nothing where it looks anyway. A demo's lies inside the usual one."""
    usual = load_settings().data_dir.absolute()
    return "" if data_dir.absolute() == usual else f" --data-dir {shlex.quote(str(data_dir))}"


def _flock(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def mark_data_dir(data_dir: Path, keep: Collection[str] = KEPT) -> None:
    """Make the folder, and mark it as ours when it holds nothing yet, but maybe what is kept whatever happens.

    A measurement or a training makes `bench` or `models` in it before any platform does. Raises ConfigurationError.
    """
    with disk_errors(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        if all(path.name in ("run", *keep) for path in data_dir.iterdir()):
            (data_dir / _MARK).touch()


def empty_data_dir(data_dir: Path, keep: tuple[str, ...]) -> None:
    """Delete everything in the folder but what is named, and the lock.

    Raises ConfigurationError when the folder was not made by us: nobody's files are deleted by a wrong setting.
    """
    if not (data_dir / _MARK).exists():
        raise ConfigurationError(
            f"The folder {data_dir} holds files that ibook did not make: empty it or name another."
        )
    for path in data_dir.iterdir():
        if path.name in (_MARK, "run", *keep):
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in run_dir(data_dir).iterdir():
        if path.name != "lock":
            path.unlink()


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting spelt out, for a child that must see the same settings.

    What is None is left out: a variable can't say it.
    """
    outside = {name: value for name, value in os.environ.items() if not name.startswith("IBOOK_")}
    ours = {f"IBOOK_{name.upper()}": _text(_plain(value)) for name, value in settings if value is not None}
    return outside | ours


def _plain(value: object) -> object:
    """The value as JSON has it, secrets told."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value.absolute())
        case tuple() | list():
            return [_plain(one) for one in value]
        case _:
            return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
