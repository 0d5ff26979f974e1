"""`python -m bench`: prints each figure we claim, with its conditions."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ibook.errors import IbookError
from ibook.settings import Settings, load_settings

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def verdicts(
    rate: Annotated[
        list[float] | None,
        typer.Option(
            min=1,
            help="Purchases per second; may be repeated. Without it 500, 1,000 and 2,000, and all comparisons.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=2, help="Length of each steady load.")] = 20.0,
    count: Annotated[int, typer.Option(min=1000, help="Purchases of the flood.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seeds the purchases.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Verdict latency and rate on the whole local platform, beside a naive agent in the same run.

    Without --rate also: two workers, a worker killed, and the limit: a plain loop around the same core.
    """
    from bench.verdicts import as_json, measure

    with measuring() as (settings, began):
        figures = measure(settings, rates=rate or [], seconds=seconds, count=count, seed=seed)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(figures) | {"conditions": began}, indent=2) + "\n")
    if figures.missing:
        raise typer.Exit(1)


@app.command()
def features(
    purchases: Annotated[int, typer.Option(min=500, help="Purchases of the shop's hour behind the backlog.")] = 12_000,
    states: Annotated[int, typer.Option(min=1000, help="States to recover.")] = 1_000_000,
    seconds: Annotated[float, typer.Option(min=2, help="Length of the steady load.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Seeds the messages.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """How fast features are folded and pushed, how fresh they are, how soon they are back; beside the usual way."""
    from bench.features import measure, write

    with measuring() as (settings, began):
        figures = measure(settings, purchases=purchases, states=states, seconds=seconds, seed=seed)
    if json_file is not None:
        write(figures, began, json_file)


@app.command()
def stages(
    past: Annotated[int, typer.Option(min=50, help="Purchases of the simulated hour that fills the states.")] = 4000,
    purchases: Annotated[int, typer.Option(min=20, help="Purchases to decide.")] = 3000,
    seed: Annotated[int, typer.Option(help="The world.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Where the time of a verdict goes: µs of processor per purchase, stage and batch size. No Kafka, no Redis."""
    from bench.core import measure, say

    began = conditions()
    typer.echo(began)
    figures = measure(past=past, purchases=purchases, seed=seed)
    say(figures)
    if json_file is not None:
        json_file.write_text(json.dumps(figures | {"conditions": began}, indent=2) + "\n")


@app.command()
def simulator(
    purchases: Annotated[int, typer.Option(min=500, help="Purchases of the written past.")] = 40_000,
    rate: Annotated[float, typer.Option(min=10, help="Messages per second asked of the live shop.")] = 5_000.0,
    seconds: Annotated[float, typer.Option(min=2, help="Length of the live load.")] = 20.0,
    seed: Annotated[int, typer.Option(help="The world.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """How fast a past is written, how punctual the live shop is, and how its memory grows."""
    from bench.simulator import measure, write

    with measuring() as (settings, began):
        figures = measure(settings, purchases=purchases, rate=rate, seconds=seconds, seed=seed)
    if json_file is not None:
        write(figures, began, json_file)


@app.command()
def serving(
    rate: Annotated[
        list[float] | None, typer.Option(min=1, help="Requests per second asked for; repeatable. Else 1,000 and 500.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=2, help="Length of each load.")] = 10.0,
    rows: Annotated[list[int] | None, typer.Option(min=1, max=500, help="Purchases per request; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Seeds the purchases.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Prices, quotes and scores over HTTP under Locust, beside a bare route in the same run; how soon prices learn."""
    from bench.serving import RATES, measure, write

    with measuring() as (settings, began):
        figures = measure(settings, rates=rate or RATES, seconds=seconds, rows=rows or [1], seed=seed)
    if json_file is not None:
        write(figures, began, json_file)


@app.command(hidden=True)
def bare_route(port: int, answer: Path) -> None:
    """The floor's process."""
    from bench.bare import serve

    serve(port, answer)


@app.command()
def pricing(
    seeds: Annotated[int, typer.Option(min=2, help="Worlds; all policies meet the same visitors in each.")] = 20,
    events: Annotated[int, typer.Option(min=1, help="Events of each world.")] = 12,
    first_seed: Annotated[
        int, typer.Option(help="The first world; by default of those on which nothing was tuned.")
    ] = 1000,
    processes: Annotated[int, typer.Option(min=1, help="Worlds are shared out among so many.")] = os.cpu_count() or 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write one HTML page with plots, which needs no network.")] = None,
) -> None:
    """What learning prices earn on the simulator's hidden demand, beside other policies and an oracle. No Kafka."""
    from bench.pricing import measure, say
    from bench.pricing_page import render

    began = conditions()
    typer.echo(began)
    figures = measure(seeds=seeds, n_events=events, first_seed=first_seed, processes=processes) | {"conditions": began}
    say(figures)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if report is not None:
        report.write_text(render(figures))


@app.command(hidden=True)
def naive_agent() -> None:
    """The baseline's worker process."""
    import faust
    import uvloop

    from bench.naive import create
    from bench.verdicts import prepare_naive

    uvloop.install()
    settings = load_settings()
    prepare_naive(settings)
    faust.Worker(create(settings), loglevel="warn", redirect_stdouts=False, quiet=True).execute_from_commandline()


@app.command(hidden=True)
def raw_loop() -> None:
    """The limit's process."""
    from bench.raw_loop import RawLoop

    RawLoop(load_settings()).run()


@contextmanager
def measuring() -> Iterator[tuple[Settings, str]]:
    """Settings for what is measured, and the conditions, which are printed. Ctrl-C ends it with exit code 130.

    Kafka and Redis are its own, whatever the environment names: a load is nothing to aim at a cluster in use.
    """
    from infra.local.processes import interrupt_on_signals

    interrupt_on_signals()
    base, began = load_settings(), conditions()
    try:
        typer.echo(began)
        yield base.model_copy(update={"data_dir": base.data_dir.absolute() / "bench", "parts": "processes"}), began
    except KeyboardInterrupt:
        typer.echo("Stopped before its end; nothing is left running.")
        raise typer.Exit(130) from None


def conditions() -> str:
    """The machine, and how busy it was."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {load:.1f} at start"


def main() -> None:
    """Run a command; what is wrong is said in one sentence, exit code 2."""
    try:
        app()
    except IbookError as error:
        typer.echo(f"bench: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
