"""Kafka's jars, resolved from their Maven coordinates once per user and kept in the user's cache."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ibook.errors import ConfigurationError
from infra.local.processes import disk_errors

KAFKA_VERSION = "4.3.1"
_KAFKA = f"org.apache.kafka:kafka_2.13:jar:{KAFKA_VERSION}:compile"
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:jar:2.25.4:runtime"
"""What binds Kafka's slf4j to log4j; its distribution ships it, its pom does not ask for it."""
_HTTP_SECONDS = 60
_ATTEMPTS = 3


def user_cache() -> Path:
    """Downloads shared by all checkouts of this user: `$XDG_CACHE_HOME/ibook`, `~/.cache/ibook`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ibook"


def kafka_jars(cache: Path | None = None) -> Path:
    """The folder that holds Kafka's jars, downloaded (46 MB) when it is not there yet.

    Raises ConfigurationError when the download fails. Safe when several processes ask at once.
    """
    folder = (cache or user_cache()) / f"kafka-{KAFKA_VERSION}"
    if folder.is_dir():
        return folder
    with disk_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(folder.with_name(folder.name + ".lock")):
            if not folder.is_dir():
                _download(folder)
    return folder


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(folder: Path) -> None:
    """Fill a folder beside the final one and rename it at the end, so that a half download is never used."""
    staging = folder.with_name(folder.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    jars = staging / "jars"
    jars.mkdir(parents=True)
    for path in _resolve(staging / "repository"):
        shutil.move(path, jars / path.name)
    jars.rename(folder)
    shutil.rmtree(staging)


def _resolve(repository: Path) -> list[Path]:
    import requests

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _resolve_once(repository)
        except (requests.RequestException, RuntimeError) as error:  # jgo raises RuntimeError for "not found"
            shutil.rmtree(repository, ignore_errors=True)  # jgo takes a half-written jar for a whole one
            if attempt == _ATTEMPTS:
                raise ConfigurationError(
                    f"Kafka {KAFKA_VERSION} could not be downloaded ({_reason(error)}): "
                    "check the network, or set IBOOK_KAFKA_BOOTSTRAP to use a running Kafka."
                ) from error
    raise AssertionError("unreachable")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _resolve_once(repository: Path) -> list[Path]:
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    remotes = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}  # the user's mirrors, if any
    context = MavenContext(repo_cache=repository, remote_repos=remotes, timeout=_HTTP_SECONDS)

    # Resolved apart: together, log4j's bill of materials would overrule the versions Kafka was built with.
    kafka, more = context.resolver.resolve([context.create_dependency(_KAFKA)])
    logging, _ = context.resolver.resolve([context.create_dependency(_LOGGING)], transitive=False)
    wanted = [*kafka, *logging, *(one for one in more if one.scope in ("compile", "runtime"))]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda one: Path(one.artifact.resolve()), wanted))
