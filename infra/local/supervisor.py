"""Keeps processes running: one that ends is started again, after a pause that grows while it keeps ending."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ibook.errors import ConfigurationError, IbookError
from infra.local.processes import Child, wait_until

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
FULL_BYTES = 4 << 20
"""Free bytes below which a disk counts as full."""
"""A process that ran this long starts again with the first pause."""
GIVE_UP_AFTER = 3
"""So many ends before it was ready for the first time, and a start has failed."""
_TICK_SECONDS = 0.1


def pause_seconds(failures: int) -> float:
    """Pause before the next start after so many ends in a row.

    >>> [pause_seconds(n) for n in (1, 2, 3, 7, 50)]
    [0.5, 1.0, 2.0, 30.0, 30.0]
    """
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20))


@dataclass
class Task:
    """One process to keep running. `child` is the running one, if it was started before."""

    name: str
    launch: Callable[[], Child]
    """Starts it without waiting; may raise IbookError, which counts as an end."""
    ready: Callable[[], bool]
    child: Child | None = None
    ready_once: bool = False
    failures: int = 0
    """Ends in a row."""
    restarts: int = 0
    start_at: float = 0.0
    """When it may start again, by the monotonic clock."""
    trouble: str = ""
    """Why the last run ended."""
    is_ready: bool = field(default=False)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.child is not None and self.child.alive

    @property
    def state(self) -> str:
        """`ready`, `starting` or `down`."""
        return "down" if not self.alive else "ready" if self.is_ready else "starting"


class Supervisor:
    """Watches tasks from a thread of its own. `say` gets a sentence whenever one ends or starts again."""

    def __init__(self, say: Callable[[str], None], changed: Callable[[], None] = lambda: None) -> None:
        self._say = say
        self._changed = changed
        self.tasks: dict[str, Task] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def add(self, task: Task) -> None:
        """Keep this one running from now on."""
        with self._lock:
            self.tasks[task.name] = task
            if task.child is None:
                self._launch(task)
        self._changed()

    def wait_ready(self, names: Iterable[str], *, timeout_seconds: float) -> None:
        """Wait until all are ready. Raises ConfigurationError naming the first that keeps ending, or never is."""
        tasks = [self.tasks[name] for name in names]

        def settled() -> bool:
            return all(task.is_ready for task in tasks) or any(_hopeless(task) for task in tasks)

        in_time = wait_until(settled, timeout_seconds=timeout_seconds)
        for task in tasks:
            if _hopeless(task):
                raise ConfigurationError(f"{task.name} does not start: {task.trouble}")
            if not in_time and not task.is_ready:
                log = f": see {task.child.log}" if task.child else ""
                raise ConfigurationError(f"{task.name} is not ready after {timeout_seconds:.0f} s{log}.")

    def restart(self, name: str, *, timeout_seconds: float = 60.0) -> None:
        """End one in order, start it at once, and wait until it is ready. Raises ConfigurationError."""
        task = self.tasks[name]
        with self._lock:
            if task.child is not None:
                task.child.stop()
            self._launch(task)
        self._changed()
        self.wait_ready([name], timeout_seconds=timeout_seconds)

    def stop(self, names: Iterable[str] | None = None, *, grace_seconds: float = 15.0) -> None:
        """End these at the same time, all by default, and forget them; killed when they have not after the grace."""
        with self._lock:
            ending = [self.tasks.pop(name) for name in list(self.tasks if names is None else names)]
        children = [task.child for task in ending if task.child is not None]
        if children:
            with ThreadPoolExecutor(len(children)) as pool:
                list(pool.map(lambda child: child.stop(grace_seconds), children))

    def close(self) -> None:
        """Stop watching."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                self.tick()
            except Exception as error:  # whatever it is, nobody would start anything again if this thread ended
                self._say(f"The supervisor goes on after an error: {error!r}")
                self._stopping.wait(FIRST_PAUSE_SECONDS)

    def tick(self) -> None:
        """Look once at every task: note who ended, start who may, ask who is ready, keep logs from growing."""
        with self._lock:
            before = [(task.child, task.state) for task in self.tasks.values()]
            for task in self.tasks.values():
                self._look_at(task)
            after = [(task.child, task.state) for task in self.tasks.values()]
        if before != after:
            self._changed()

    def _look_at(self, task: Task) -> None:
        if task.child is not None:
            task.child.bound_log()
        if task.child is not None and not task.alive:
            self._note_end(task, task.child)
        if task.child is None and time.monotonic() >= task.start_at:
            task.restarts += 1
            self._launch(task)
        if task.alive and not task.is_ready and task.ready():
            task.is_ready = task.ready_once = True

    def _note_end(self, task: Task, child: Child) -> None:
        lines = child.lines()
        task.trouble = f"exit code {child.exit_code}, last line of {child.log}: {lines[-1] if lines else '(none)'}"
        if shutil.disk_usage(child.log.parent).free < FULL_BYTES:
            task.trouble = f"the disk of {child.log.parent} is full: free some space"
        ran_long = time.monotonic() - child.started_at >= STEADY_SECONDS
        self._back_off(task, 1 if ran_long else task.failures + 1)

    def _launch(self, task: Task) -> None:
        task.is_ready = False
        try:
            task.child = task.launch()
        except (IbookError, OSError) as error:
            task.trouble = str(error)
            self._back_off(task, task.failures + 1)

    def _back_off(self, task: Task, failures: int) -> None:
        task.child, task.is_ready, task.failures = None, False, failures
        pause = pause_seconds(failures)
        task.start_at = time.monotonic() + pause
        self._say(f"{task.name} ended ({task.trouble}); it starts again in {pause:g} s.")


def _hopeless(task: Task) -> bool:
    return not task.ready_once and task.failures >= GIVE_UP_AFTER
