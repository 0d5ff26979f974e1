"""A platform whose parts can be broken one by one, and which nobody but its own supervisor mends."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil

from ibook.edges.kafka_admin import apply_topics
from ibook.edges.running_platform import run_dir
from ibook.settings import Settings
from infra.local import processes
from infra.local.kafka import LocalKafka
from infra.local.redis import LocalRedis
from infra.local.running import Platform
from infra.local.workers import WORKERS, Worker
from tests.chaos.shop import Shop
from tests.workers import wait_until

VERDICTS = "purchases-to-verdicts"
VERDICT_PATH = ("activity-to-entities", "entities-to-features", VERDICTS, "updates-to-archive")
RESTART_SECONDS = 60.0


class ChaosPlatform:
    """Kafka, Redis and the workers of the verdict path, supervised as `ibook up` does."""

    def __init__(self, running: Platform, shop: Shop) -> None:
        self.shop = shop
        self._running = running
        self.settings = running.settings

    @property
    def names(self) -> Sequence[str]:
        """The workers."""
        return [name for name in self._running.names if name not in (LocalKafka.name, LocalRedis.name)]

    def send(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to a process and its children (SIGTERM is its own to pass on); False when it is down."""
        pid = self._running.pid(name)
        if pid is None:
            return False
        try:
            process = psutil.Process(pid)
            children = [] if number == signal.SIGTERM else process.children(recursive=True)
            for each in (process, *children):
                each.send_signal(number)
        except psutil.NoSuchProcess:
            return False
        return True

    def end(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a process that runs, and wait until the supervisor has it back and it is ready."""
        before = self._running.restarts(name)
        wait_until(lambda: self.send(name, how), RESTART_SECONDS, f"{name} to run")
        wait_until(lambda: self._running.restarts(name) > before, RESTART_SECONDS, f"{name} to be started again")
        self._running.wait_ready(name, timeout_seconds=RESTART_SECONDS)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A process stands still meanwhile."""
        wait_until(lambda: self.send(name, signal.SIGSTOP), RESTART_SECONDS, f"{name} to run")
        try:
            yield
        finally:
            self.send(name, signal.SIGCONT)

    def restarts(self) -> int:
        """How often anything was started again."""
        return sum(self._running.restarts(name) for name in self._running.names)

    def whole(self) -> bool:
        """Whether everything runs and is ready."""
        return all(part.state == "ready" for part in self._running.snapshot().parts.values())

    def log(self, name: str) -> list[str]:
        """A worker's log."""
        return self._running.log(name).read_text(errors="replace").splitlines()

    def forget_ends(self) -> None:
        """Let the supervisor start at once what ends next: each scenario stands for another night."""
        for task in self._running._supervisor.tasks.values():
            task.failures = 0


@contextmanager
def platform_on(
    settings: Settings, parts: Sequence[LocalKafka | LocalRedis] = (), workers: Sequence[Worker] | None = None
) -> Iterator[ChaosPlatform]:
    """These parts (none: they run already) and the workers of the verdict path, until the context ends."""
    run_dir(settings.data_dir).mkdir(parents=True, exist_ok=True)
    chosen = [worker for worker in WORKERS if worker.name in VERDICT_PATH] if workers is None else workers
    metrics = {worker.name: processes.free_port() for worker in chosen}
    with (settings.data_dir / "supervisor.txt").open("w") as said:
        running = Platform(settings, metrics, lambda sentence: print(sentence, file=said, flush=True))
        try:
            running.start_parts(parts)
            apply_topics(settings)
            running.start_workers(chosen)
            with Shop(settings) as shop:
                yield ChaosPlatform(running, shop)
        finally:
            running.stop()
