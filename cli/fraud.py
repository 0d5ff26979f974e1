"""`ibook fraud`: other rules, thresholds or another model tried on the past, before they are on."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.settings import DataDir, settings_for
from ibook.errors import ConfigurationError

if TYPE_CHECKING:
    from cli.backtest_report import Backtest

app = typer.Typer(help="Fraud rules and models, tried on the past.", no_args_is_help=True)

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
INTERRUPTED = 130


@app.callback()
def fraud() -> None:
    """Fraud rules and models, tried on the past."""


@app.command()
def backtest(
    policy: Annotated[Path | None, typer.Option(help="The policy to try [default: the one that decides now].")] = None,
    model: Annotated[
        Path | None, typer.Option(help="A `model.ubj`, or its folder, to try [default: the scores that were given].")
    ] = None,
    since: Annotated[str, typer.Option(help="How far back from the newest verdict: 12h, 7d, 4w.")] = "7d",
    report: Annotated[Path | None, typer.Option(help="Write an HTML page.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")] = None,
    history: Annotated[
        Path | None, typer.Option(help="A folder of the simulator's history, in place of the platform's own past.")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate a history first, and use that.")] = False,
    current: Annotated[
        Path | None, typer.Option(help="With a history: the policy to compare with [default: the packaged one].")
    ] = None,
    currency: Annotated[str, typer.Option(help="Purchases in it alone [default: the first one's].")] = "",
    seed: Annotated[int, typer.Option(help="Of the resampling, and of a simulated history.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Decide a past once more by another policy or model, and say what that would have meant in money.

    Reads the evidence in the archive, and labels and payments from Kafka; without a running platform a Kafka is started
    on the kept data and stopped again. Nothing is published.
    """
    from cli.backtest_run import Trial, model_of, simulated_history
    from ibook.fraud import load_policy

    if current is not None and history is None and not simulate:
        raise ConfigurationError("--current is for a history: the platform's own past says how it was decided.")
    trial = Trial(
        policy=load_policy(policy) if policy else None, model=model_of(model) if model else None,
        age=age_of(since), currency=currency, seed=seed,
    )  # fmt: skip
    with _interruptible(), simulated_history(seed) if simulate else nullcontext(history) as folder:
        if folder is None:
            found = trial.on_log(data_dir)
        else:
            present = load_policy(current) if current else load_policy()
            found = trial.on_history(folder, present, settings_for(data_dir))
    _tell(found, report, json_file)


def age_of(text: str) -> timedelta:
    """A length of time. Raises ConfigurationError.

    >>> str(age_of("7d")), str(age_of("12h"))
    ('7 days, 0:00:00', '12:00:00')
    """
    found = re.fullmatch(r"(\d{1,5}(?:\.\d+)?)([smhdw])", text.strip())
    if not found or not float(found[1]):
        raise ConfigurationError(f"--since {text!r} is no length of time like 12h, 7d or 4w.")
    return timedelta(**{UNITS[found[2]]: float(found[1])})


@contextmanager
def _interruptible() -> Iterator[None]:
    from infra.local.processes import interrupt_on_signals

    interrupt_on_signals()
    try:
        yield
    except KeyboardInterrupt:
        print("Stopped before its end; nothing is left running.", flush=True)
        raise typer.Exit(INTERRUPTED) from None


def _tell(found: "Backtest", report: Path | None, json_file: Path | None) -> None:
    from cli.backtest_page import render
    from cli.backtest_report import as_json, print_all

    print_all(found)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(found), indent=2, default=str) + "\n")
    if report is not None:
        report.write_text(render(found), encoding="utf-8")
        print(f"\nThe page is {report}.")
