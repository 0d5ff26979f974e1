"""`python -m simulator`: plays the shop, in the past or now."""

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ibook.errors import ConfigurationError, IbookError
from simulator import commands
from simulator.options import DataDir

if TYPE_CHECKING:
    from simulator.past import Written

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(commands.app)


class Target(StrEnum):
    """Where a history goes."""

    parquet = "parquet"
    kafka = "kafka"
    jsonl = "jsonl"


def parse_end(text: str) -> datetime:
    """An RFC 3339 time with offset; empty means now. Raises ConfigurationError with one sentence."""
    try:
        end = datetime.fromisoformat(text) if text else datetime.now(UTC)
    except ValueError as error:
        raise ConfigurationError(f"--end {text!r} is no time like 2026-01-31T12:00:00+00:00.") from error
    if end.tzinfo is None:
        raise ConfigurationError(f"--end {text!r} needs an offset, like {text}+00:00.")
    return end.astimezone(UTC)


@app.callback()
def simulator() -> None:
    """Honest buyers, fraudsters and a shop over a hidden truth."""


@app.command()
def history(
    hours: Annotated[float | None, typer.Option(min=0.01, help="Length of a short past [default: 24].")] = None,
    days: Annotated[
        float | None,
        typer.Option(min=1, help="Length of a long past: sales open, sell out and end in it, labels take real days."),
    ] = None,
    purchases: Annotated[
        int | None, typer.Option(min=1, help="Purchases in it, about [default: 5000, with --days 10000].")
    ] = None,
    events: Annotated[
        int | None, typer.Option(min=1, help="Events before, in and after it [default: 120, with --days 100].")
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="Accounts that come back, about; new ones and attackers' come on top.")
    ] = None,
    fraud_rate: Annotated[
        float | None,
        typer.Option(min=0, max=0.5, help="Share of the purchases that is fraud; abuse grows with it."),
    ] = None,
    compress: Annotated[
        float | None, typer.Option(help="How many times faster than in life labels and refunds come.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The world: realtime with the same seed continues it.")] = 0,
    to: Annotated[Target, typer.Option(help="Where the messages go.")] = Target.parquet,
    output: Annotated[Path, typer.Option(help="Folder of the Parquet files, or the JSON lines' file.")] = Path(
        "history"
    ),
    truth: Annotated[
        Path | None, typer.Option(help="File for the truth, as JSON lines [default: OUTPUT/truth/*.parquet].")
    ] = None,
    end: Annotated[
        str, typer.Option(help="When it ends, RFC 3339 [default: now, with --days the last midnight UTC].")
    ] = "",
    data_dir: DataDir = None,
) -> None:
    """Write the past of a world: the same messages as realtime, with past event times.

    A stand-in for the platform decides, and every ticket is sold at its list price. The same command gives the same
    bytes; without --end, one with --days does so all day. Ctrl-C ends it at a message boundary, with exit code 1.
    """
    from simulator.console import Screen, told_to_stop
    from simulator.past import HistoryOptions, write_history

    options = HistoryOptions(
        seed=seed, hours=hours, days=days, end=parse_end(end) if end else None, purchases=purchases, events=events,
        users=users, fraud_rate=fraud_rate, compress=compress, to=to.value, output=output, truth=truth,
        data_dir=data_dir,
    )  # fmt: skip
    screen = Screen()
    with told_to_stop() as stopped, screen.run("history", begins=None):

        def go_on(messages: int, share: float) -> bool:
            screen.show_line(f"{share:4.0%}  messages {messages}", share)
            return not stopped.is_set()

        done = write_history(options, go_on)
    _tell(done)
    if not done.whole:
        typer.echo("simulator: Stopped before the end: what is written is a part of the past asked for.", err=True)
        raise typer.Exit(1)


def _tell(done: "Written") -> None:
    rate = done.messages / done.seconds
    shares = ", ".join(f"{pattern} {share:.2%}" for pattern, share in done.shares.items())
    typer.echo(f"{done.messages} messages with {done.purchases} purchases in {done.seconds:.1f} s ({rate:.0f}/s)")
    typer.echo(f"purchases: {shares}")


@app.command()
def profile(
    days: Annotated[float, typer.Option(min=1, help="Length of the past.")] = 180.0,
    purchases: Annotated[int, typer.Option(min=100, help="Purchases in it, about.")] = 30_000,
    seed: Annotated[int, typer.Option(help="The world.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Print what the traffic looks like beside published figures, and how hard it is; 1 when out of range."""
    from simulator.profile import profile as measured
    from simulator.profile.show import show

    found = measured(seed, days=days, purchases=purchases)
    show(found)
    if json_file is not None:
        json_file.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
    if outside := found.outside():
        typer.echo(f"simulator: Out of range: {'; '.join(outside)}.", err=True)
        raise typer.Exit(1)


def main() -> None:
    """Run a command; what is wrong with settings or machine is said in one sentence, exit code 2."""
    try:
        app()
    except IbookError as error:
        typer.echo(f"simulator: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
