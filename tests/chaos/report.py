"""The table of a chaos run, and its last line."""

from collections.abc import Sequence
from dataclasses import dataclass

NAME_WIDTH = 55


@dataclass
class Row:
    """What became of one scenario; figures stay empty where its test judges by other means than the topics."""

    scenario: str
    passed: bool = False
    seconds: float = 0.0
    purchases: int | None = None
    verdicts: int | None = None
    missing: int | None = None
    conflicting: int | None = None
    repeated: int | None = None
    dead_letters: int | None = None
    lag_seconds: float | None = None
    """From the end of the traffic until nothing lagged; None when it never came to that."""
    p99_seconds: float | None = None
    """Within which 99 % of the purchases had their first verdict, the fault included."""
    parity: int | None = None
    """Served values and updates that are not what the log gives."""


COLUMNS = {
    "purchases": "purchases", "verdicts": "verdicts", "missing": "missing", "conflicting": "conflicting",
    "repeated": "repeated", "dead_letters": "dead letters", "p99_seconds": "99 % in", "lag_seconds": "lag 0 after",
    "parity": "parity", "seconds": "seconds",
}  # fmt: skip


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as lines of text, headings first."""
    cells = [["scenario", *COLUMNS.values(), ""]]
    for row in rows:
        figures = [_figure(getattr(row, name)) for name in COLUMNS]
        cells.append([row.scenario, *figures, "" if row.passed else "FAILED"])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    widths[0] = max(widths[0], NAME_WIDTH)
    return [_line(line, widths) for line in cells]


def last_line(rows: Sequence[Row]) -> str:
    """Ends a run.

    >>> last_line([Row("a", passed=True, missing=0, conflicting=0), Row("b", missing=2)])
    'scenarios passed 1 of 2, lost 2, conflicting 0'
    """
    passed = sum(row.passed for row in rows)
    lost, conflicting = (sum(getattr(row, name) or 0 for row in rows) for name in ("missing", "conflicting"))
    return f"scenarios passed {passed} of {len(rows)}, lost {lost}, conflicting {conflicting}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures, verdict = cells
    padded = [f"{figure:>{width}}" for figure, width in zip(figures, widths[1:-1], strict=True)]
    return "  ".join([f"{name:{widths[0]}}", *padded, verdict]).rstrip()


def _figure(value: float | None) -> str:
    return "" if value is None else str(round(value, 1))
