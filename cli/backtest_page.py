"""The page of a backtest: one HTML file that needs no network."""

from typing import NamedTuple

from cli.backtest_report import COUNTED, NAMES, Backtest, assumptions, sentences, signed, tables
from cli.pages import rendered
from ibook.backtest_money import MEASURES

LEFT, RIGHT = 180.0, 700.0
"""Where the drawing's scale begins and ends, in its own units."""


class Bar(NamedTuple):
    """One line of the drawing: an estimate, its interval, and how far what nobody can know may move it."""

    name: str
    text: str
    value: float
    low: float
    high: float
    worst: float
    best: float


def render(found: Backtest) -> str:
    """The page, whole."""
    return rendered(
        "backtest.html.jinja",
        found=found, sentences=list(sentences(found)), tables=tables(found), assumptions=assumptions(found.costs),
        bars=bars(found), zero=_scale(found)(0.0), left=LEFT, right=RIGHT,
    )  # fmt: skip


def bars(found: Backtest) -> list[Bar]:
    """The savings in money, at the drawing's scale."""
    at = _scale(found)
    drawn = []
    for measure in MEASURES:
        if measure not in COUNTED:
            value, low, high, worst, best = found.savings.by_measure[measure]
            ends = (value, low, high, low + worst, high + best)
            drawn.append(
                Bar(NAMES[measure], f"{signed(value)} ({signed(low)} to {signed(high)})", *[at(end) for end in ends])
            )
    return drawn


def _scale(found: Backtest) -> "Scale":
    savings = [saving for measure, saving in found.savings.by_measure.items() if measure not in COUNTED]
    lowest = min(0.0, *(saving.low + saving.worst for saving in savings))
    highest = max(0.0, *(saving.high + saving.best for saving in savings))
    return Scale(lowest, highest if highest > lowest else lowest + 1.0)


class Scale(NamedTuple):
    """From money to places of the drawing."""

    lowest: float
    highest: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        return round(LEFT + (RIGHT - LEFT) * (value - self.lowest) / (self.highest - self.lowest), 1)
