"""What all plots share: colours that can be read on light and dark, and Plotly figures as plain dictionaries.

What depends on the reader's theme (ink, grid) is added in the browser.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from msgspec import Struct

Trace = dict[str, Any]
Layout = dict[str, Any]

BLUE, ORANGE, TEAL, RED, GREY = "#3d8fd1", "#e08a2e", "#2a9d8f", "#d1495b", "#8a919e"
PALETTE = (ORANGE, RED, "#8e6bbf", "#c2a83e", "#d67ab1", "#4fb3bf", "#9c6b4a", "#7a9e3f", "#5b6ee1", GREY)
"""For patterns of attack, in this order."""
HONEST = "honest"


class Plot(Struct, frozen=True, kw_only=True):
    """One figure of the page."""

    name: str
    """Part of its HTML id."""
    title: str
    says: str
    """How to read it."""
    data: list[Trace]
    layout: Layout
    wide: bool = False
    height: int = 300


def words(text: str) -> str:
    """Text from data for a plot: Plotly takes some HTML for markup, and this is none.

    >>> words("<b>Don Giovanni</b> & friends")
    '&lt;b&gt;Don Giovanni&lt;/b&gt; &amp; friends'
    """
    return escape(text, quote=False)


def colour_of(patterns: Sequence[str]) -> dict[str, str]:
    """A colour for each pattern, the same for the same patterns; honest is blue."""
    others = [pattern for pattern in patterns if pattern != HONEST]
    return {HONEST: BLUE, **{pattern: PALETTE[number % len(PALETTE)] for number, pattern in enumerate(others)}}


def axis(title: str = "", **more: Any) -> Layout:
    """An axis."""
    return {"title": {"text": title}, "automargin": True, **more}


def share_axis(title: str = "", **more: Any) -> Layout:
    """An axis of shares, in percent."""
    return axis(title, tickformat=".0%", **more)


def clock(seconds: float) -> tuple[str, float]:
    """The unit of time that suits a run of this length, and its seconds.

    >>> clock(60), clock(86_400), clock(120 * 86_400)
    (('second', 1.0), ('hour', 3600.0), ('day', 86400.0))
    """
    if seconds < 2 * 3600:
        return "second", 1.0
    return ("hour", 3600.0) if seconds < 4 * 86_400 else ("day", 86_400.0)


def across(y: float, text: str) -> Layout:
    """A dashed line across a plot, and what it says: to be merged into a layout."""
    return {
        "shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": _dashed(RED)}],
        "annotations": [_note(text, xref="paper", x=0.01, xanchor="left", y=y, yanchor="bottom", font={"color": RED})],
    }


def moments(changes: Sequence[tuple[float, str]]) -> Layout:
    """A dotted line at every change of the scenario, numbered: to be merged into a layout."""
    lines = [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at, "line": _dashed(GREY)}
        for at, _ in changes
    ]
    notes = [
        _note(str(number), x=at, yref="paper", y=1, yanchor="top", xanchor="left", hovertext=words(what))
        for number, (at, what) in enumerate(changes, 1)
    ]
    return {"shapes": lines, "annotations": notes}


def whiskers(values: Sequence[float], low: Sequence[float], high: Sequence[float], *, sideways: bool) -> Layout:
    """Error bars of 95 % intervals; sideways for horizontal bars."""
    pairs = list(zip(values, low, high, strict=True))
    bars = {
        "type": "data", "symmetric": False, "array": [max(0.0, top - value) for value, _, top in pairs],
        "arrayminus": [max(0.0, value - bottom) for value, bottom, _ in pairs], "color": GREY, "thickness": 1.2,
        "width": 3,
    }  # fmt: skip
    return {"error_x" if sideways else "error_y": bars}


def _dashed(colour: str) -> Layout:
    return {"color": colour, "width": 1, "dash": "dot"}


def _note(text: str, **where: Any) -> Layout:
    return {"text": text, "showarrow": False, **where}
