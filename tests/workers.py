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
END_SECONDS = 60.0
BUSY_MACHINE = 4
"""How many times as long as usual an effect is waited for: other tests run beside."""
FEATURE_READ_SECONDS = 30.0
"""How long the online store may take to answer: a busy machine's Redis is not away."""
STOOD_STILL = "the process stood still longer than half its session"
"""What a worker says that leaves because the machine gave it no time."""


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """What a child process needs to have the same settings."""
    own = {
        "IBOOK_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "IBOOK_REDIS_URL": settings.redis_url,
        "IBOOK_DATA_DIR": str(settings.data_dir),
        "IBOOK_PARTITIONS": str(settings.partitions),
        "IBOOK_FEATURE_READ_SECONDS": str(settings.feature_read_seconds),
        "IBOOK_SESSION_TIMEOUT_SECONDS": "6",
    }
    return {**os.environ, **own, **more}


class WorkerProcess:
    """`python -m streams NAME` as a process of its own.

    One that leaves because the machine gave it no time is started again, as its supervisor would.
    """

    def __init__(self, name: str, settings: Settings, **more: str) -> None:
        self.name = name
        self.arguments = ["streams", name]
        """What follows `python -m`."""
        self._settings = settings
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._is_over = threading.Event()
        self.log = settings.data_dir / f"{name}.log"

    def start(self) -> "WorkerProcess":
        """Start it and wait until it has its partitions."""
        self._starts += 1
        ready = self._settings.data_dir / f"{self.name}-{self._starts}.ready"
        ready.unlink(missing_ok=True)  # another one of this name may have been here
        self._is_over = threading.Event()
        self._launch(ready, self._is_over)
        wait_until(lambda: ready.exists() or not self.alive(), START_SECONDS, f"{self.name} to be ready")
        assert ready.exists(), self.log.read_text()[-3000:]
        return self

    def _launch(self, ready: Path, is_over: threading.Event) -> None:
        env = environment(self._settings, IBOOK_READY_FILE=str(ready), **self._more)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", *self.arguments]
            self._process = process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
            begin = log.tell()
        threading.Thread(target=self._look_after, args=(process, begin, ready, is_over), daemon=True).start()

    def _look_after(
        self, process: "subprocess.Popen[bytes]", begin: int, ready: Path, is_over: threading.Event
    ) -> None:
        if process.wait() == 1 and STOOD_STILL.encode() in self.log.read_bytes()[begin:] and not is_over.is_set():
            self._launch(ready, is_over)
            if is_over.is_set():  # meanwhile
                self.kill()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """A signal; who is told to stand still is not started again."""
        assert self._process is not None
        if number == signal.SIGSTOP:
            self._is_over.set()
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        assert self._process is not None
        self._is_over.set()
        self._process.kill()
        self._process.wait(END_SECONDS)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._is_over.set()
        self._process.terminate()
        try:
            return self._process.wait(END_SECONDS)
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
