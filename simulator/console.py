"""Runs in a terminal: a bar that moves, or a line a second in a pipe, and what a run came to."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from simulator.judgement import Judgement
from simulator.stats import ShopStats, Standing

if TYPE_CHECKING:
    from simulator.virtual import VirtualShop

LINE_SECONDS, BAR_SECONDS = 1.0, 0.25
"""How often a line is printed, and the bar drawn anew."""


class Screen:
    """Where runs show how they go."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._draw: Callable[[str, float], None] | None = None
        self._shown_at = 0.0
        self._behind = False
        self.every_seconds = BAR_SECONDS if self._console.is_terminal else LINE_SECONDS

    @contextmanager
    def run(self, name: str, begins: str | None = "the doors open") -> Iterator[None]:
        """The time that one run takes; in a pipe its beginning is told, if in any words."""
        self._behind = False
        if not self._console.is_terminal:
            self.tell([] if begins is None else [f"{name}: {begins}."])
            yield
            return
        bar = Progress(TextColumn("{task.description}"), BarColumn(40), TaskProgressColumn(), console=self._console)
        task = bar.add_task(name, total=1.0)
        with Live(console=self._console, auto_refresh=False, transient=True) as live:

            def draw(line: str, share: float) -> None:
                bar.update(task, completed=min(1.0, share))
                live.update(Group(bar.get_renderable(), Text(line)), refresh=True)

            self._draw = draw
            try:
                yield
            finally:
                self._draw = None

    def show(self, stats: Standing, seconds: float) -> None:
        """How a live run of so many seconds goes; it is said once more when the machine falls behind."""
        self.show_line(progress(stats), stats.seconds / seconds)
        if self._behind == stats.holds_the_rate:
            self._behind = not stats.holds_the_rate
            self.tell([_falls_behind(stats) if self._behind else f"{stats.seconds:5.0f} s  It holds the rate again."])

    def show_line(self, line: str, share: float) -> None:
        """How any run goes, of which this share is done; not more often than it can be read."""
        now = time.monotonic()
        if now - self._shown_at < 0.9 * self.every_seconds:
            return
        self._shown_at = now
        if self._draw is None:
            self.tell([line])
        else:
            self._draw(line, share)

    def tell(self, lines: Iterable[str]) -> None:
        """Print lines, above the bar when there is one."""
        for line in lines:
            self._console.print(line, markup=False)


def progress(stats: Standing) -> str:
    """One line: rate, lag behind the wall clock, counts."""
    actions = " ".join(f"{action} {n}" for action, n in sorted(stats.actions.items())) or "no verdicts"
    line = (
        f"{stats.seconds:5.0f} s  {stats.rate_reached:.1f}/s of {stats.rate_asked:g}/s  "
        f"lag {stats.lag_seconds * 1000:.0f} ms  "
        f"purchases {stats.purchases}  missing {stats.missing}  {actions}  quotes {stats.quotes}  sales {stats.sales}  "
        f"messages {sum(stats.messages.values())}"
    )
    return line if stats.holds_the_rate else f"{line}  CAN'T HOLD THE RATE ({stats.owed} purchases owed)"


def _falls_behind(stats: Standing) -> str:
    return (
        f"{stats.seconds:5.0f} s  This machine can't hold the rate: {stats.lag_seconds:.1f} s late, {stats.owed} "
        "purchases owed. Nothing is left out; it comes later than asked."
    )


def summary(stats: ShopStats) -> Iterator[str]:
    """What a live run came to."""
    reached = f"{stats.rate_reached:.1f}/s of {stats.rate_asked:g}/s asked"
    yield f"{stats.purchases} purchases in {stats.seconds:.0f} s: {reached}"
    if not stats.held_the_rate:
        yield (
            f"THE RATE WAS NOT HELD: behind for {stats.seconds_behind:.0f} s, {stats.owed} purchases owed at the end; "
            "the machine is too slow for it, or busy with something else"
        )
    yield (
        f"verdicts {stats.verdicts}, missing {stats.missing}, conflicting {stats.conflicting}, "
        f"duplicated {stats.duplicated}; without one in time: approved {stats.approved_without_verdict}, "
        f"held {stats.held_without_verdict}"
    )
    if stats.latency_ms:
        yield f"purchase to readable verdict: {_ms(stats.latency_ms, 0)}"
    if stats.pacing_error_ms:
        pace, worst = _ms(stats.pacing_error_ms, 1), stats.worst_lag_seconds * 1000
        yield (
            f"messages {sum(stats.messages.values())}; those of the schedule were late by {pace}; "
            f"at worst {worst:.0f} ms"
        )
    if stats.recall is not None:
        precision = "none flagged" if stats.precision is None else f"precision {stats.precision:.2f}"
        yield f"fraud flagged: recall {stats.recall:.2f}, {precision}"
    yield f"prices shown {stats.quotes} ({stats.unquoted} without a quote), sales {stats.sales}"
    if stats.undelivered:
        yield f"Kafka did not take {stats.undelivered} messages"


def _ms(values: dict[str, float], digits: int) -> str:
    return ", ".join(f"{name} {value:.{digits}f} ms" for name, value in values.items())


def virtual_progress(shop: "VirtualShop") -> str:
    """One line of a run in virtual time."""
    return f"{shop.seconds:5.0f} s of its own time  purchases {len(shop.actions)}  messages {shop.messages}"


def virtual_summary(shop: "VirtualShop", where: str) -> Iterator[str]:
    """What a run in virtual time came to."""
    purchases, counts = len(shop.actions), shop.play.simulation.shop.ledger.counts
    yield (
        f"{purchases} purchases and {shop.messages} messages in {shop.seconds:.0f} s of virtual time: {where}; "
        f"settled {counts['settled']}, declined {counts['declined']}, refused {counts['refused']}"
    )


def verdict_of(judgement: Judgement) -> Iterator[str]:
    """What the thresholds say of some runs."""
    for run in judgement.runs:
        counts = {verdict: sum(each.verdict == verdict for each in run.results) for verdict in _VERDICTS}
        yield f"{run.scenario}: {run.verdict} ({', '.join(f'{n} {verdict}' for verdict, n in counts.items())})"
    for sentence in judgement.failed:
        yield f"failed: {sentence}"


_VERDICTS = ("passed", "failed", "not measured")


@contextmanager
def told_to_stop() -> Iterator[Flag]:
    """A flag that Ctrl-C and SIGTERM set, instead of what they did before; the second of them interrupts at once.

    After it they do again what they did before: a third one ends what does not let itself be interrupted.
    """
    stopped = Flag()

    def stop(_: int, __: FrameType | None) -> None:
        if stopped.is_set():
            restore()
            raise KeyboardInterrupt
        stopped.set()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        restore()
