"""`ibook up`, `down`, `status` and `logs`: the whole platform on this machine."""

import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.settings import DataDir, settings_for, settings_of_running
from ibook.errors import ConfigurationError, IbookError

if TYPE_CHECKING:
    from ibook.settings import Settings
    from infra.local.logs import LogTail
    from infra.local.state import PlatformState

app = typer.Typer()

PREFERRED_PORTS = {"kafka": 9092, "redis": 6379, "serving": 8000}
STOP_SECONDS = 60.0
"""Longest `down` waits before it kills: twice what the supervisor grants its processes."""


@app.command()
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all is ready; it goes on running.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin on empty data; trained models stay.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Start the whole platform and keep it running until Ctrl-C."""
    settings = settings_for(data_dir)
    if detach:
        from infra.local.detached import start_detached

        again = ["up", "--data-dir", str(settings.data_dir), *(["--fresh"] if fresh else [])]
        start_detached(settings, [sys.executable, "-m", "cli.main", *again], say=_say)
        return
    _supervise(settings, fresh=fresh)


def _supervise(settings: "Settings", *, fresh: bool) -> None:
    from infra.local.processes import interrupt_on_signals
    from infra.local.running import running_platform

    interrupt_on_signals()
    platform_runs = running_platform(settings, fresh=fresh, preferred_ports=PREFERRED_PORTS, say=_say)
    with contextlib.suppress(KeyboardInterrupt), platform_runs:
        while True:
            signal.pause()
    _say("Stopped.")


def _say(sentence: str) -> None:
    print(sentence, flush=True)


@app.command()
def down(data_dir: DataDir = None) -> None:
    """Stop the platform: in order, or by force when it does not end."""
    from infra.local.detached import stop_running

    settings = settings_for(data_dir)
    began = time.monotonic()
    if stop_running(settings.data_dir, timeout_seconds=STOP_SECONDS):
        _say(f"Stopped in {time.monotonic() - began:.1f} s.")
    else:
        _say(f"Nothing runs on {settings.data_dir}.")


@app.command()
def status(data_dir: DataDir = None) -> None:
    """Show what runs and where it listens. Exit code 1 unless everything is ready."""
    from infra.local.state import running_state

    folder = settings_for(data_dir).data_dir
    state = running_state(folder)
    if state is None:
        _say(f"Nothing runs on {folder}.")
        raise typer.Exit(1)
    _print_parts(state)
    if state.ready:
        _say(state.listening())
        _say(_unanswered(settings_of_running(folder)))
    if not state.ready or any(part.state != "ready" for part in state.parts.values()):
        raise typer.Exit(1)


def _unanswered(settings: "Settings") -> str:
    """Purchases that wait too long, in a sentence."""
    from ibook.edges.unanswered import Unanswered

    try:
        with Unanswered(settings) as unanswered:
            count = unanswered.count()
    except IbookError as error:
        return str(error)
    return f"Purchases that wait longer than {settings.unanswered_after_seconds:g} s for a verdict: {count}."


def _print_parts(state: "PlatformState") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "state", "pid", "up", "memory", "restarts", "metrics", box=None)
    for name, part in state.parts.items():
        up_for, memory = _usage(part.pid)
        pid = str(part.pid or "")
        table.add_row(name, part.state, pid, up_for, memory, str(part.restarts), part.metrics_url)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _usage(pid: int | None) -> tuple[str, str]:
    import psutil

    try:
        process = psutil.Process(pid or -1)
        return f"{time.time() - process.create_time():.0f} s", f"{process.memory_info().rss >> 20} MiB"
    except (psutil.Error, ValueError):
        return "", ""


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A part, as `ibook status` names it; all by default.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of each to begin with.")] = 20,
    data_dir: DataDir = None,
) -> None:
    """Show what the processes of the platform logged."""
    from infra.local.logs import LogTail

    folder = settings_for(data_dir).data_dir / "logs"
    known = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if name is not None and name not in known:
        raise ConfigurationError(f"There is no log of {name!r}; there are: {', '.join(known) or 'none'}.")
    tails = [LogTail(path, lines) for stem, path in known.items() if name in (None, stem)]
    with contextlib.suppress(KeyboardInterrupt):
        _print_logs(tails, follow=follow, prefixed=name is None)


def _print_logs(tails: "list[LogTail]", *, follow: bool, prefixed: bool) -> None:
    width = max((len(tail.path.stem) for tail in tails), default=0)
    while True:
        for tail in tails:
            for line in tail.new_lines():
                _say(f"{tail.path.stem:<{width}} | {line}" if prefixed else line)
        if not follow:
            return
        time.sleep(0.2)
