"""A platform that goes on running when the command that started it has ended, and how to end it."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ibook.edges.running_platform import holder
from ibook.errors import ConfigurationError
from ibook.settings import Settings
from infra.local import state
from infra.local.logs import LogTail, put_aside
from infra.local.processes import disk_errors, wait_until


def start_detached(settings: Settings, command: Sequence[str], *, say: Callable[[str], None]) -> None:
    """Run `command`, which runs a platform on the settings' folder, in a session of its own.

    Relays what it says, and returns when its platform is ready. Raises ConfigurationError with its last sentence when
    it ends before that.
    """
    log = settings.data_dir / "logs" / "supervisor.log"
    with disk_errors(settings.data_dir):
        state.mark_data_dir(settings.data_dir)
        log.parent.mkdir(parents=True, exist_ok=True)
        put_aside(log)
        tail = LogTail(log, 0)
        process = _launch(command, log)
    held: list[str] = []  # the last line may turn out to be the reason it ended
    try:
        while not wait_until(lambda: _is_ready(settings.data_dir, process), timeout_seconds=0.5):
            held = _relay([*held, *tail.new_lines()], say)
    except BaseException:  # also Ctrl-C: who asked for it no longer wants it
        process.terminate()
        process.wait()
        raise
    held = _relay([*held, *tail.new_lines()], say)
    if process.poll() is not None:
        raise ConfigurationError(held[0] if held else f"It ended without a word: see {log}.")
    for line in held:
        say(line)
    process.returncode = 0  # it is left running on purpose: Python would warn of a process that nobody waits for


def _relay(lines: list[str], say: Callable[[str], None]) -> list[str]:
    """Say all but the last, which is returned."""
    for line in lines[:-1]:
        say(line)
    return lines[-1:]


def _launch(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def _is_ready(data_dir: Path, process: "subprocess.Popen[bytes]") -> bool:
    found = state.read_state(data_dir)
    return process.poll() is not None or (found is not None and found.supervisor == process.pid and found.ready)


def stop_running(data_dir: Path, *, timeout_seconds: float) -> bool:
    """End the platform that runs on this folder and wait until it has; False when none does.

    After `timeout_seconds` its supervisor is killed, and the kernel kills its processes with it.
    """
    supervisor = holder(data_dir)
    if not supervisor:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor, number)
        if wait_until(lambda: holder(data_dir) is None, timeout_seconds=timeout_seconds):
            return True
    raise ConfigurationError(f"Process {supervisor} does not end: it can't even be killed.")
