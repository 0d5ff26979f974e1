"""The demo on a terminal: one screen that is drawn anew, or plain lines in a pipe."""

import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ibook.edges.freshness import percentiles_ms

if TYPE_CHECKING:
    from cli.watching import Watcher
    from simulator.scoreboard import AttackReport
    from simulator.stats import EventSales, ShopStats

KEYS = {"a": "card-testing", "t": "account-takeover"}
HELP = "keys: a = card testing attack, t = account takeover, q = end the load now"
N_EVENTS = 3
PRICES_EVERY = 10
"""Lines, when they are plain, between two tables of prices."""


class Screen:
    """Shows how the demo goes. On a terminal it also reads keys."""

    def __init__(self, watcher: "Watcher") -> None:
        self._watcher = watcher
        self._live: Live | None = None
        self._lines = 0
        self.launched: list[int] = []
        """Numbers of the attacks that were launched here; the background's own are not shown."""

    @contextmanager
    def open(self) -> Iterator[None]:
        """Take the terminal, and give it back; in a pipe there is nothing to take."""
        if not (sys.stdout.isatty() and sys.stdin.isatty()):
            yield
            return
        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin.fileno())
            with Live(console=Console(), auto_refresh=False, transient=True) as self._live:
                yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
            self._live = None

    def keys(self, seconds: float) -> str:
        """Wait up to `seconds` for a key; empty when none was pressed or there is no keyboard."""
        if self._live is None:
            select.select([], [], [], seconds)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""

    def show(self, stats: "ShopStats", freshness: list[float], dead_letters: int) -> None:
        """Draw, or print, how things stand."""
        if self._live is None:
            print(line(stats, freshness, dead_letters), flush=True)
            self._lines += 1
            if self._lines % PRICES_EVERY == 0:
                Console(width=120).print(self._prices(stats))
            for attack in self._shown(stats):
                print("  " + attack_line(attack, self._watcher), flush=True)
            return
        self._live.update(self._draw(stats, freshness, dead_letters), refresh=True)

    def _draw(self, stats: "ShopStats", freshness: list[float], dead_letters: int) -> Group:
        numbers = Table.grid(padding=(0, 2))
        for name, value in rows(stats, freshness, dead_letters):
            numbers.add_row(Text(name, style="dim"), value)
        attacks = [Text(attack_line(attack, self._watcher), style="bold red") for attack in self._shown(stats)]
        return Group(numbers, Text(), self._prices(stats), Text(), *attacks, Text(HELP, style="dim"))

    def _shown(self, stats: "ShopStats") -> list["AttackReport"]:
        return [attack for attack in stats.attacks if attack.number in self.launched]

    def _prices(self, stats: "ShopStats") -> Table:
        table = Table("event", "ticket", "list", "price", "sells (95 %)", "offers", "sales", box=None)
        for event in best_sellers(stats):
            name, price = next(iter(event.last_prices.items()))
            table.add_row(
                event.name, name, _money(event.list_prices[name]), _money(price), self._expected(event, name, price),
                str(event.quotes), str(event.sales),
            )  # fmt: skip
        return table

    def _expected(self, event: "EventSales", ticket: str, price: int) -> str:
        found = self._watcher.arm(event.event_id, ticket, price)
        return f"{found[0]:.0%} ({found[1]:.0%} to {found[2]:.0%})" if found else "not known yet"


def best_sellers(stats: "ShopStats") -> list["EventSales"]:
    """The events with the most offers."""
    return sorted(stats.events, key=lambda event: (-event.quotes, event.event_id))[:N_EVENTS]


def rows(stats: "ShopStats", freshness: list[float], dead_letters: int) -> list[tuple[str, str]]:
    """Name and value of everything that is counted."""
    seconds = max(stats.seconds, 0.001)
    return [
        ("time", f"{stats.seconds:.0f} s"),
        ("purchases", f"{stats.purchases} ({stats.rate_reached:.1f}/s)"),
        ("verdicts", f"{stats.verdicts} ({stats.verdicts / seconds:.1f}/s), {stats.missing} on their way"),
        ("actions", ", ".join(f"{action} {n}" for action, n in sorted(stats.actions.items())) or "none yet"),
        ("against the truth", f"recall {_share(stats.recall)}, precision {_share(stats.precision)}"),
        ("purchase to verdict", _ms(stats.recent_latency_ms)),
        ("purchase to feature", _ms(percentiles_ms(freshness))),
        ("dead letters", str(dead_letters)),
    ]


def line(stats: "ShopStats", freshness: list[float], dead_letters: int) -> str:
    """Everything that is counted, in one line."""
    return "  ".join(f"{name} {value};" for name, value in rows(stats, freshness, dead_letters))


def attack_line(attack: "AttackReport", watcher: "Watcher") -> str:
    """Who was caught, and why."""
    why = ", ".join(f"{code} ({n})" for code, n in watcher.why(attack.caught))
    caught = f"{len(attack.caught)} of {attack.purchases} purchases caught"
    return f"attack {attack.pattern}: {caught}" + (f", because of {why}" if why else "")


def _ms(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f} ms" for name, value in values.items()) or "not known yet"


def _share(value: float | None) -> str:
    return "not known yet" if value is None else f"{value:.2f}"


def _money(minor: int) -> str:
    return f"{minor / 100:.2f}"
