"""`ibook dead-letters`: what could not be read, and the way back."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.kept import reached_data
from cli.settings import DataDir, settings_of_running
from cli.since import since as instant
from ibook.clock import SystemClock
from ibook.errors import ConfigurationError, NothingKnown

if TYPE_CHECKING:
    from ibook.edges.dead_letters import DeadLetters
    from ibook.letters import Entry, LetterBook

app = typer.Typer(help="Dead letters: what could not be read, and its way back.", no_args_is_help=True)

Topic = Annotated[str, typer.Option(help="Only of this source topic.")]
Reason = Annotated[str, typer.Option(help="Only with this reason.")]
Since = Annotated[str, typer.Option(metavar="AGE|TIME", help="Only since 30m, 24h, 7d ago, or a time with an offset.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(name="list")
def list_(
    topic: Topic = "",
    reason: Reason = "",
    since: Since = "",
    all_: Annotated[bool, typer.Option("--all", help="Those that were redriven, too.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Letters by source topic and reason: how many, and since when."""
    from cli.dead_letters_report import summary_table, summary_values
    from ibook.edges.dead_letters import DeadLetters
    from ibook.letters import summarise

    now = SystemClock().now()
    with reached_data(data_dir) as reached, DeadLetters(reached.settings) as letters:
        book = letters.book(instant(since, now))
    rows = summarise(book, book.letters(topic=topic, reason=reason, redriven=all_))
    if as_json:
        print(json.dumps(summary_values(rows, now), indent=2))
    elif rows:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 120).print(summary_table(rows, now))
    else:
        print("No dead letter matches.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="POSITION|TRANSACTION", help="topic:partition:offset, or an id.")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """A letter: reason, headers and payload, printed so that no byte of it reaches the terminal as it is."""
    from cli.dead_letters_report import letter_lines, letter_values
    from ibook.edges.dead_letters import DeadLetters

    with reached_data(data_dir) as reached, DeadLetters(reached.settings) as letters:
        book = letters.book()
        entries = _named(book, name)
        found = list(zip(letters.letters(entries), map(book.went_back, entries), strict=True))
    if as_json:
        print(json.dumps([letter_values(letter, went_back) for letter, went_back in found], indent=2))
        return
    for letter, went_back in found:
        print("\n".join(letter_lines(letter, went_back)), end="\n\n")


@app.command()
def redrive(
    topic: Topic = "",
    reason: Reason = "",
    since: Since = "",
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="POSITION|TRANSACTION", help="This one; may be repeated.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that never went back.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the oldest first.")] = 1_000_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go back, and publish nothing.")] = False,
    force: Annotated[
        str, typer.Option(metavar="WHY", help="Also what can be read or is older than the newest of its key.")
    ] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Publish the messages of letters again, to the topic and partition they came from, under their key.

    For when what refused them has been mended. No purchase that has a verdict goes back, whatever is asked.
    """
    from cli.dead_letters_report import redriven_sentences, redriven_values
    from ibook.edges import dead_letters as edge

    if not (topic or reason or since or ids or all_ or dry_run):
        raise ConfigurationError("Say which letters: --reason, --topic, --since, --id, or --all.")
    settings, clock = settings_of_running(data_dir), SystemClock()
    with edge.DeadLetters(settings) as letters:
        chosen = _chosen(letters, instant(since, clock.now()), topic, reason, ids or [])[:limit]
        done = edge.redrive(letters, chosen, settings, clock, force=force, dry_run=dry_run)
    if as_json:
        print(json.dumps(redriven_values(done, dry_run), indent=2))
    else:
        print("\n".join(redriven_sentences(done, dry_run)))


def _chosen(
    letters: "DeadLetters", since: datetime | None, topic: str, reason: str, ids: Sequence[str]
) -> "list[Entry]":
    """The letters asked for that have not gone back. Raises NothingKnown when an id names none."""
    book = letters.book(since)
    wanted = {entry.id for name in ids for entry in _named(book, name)}
    return [each for each in book.letters(topic=topic, reason=reason) if not ids or each.id in wanted]


def _named(book: "LetterBook", name: str) -> "list[Entry]":
    found = book.named(name)
    if not found:
        raise NothingKnown(f"No dead letter is named {name!r}, by position (topic:partition:offset) or transaction.")
    return found
