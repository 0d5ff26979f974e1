"""Real worker processes for tests: started, waited for, killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ibook.settings import Settings

START_SECONDS = 60.0
BUSY_MACHINE = 4
"""How many times as long as usual an effect is waited for: other tests run beside."""


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """What a child process needs to have the same settings."""
    own = {
        "IBOOK_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "IBOOK_REDIS_URL": settings.redis_url,
        "IBOOK_DATA_DIR": str(settings.data_dir),
        "IBOOK_PARTITIONS": str(settings.partitions),
        "IBOOK_SESSION_TIMEOUT_SECONDS": "6",
    }
    return {**os.environ, **own, **more}


class WorkerProcess:
    """`python -m streams NAME` as a process of its own."""

    def __init__(self, name: str, settings: Settings, **more: str) -> None:
        self.name = name
        self.arguments = ["streams", name]
        """What follows `python -m`."""
        self._settings = settings
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self.log = settings.data_dir / f"{name}.log"

    def start(self) -> "WorkerProcess":
        """Start it and wait until it has its partitions."""
        self._starts += 1
        ready = self._settings.data_dir / f"{self.name}-{self._starts}.ready"
        env = environment(self._settings, IBOOK_READY_FILE=str(ready), **self._more)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", *self.arguments]
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: ready.exists() or not self.alive(), START_SECONDS, f"{self.name} to be ready")
        assert self.alive(), self.log.read_text()[-3000:]
        return self

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


@contextmanager
def running_workers(settings: Settings, names: Sequence[str]) -> Iterator[dict[str, WorkerProcess]]:
    """Workers started together, by name; killed at the end."""
    running = {name: WorkerProcess(name, settings) for name in names}
    threads = [threading.Thread(target=worker.start) for worker in running.values()]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield running
    finally:
        for worker in running.values():
            worker.kill()


def wait_until(holds: Callable[[], bool], seconds: float, what: str | Callable[[], str]) -> None:
    """Wait for an effect that usually takes less than so many seconds; fail when it does not come, and say `what`."""
    deadline = time.monotonic() + BUSY_MACHINE * seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {BUSY_MACHINE * seconds} s for {what if isinstance(what, str) else what()}")
        time.sleep(0.02)


def log_of(path: Path) -> str:
    """A worker's log, for the message of a failing assertion."""
    return path.read_text(errors="replace")[-4000:]
