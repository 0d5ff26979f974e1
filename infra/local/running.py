"""The whole platform on one machine: started in order, supervised, stopped in order."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from ibook.edges.running_platform import run_dir
from ibook.settings import Settings
from infra.local import backends, jobs, processes, state
from infra.local.kafka import LocalKafka
from infra.local.ports import Ports, named_serving_port
from infra.local.processes import Child
from infra.local.redis import LocalRedis
from infra.local.state import PartState, PlatformState
from infra.local.supervisor import Supervisor, Task
from infra.local.workers import WORKERS, Worker

READY_SECONDS = 180.0
"""Longest the workers may take: on a cold disk the imports alone take a minute."""
_PARTS = (LocalKafka.name, LocalRedis.name)
Say = Callable[[str], None]


class Platform:
    """A running platform. `settings` point at it; `env` is the environment for processes that use it."""

    def __init__(self, settings: Settings, metrics: Mapping[str, int], say: Say) -> None:
        self.settings = settings
        self.ready_seconds = 0.0
        """How long the start took; 0 while it lasts."""
        self._metrics = metrics
        self._say = say
        self._supervisor = Supervisor(say, self._write_state)

    @property
    def env(self) -> dict[str, str]:
        """The environment, with every setting, for a child process."""
        return state.environment(self.settings)

    @property
    def serving_url(self) -> str:
        """Where prices are asked for."""
        return f"http://127.0.0.1:{self.settings.serving_port}"

    @property
    def names(self) -> list[str]:
        """Everything that is kept running: `kafka` and `redis` where they are ours, and the workers."""
        return list(self._supervisor.tasks)

    def pid(self, name: str) -> int | None:
        """Process id; None while it is down."""
        child = self._supervisor.tasks[name].child
        return child.pid if child is not None and child.alive else None

    def log(self, name: str) -> Path:
        """Its log file."""
        return self.settings.data_dir / "logs" / f"{name}.log"

    def restarts(self, name: str) -> int:
        """How often it was started again because it had ended."""
        return self._supervisor.tasks[name].restarts

    def metrics_url(self, name: str) -> str:
        """Where Prometheus finds the metrics of a worker."""
        return f"http://127.0.0.1:{self._metrics.get(name, self.settings.serving_port)}/metrics"

    def restart(self, name: str, *, timeout_seconds: float = READY_SECONDS) -> None:
        """End one in order, start it again, and wait until it is ready. Raises ConfigurationError."""
        self._supervisor.restart(name, timeout_seconds=timeout_seconds)

    def wait_ready(self, *names: str, timeout_seconds: float = READY_SECONDS) -> None:
        """Wait until these are ready, all by default. Raises ConfigurationError naming the first that is not."""
        self._supervisor.wait_ready(names or self.names, timeout_seconds=timeout_seconds)

    def stop(self) -> None:
        """End everything now, workers first. Leaving the context finds nothing to do then."""
        self._supervisor.close()
        self._supervisor.stop([name for name in self.names if name not in _PARTS])
        self._supervisor.stop()
        self._write_state()

    def snapshot(self) -> PlatformState:
        """What other processes may know of it."""
        return PlatformState(
            supervisor=os.getpid(),
            kafka_bootstrap=self.settings.kafka_bootstrap,
            redis_url=self.settings.redis_url,
            serving_port=self.settings.serving_port,
            ready=self.ready_seconds > 0,
            ready_seconds=self.ready_seconds,
            parts={task.name: self._part(task) for task in list(self._supervisor.tasks.values())},
        )

    def start_parts(self, parts: Sequence[LocalKafka | LocalRedis]) -> None:
        """Start Kafka and Redis, both at the same time."""
        self._say("Starting Kafka and Redis." if parts else "Kafka and Redis are there already.")
        with ThreadPoolExecutor(max(1, len(parts))) as pool:
            for part, child in zip(parts, pool.map(lambda part: part.start(), parts), strict=True):
                self._supervisor.add(Task(part.name, part.launch, part.ready, child=child))
        self._supervisor.start()

    def start_workers(self, workers: Sequence[Worker]) -> None:
        """Start all of them, and wait until everything is ready."""
        self._say(f"Starting {len(workers)} workers.")
        run_dir(self.settings.data_dir).mkdir(parents=True, exist_ok=True)
        for worker in workers:
            self._supervisor.add(self._task(worker))
        self.wait_ready()

    def ready_after(self, seconds: float) -> None:
        """Say, and let others know, that the start is over."""
        self.ready_seconds = seconds
        self._say(self.snapshot().listening())
        self._write_state()

    def _task(self, worker: Worker) -> Task:
        ready_file = run_dir(self.settings.data_dir) / f"{worker.name}.ready"
        ours = {
            "IBOOK_READY_FILE": str(ready_file),
            "IBOOK_METRICS_PORT": str(self._metrics.get(worker.name, 0)),
            "PYTHONUNBUFFERED": "1",
        }

        def launch() -> Child:
            ready_file.unlink(missing_ok=True)
            env = self.env | ours | dict(worker.environment)
            return processes.start(worker.name, worker.command(), log=self.log(worker.name), env=env)

        def ready() -> bool:
            return _answers(self.serving_url + worker.ready_path) if worker.ready_path else ready_file.exists()

        return Task(worker.name, launch, ready)

    def _part(self, task: Task) -> PartState:
        return PartState(
            state=task.state,
            pid=self.pid(task.name),
            restarts=task.restarts,
            log=str(self.log(task.name)),
            metrics_url="" if task.name in _PARTS else self.metrics_url(task.name),
        )

    def _write_state(self) -> None:
        try:
            state.write_state(self.settings.data_dir, self.snapshot())
        except OSError as error:  # a full disk is no reason to end what runs
            self._say(f"What runs can't be noted for `ibook status`: {error}.")


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, HTTPException):  # refused, reset, timed out, 503: not yet
        return False


@contextmanager
def running_platform(
    settings: Settings,
    *,
    fresh: bool = False,
    keep: Sequence[str] = state.KEPT,
    workers: Sequence[Worker] = WORKERS,
    prepare: bool = True,
    preferred_ports: Mapping[str, int] | None = None,
    say: Say = lambda sentence: None,
) -> Iterator[Platform]:
    """Start everything on `settings.data_dir`, yield it when all is ready, and stop everything at the end.

    Kafka and Redis are processes of ours unless the settings name existing ones (or IBOOK_PARTS says otherwise).
    Ports are those of the last time where they are free, else `preferred_ports` (`kafka`, `redis`, `serving`) where
    they are free, else any; a serving port that the settings name is taken as it is. `fresh` begins on empty data;
    `keep` names what stays all the same. Without `prepare` no topic, registry or model is made. `say` gets progress
    and trouble, one sentence at a time. Raises ConfigurationError with one sentence; nothing is left running then.
    """
    began = time.monotonic()
    data_dir = settings.data_dir.absolute()
    settings = settings.model_copy(update={"data_dir": data_dir})
    with ExitStack() as stack:
        state.mark_data_dir(data_dir, keep)
        stack.enter_context(state.exclusive(data_dir))
        ports = Ports(preferred_ports or {}, state.read_state(data_dir))
        if fresh:
            state.empty_data_dir(data_dir, tuple(keep))
        settings, ours = _plan(stack, settings, ports)
        metrics = {worker.name: processes.free_port() for worker in workers if not worker.ready_path}
        platform = Platform(settings, metrics, say)
        stack.callback(platform.stop)
        platform.start_parts(ours)
        if prepare:
            jobs.prepare(settings, say)
        platform.start_workers(workers)
        platform.ready_after(time.monotonic() - began)
        yield platform


def _plan(stack: ExitStack, settings: Settings, ports: Ports) -> tuple[Settings, list[LocalKafka | LocalRedis]]:
    """The settings, pointed at Kafka, Redis and the API; and the parts that are processes of ours, not started yet.

    Containers only when they are asked for: what a platform keeps belongs into its folder.
    """
    folder = settings.data_dir
    kafka_kind, redis_kind = backends.kinds(settings, otherwise="processes")
    kafka = LocalKafka(folder, ports.choose("kafka")) if kafka_kind == "processes" else None
    redis = LocalRedis(folder, ports.choose("redis")) if redis_kind == "processes" else None
    addresses = {
        "serving_port": ports.choose("serving", named=named_serving_port(settings)),
        "kafka_bootstrap": kafka.bootstrap if kafka else backends.enter_kafka(stack, kafka_kind, settings, folder),
        "redis_url": redis.url if redis else backends.enter_redis(stack, redis_kind, settings, folder),
    }
    return settings.model_copy(update=addresses), [part for part in (kafka, redis) if part is not None]
