"""The commands that play scenarios: `list-scenarios`, `run`, `run-all`, `mix`, `realtime`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator import options as o

if TYPE_CHECKING:
    from simulator.judgement import Judgement
    from simulator.plan import Plan
    from simulator.record import RunRecord

app = typer.Typer()

FAILED = 1
"""Exit code of runs that did not keep to a threshold."""
Scenario = Annotated[str, typer.Argument(help="One of those that `list-scenarios` names.")]
Weights = Annotated[str, typer.Option(help="Shares of the traffic, like normal=0.7,fraud-attack=0.3.")]
Attacks = Annotated[list[str] | None, typer.Option(help="Launch this campaign at the start; may be repeated.")]


@app.command("list-scenarios")
def list_scenarios() -> None:
    """Say which scenarios there are, and what happens in each."""
    from textwrap import wrap

    from simulator.scenarios import SCENARIOS

    for scenario in SCENARIOS.values():
        typer.echo(scenario.name)
        for line in wrap(scenario.description, 96):
            typer.echo(f"    {line}")
    typer.echo("\n`run` plays one, `run-all` every one of them, `mix` several at once by their weights.")


@app.command()
def run(
    scenario: Scenario, duration: o.Duration = 60.0, rate: o.Rate = 50.0, seed: o.Seed = 0,
    compress: o.Compress = o.DAY_IN_HALF_A_SECOND, to: o.Where = o.To.kafka, output: o.Output = None,
    truth: o.TruthFile = None, report: o.ReportFile = None, json_file: o.JsonFile = None,
    records: o.RecordsFile = None, thresholds: o.ThresholdsFile = None, attack: Attacks = None,
    data_dir: o.DataDir = None,
) -> None:  # fmt: skip
    """Play one scenario and judge it against the truth: exit code 1 when a threshold was not kept."""
    from simulator.plan import Plan, scenario_named

    _play(Plan(
        scenarios=(scenario_named(scenario),), seconds=duration, rate=rate, seed=seed, compress=compress, to=to,
        output=output, truth=truth, report=report, json=json_file, records=records, thresholds=thresholds,
        attacks=tuple(attack or ()),
    ), data_dir)  # fmt: skip


@app.command("run-all")
def run_all(
    duration: o.Duration = 60.0, rate: o.Rate = 50.0, seed: o.Seed = 0, compress: o.Compress = o.DAY_IN_HALF_A_SECOND,
    to: o.Where = o.To.kafka, output: o.Output = None, truth: o.TruthFile = None, report: o.ReportFile = None,
    json_file: o.JsonFile = None, records: o.RecordsFile = None, thresholds: o.ThresholdsFile = None,
    data_dir: o.DataDir = None,
) -> None:  # fmt: skip
    """Play every scenario, one after the other, each for --duration, and write one report on all of them."""
    from simulator.plan import Plan
    from simulator.scenarios import SCENARIOS

    _play(Plan(
        scenarios=tuple(SCENARIOS.values()), seconds=duration, rate=rate, seed=seed, compress=compress, to=to,
        output=output, truth=truth, report=report, json=json_file, records=records, thresholds=thresholds,
    ), data_dir)  # fmt: skip


@app.command()
def mix(
    weights: Weights, duration: o.Duration = 60.0, rate: o.Rate = 50.0, seed: o.Seed = 0,
    compress: o.Compress = o.DAY_IN_HALF_A_SECOND, to: o.Where = o.To.kafka, output: o.Output = None,
    truth: o.TruthFile = None, report: o.ReportFile = None, json_file: o.JsonFile = None,
    records: o.RecordsFile = None, thresholds: o.ThresholdsFile = None, data_dir: o.DataDir = None,
) -> None:  # fmt: skip
    """Play one run made of several scenarios: each gives its share of the traffic, and its turns."""
    from simulator.plan import Plan, parse_weights

    _play(Plan(
        scenarios=(parse_weights(weights),), seconds=duration, rate=rate, seed=seed, compress=compress, to=to,
        output=output, truth=truth, report=report, json=json_file, records=records, thresholds=thresholds,
    ), data_dir)  # fmt: skip


@app.command()
def realtime(
    rate: o.Rate = 50.0, duration: o.Duration = 60.0, seed: o.Seed = 0, compress: o.Compress = o.DAY_IN_HALF_A_SECOND,
    truth: o.TruthFile = None, report: o.ReportFile = None, json_file: o.JsonFile = None,
    thresholds: o.ThresholdsFile = None, attack: Attacks = None, data_dir: o.DataDir = None,
) -> None:  # fmt: skip
    """Play ordinary traffic on the running platform for --duration, a minute if left out; Ctrl-C ends it sooner.

    It is judged only when a report or its figures are asked for.
    """
    from simulator.plan import Plan, scenario_named

    _play(Plan(
        scenarios=(scenario_named("normal"),), seconds=duration, rate=rate, seed=seed, compress=compress, truth=truth,
        report=report, json=json_file, thresholds=thresholds, attacks=tuple(attack or ()),
        judged=report is not None or json_file is not None or thresholds is not None,
    ), data_dir)  # fmt: skip


def _play(plan: "Plan", data_dir: Path | None) -> None:
    from ibook.errors import IbookError
    from simulator.console import Screen, told_to_stop, verdict_of
    from simulator.judgement import judge, load_thresholds
    from simulator.plan import check, settings_of_running
    from simulator.runs import carry_out

    settings = settings_of_running(data_dir)
    thresholds = load_thresholds(plan.thresholds)
    check(plan, settings)
    screen = Screen()
    with told_to_stop() as stopped:
        records, failures = carry_out(plan, settings, screen, stopped)
        judgement = judge(records, thresholds) if records else None
        if judgement is not None:
            failures += _write(plan, records, judgement)
    if judgement is not None:
        screen.tell(verdict_of(judgement))
    if failures:
        raise IbookError(" ".join(failures))
    if judgement is not None and judgement.failed:
        typer.echo(f"{len(judgement.failed)} thresholds were not kept.", err=True)
        raise typer.Exit(FAILED)


def _write(plan: "Plan", records: "list[RunRecord]", judgement: "Judgement") -> list[str]:
    """Write what was asked for, first what all else can be made of again; a sentence for each that can't be written."""
    from simulator.record import write_records
    from simulator.report import write_json, write_report

    writers: tuple[tuple[Path | None, Callable[[Path], None]], ...] = (
        (plan.records, lambda path: write_records(path, tuple(records))),
        (plan.json, lambda path: write_json(path, judgement)),
        (plan.report, lambda path: write_report(path, judgement)),
    )
    failures = []
    for path, write in writers:
        try:
            if path is not None:
                write(path)
        except OSError as error:
            failures.append(f"{path} can't be written: {error.strerror}.")
    return failures
