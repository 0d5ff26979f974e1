"""The realtime shop in a terminal: a line a second, and a clean end."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from types import FrameType

import typer

from ibook.settings import Settings
from simulator.realtime import RealtimeShop
from simulator.stats import ShopStats
from simulator.world import World

DRAIN_SECONDS, HURRIED_SECONDS = 15.0, 3.0
"""How long late verdicts are waited for after the load, and after being told to stop."""


def play(
    settings: Settings, *, rate: float, duration: float, seed: int, truth: Path | None, attacks: Sequence[str]
) -> ShopStats:
    """Run a shop for `duration` seconds, or until Ctrl-C or SIGTERM; prints as it goes. Raises IbookError."""
    shop = RealtimeShop(World(seed, datetime.now(UTC)), settings, rate, seed)
    with _told_to_stop() as stopped:
        shop.start()
        try:
            for pattern in attacks:
                shop.launch_attack(pattern)
            _watch(shop, duration, stopped)
            shop.end_load()
            shop.drain(HURRIED_SECONDS if stopped.is_set() else DRAIN_SECONDS)
        finally:
            shop.stop()
            if truth is not None:
                shop.truth.write(truth)
    if shop.failure is not None:
        raise shop.failure
    stats = shop.stats()
    for line in summary(stats):
        typer.echo(line)
    return stats


def _watch(shop: RealtimeShop, duration: float, stopped: Flag) -> None:
    while not stopped.wait(min(1.0, max(0.01, duration - shop.stats().seconds))):
        stats = shop.stats()
        typer.echo(progress(stats))
        if stats.seconds >= duration or shop.failure is not None:
            return


def progress(stats: ShopStats) -> str:
    """One line: rate, lag behind the wall clock, counts."""
    actions = " ".join(f"{action} {n}" for action, n in sorted(stats.actions.items())) or "no verdicts"
    line = (
        f"{stats.seconds:5.0f} s  {stats.rate_reached:.1f}/s of {stats.rate_asked:g}/s  "
        f"lag {stats.lag_seconds * 1000:.0f} ms  "
        f"purchases {stats.purchases}  missing {stats.missing}  {actions}  quotes {stats.quotes}  sales {stats.sales}"
    )
    return line if stats.holds_the_rate else f"{line}  CAN'T HOLD THE RATE ({stats.owed} purchases owed)"


def summary(stats: ShopStats) -> Iterator[str]:
    """What a run came to."""
    reached = f"{stats.rate_reached:.1f}/s of {stats.rate_asked:g}/s asked"
    yield f"{stats.purchases} purchases in {stats.seconds:.0f} s: {reached}"
    yield (
        f"verdicts {stats.verdicts}, missing {stats.missing}, conflicting {stats.conflicting}, "
        f"duplicated {stats.duplicated}; without one in time: approved {stats.approved_without_verdict}, "
        f"held {stats.held_without_verdict}"
    )
    if stats.latency_ms:
        parts = ", ".join(f"{name} {value:.0f} ms" for name, value in stats.latency_ms.items())
        yield f"purchase to readable verdict: {parts}; the shop itself was {stats.worst_lag_seconds * 1000:.0f} ms late"
    if stats.recall is not None:
        precision = "none flagged" if stats.precision is None else f"precision {stats.precision:.2f}"
        yield f"fraud flagged: recall {stats.recall:.2f}, {precision}"
    yield f"prices shown {stats.quotes} ({stats.unquoted} without a quote), sales {stats.sales}"
    if stats.undelivered:
        yield f"Kafka did not take {stats.undelivered} messages"


@contextmanager
def _told_to_stop() -> Iterator[Flag]:
    """A flag that Ctrl-C and SIGTERM set, instead of what they did before."""
    stopped = Flag()

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
