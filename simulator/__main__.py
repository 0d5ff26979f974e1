"""`python -m simulator`: plays the shop, in the past or now."""

import json
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ibook.errors import ConfigurationError, IbookError
from ibook.settings import load_settings

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class Target(StrEnum):
    """Where a history goes."""

    parquet = "parquet"
    kafka = "kafka"


class Attack(StrEnum):
    """What can be launched at the start."""

    card_testing = "card-testing"
    card_testing_slow = "card-testing-slow"
    account_takeover = "account-takeover"


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
    hours: Annotated[float, typer.Option(min=0.01, help="Length of the past.")] = 24.0,
    purchases: Annotated[int, typer.Option(min=1, help="Purchases in it, about.")] = 5000,
    seed: Annotated[int, typer.Option(help="The world: realtime with the same seed continues it.")] = 0,
    to: Annotated[Target, typer.Option(help="Where the messages go.")] = Target.parquet,
    output: Annotated[Path, typer.Option(help="Folder of the Parquet files.")] = Path("history"),
    truth: Annotated[Path | None, typer.Option(help="File for the ground truth, as JSON lines.")] = None,
    end: Annotated[str, typer.Option(help="When the past ends, RFC 3339; now when left out.")] = "",
) -> None:
    """Write the past of a world: the same messages as realtime, with past event times."""
    from simulator.history import generate
    from simulator.sinks import KafkaSink, ParquetSink, Sink, write_all

    past = generate(seed, parse_end(end), hours, purchases)
    sink: Sink = ParquetSink(output) if to is Target.parquet else KafkaSink(load_settings())
    if isinstance(sink, KafkaSink):
        sink.check()
    began = time.monotonic()
    n = write_all(past, sink)
    seconds = time.monotonic() - began
    if truth is not None:
        past.truth.write(truth)
    shares = ", ".join(f"{pattern} {share:.2%}" for pattern, share in past.truth.shares().items())
    typer.echo(f"{n} messages with {len(past.truth.transactions)} purchases in {seconds:.1f} s ({n / seconds:.0f}/s)")
    typer.echo(f"purchases: {shares}")


@app.command()
def realtime(
    rate: Annotated[float, typer.Option(min=0.1, help="Purchases per second on average.")] = 50.0,
    duration: Annotated[float, typer.Option(min=1, help="Seconds of load.")] = 60.0,
    seed: Annotated[int, typer.Option(help="The world; the same as the history's.")] = 0,
    truth: Annotated[Path | None, typer.Option(help="File for the ground truth, as JSON lines.")] = None,
    attack: Annotated[list[Attack] | None, typer.Option(help="Launch it at the start; may be repeated.")] = None,
) -> None:
    """Play the shop now: Kafka and serving come from IBOOK_KAFKA_BOOTSTRAP, IBOOK_SERVING_HOST and _PORT."""
    from simulator.console import play

    attacks = [pattern.value for pattern in attack or []]
    play(load_settings(), rate=rate, duration=duration, seed=seed, truth=truth, attacks=attacks)


@app.command()
def profile(
    days: Annotated[float, typer.Option(min=1, help="Length of the past.")] = 180.0,
    purchases: Annotated[int, typer.Option(min=100, help="Purchases in it, about.")] = 40_000,
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
