"""Child processes that keep a log, never outlive us, and are waited for by what they do rather than by sleeping."""

import errno
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ibook.errors import ConfigurationError
from infra.local.logs import put_aside

_TETHER = Path(__file__).with_name("tether.py")
_POLL_SECONDS = 0.05
_PORTS = range(20_000, 32_000)
_handed_out: set[int] = set()
# The kernel kills a tethered child when the *thread* that started it ends, so one thread of the whole process's life
# starts them all.
_nursery = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nursery")


@dataclass
class Child:
    """A process we started: it dies with us, even when we are killed with -9."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    log_start: int = field(default=0)
    """Where this run's lines begin in the log."""
    started_at: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self.process.poll()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Ask it to end, and kill it when it has not after `grace_seconds`."""
        self.terminate()
        try:
            self.process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it now (SIGKILL)."""
        if self.alive:
            self.process.kill()
        self.process.wait()

    def bound_log(self) -> None:
        """Put its log aside when it became too large."""
        if put_aside(self.log):
            self.log_start = 0

    def lines(self) -> list[str]:
        """What it has logged in this run; the last 64 KiB of it. Empty when somebody took the log away."""
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self.log_start, end - 65536))
                return file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []


@contextmanager
def locked(path: Path, taken: str) -> Iterator[int]:
    """Lock a file; a program that is started with `keep` holds the lock for as long as it lives.

    Raises ConfigurationError with the sentence `taken` when another holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(taken) from None
        yield file.fileno()


def start(
    name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, keep: int | None = None
) -> Child:
    """Start a program, its output appended to `log`, and have it keep an open file, `keep`.

    Raises ConfigurationError when the disk is full.
    """
    with disk_errors(log.parent):
        log.parent.mkdir(parents=True, exist_ok=True)
        put_aside(log)
        with log.open("ab") as output:
            tethered = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *argv]
            started = _nursery.submit(
                subprocess.Popen,
                tethered,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(os.environ if env is None else env),
                # Ctrl-C is for us; we end our children in order. No session of their own: Linux would weigh each by
                # itself (sched_autogroup), and niceness would mean nothing among them.
                process_group=0,
                pass_fds=() if keep is None else (keep,),
            )
            return Child(name, log, started.result(), log_start=output.tell())


class disk_errors:  # noqa: N801 - reads as a statement
    """Turns a full or unwritable disk into a ConfigurationError that names the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise ConfigurationError for the errors a person must repair."""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ConfigurationError(f"The disk is full: nothing can be written to {self._folder}.") from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise ConfigurationError(f"The folder {self._folder} can't be written to.") from error


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
    """Poll until the condition holds; False when it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def wait_ready(
    child: Child, ready: Callable[[], bool], *, timeout_seconds: float, explain: Callable[[list[str]], str]
) -> Child:
    """The child, once it is ready. Raises ConfigurationError with what `explain` makes of its log when it isn't."""
    try:
        if wait_until(lambda: not child.alive or ready(), timeout_seconds=timeout_seconds) and child.alive:
            return child
        raise ConfigurationError(explain(child.lines()))
    except BaseException:  # also Ctrl-C: whoever started it never got to hold it
        child.kill()
        raise


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now, and that was given to nobody who may be about to.

    Below the range that outgoing connections are given: there, a client that keeps knocking on a stopped server's
    port can end up connected to itself, and the server can't have its port back.
    """
    for _ in range(1000):
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        if port not in _handed_out and port_is_free(port) and _reserve(port):
            _handed_out.add(port)
            return port
    raise ConfigurationError(f"No free port was found on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}.")


def _reserve(port: int) -> bool:
    """Hold the UDP port of that number until this process ends; False when another process does.

    Servers take seconds from their port's choice until they listen, and in that time others choose theirs.
    """
    twin = socket.socket(type=socket.SOCK_DGRAM)
    try:
        twin.bind(("127.0.0.1", port))
    except OSError:
        twin.close()
        return False
    twin.detach()
    return True


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT does not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def claim_port(port: int, owner: str) -> int:
    """The port itself. Raises ConfigurationError when somebody listens on it."""
    if not port_is_free(port):
        raise ConfigurationError(f"{owner} can't listen on 127.0.0.1:{port}: the port is in use.")
    return port


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, once.

    A second one ends this process on the spot, and the kernel ends its children.
    """

    def at_once(*_: object) -> None:
        os._exit(130)

    def interrupt(*_: object) -> None:
        for number in _ENDING:
            signal.signal(number, at_once)
        raise KeyboardInterrupt

    for number in _ENDING:
        signal.signal(number, interrupt)
