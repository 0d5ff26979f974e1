"""What a command found out: sentences, a table, notes to it, and the same as JSON in a file."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")]

PIPED_WIDTH = 160
"""Columns of a table that no terminal shows."""


def show_table(table: "Table") -> None:
    """Print it as wide as the terminal, or wide enough for a file."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def show(sentences: Iterable[str], table: "Table | None", notes: Iterable[str]) -> None:
    """Print what was found; without a table there is nothing to note."""
    print_all(sentences)
    if table is not None:
        print()
        show_table(table)
        print()
        print_all(notes)


def print_all(sentences: Iterable[str]) -> None:
    """One a line."""
    for sentence in sentences:
        print(sentence)


def write_json(path: Path | None, found: Any) -> None:
    """Write it, when a file was named; what JSON does not know becomes text."""
    if path is not None:
        path.write_text(json.dumps(found, indent=2, default=str) + "\n")
