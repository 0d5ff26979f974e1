"""`ibook features`: do the features agree with the log, at any instant, in any store?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.settings import DataDir

if TYPE_CHECKING:
    from ibook.edges.parity import ParityReport

app = typer.Typer(help="Features: compare, backfill, rebuild, examine.", no_args_is_help=True)
DISAGREES = 1
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")]


@app.command()
def parity(json_file: JsonFile = None, data_dir: DataDir = None) -> None:
    """Recompute every value of the served verdicts from the log, and account for every message.

    Without a running platform Kafka is started on the kept data (the last demo's, or the folder's) and stopped again.
    Exit code 1 when a value differs, or an update is missing or too many.
    """
    from cli.kept import kept_data
    from ibook.edges.parity import check_parity
    from infra.local.processes import interrupt_on_signals

    interrupt_on_signals()
    with kept_data(data_dir) as reached:
        _say(f"Looking at {reached.settings.data_dir}{'' if reached.live else ', with a Kafka of our own'}.")
        report = check_parity(reached.settings, live=reached.live, say=_say)
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    show_parity(report)
    if not report.sound:
        raise typer.Exit(DISAGREES)


def show_parity(report: "ParityReport") -> None:
    """Print a comparison: what was compared, staleness per view, and whatever disagrees."""
    from cli.features_report import parity_sentences, staleness_table

    _say("")
    for sentence in parity_sentences(report):
        _say(sentence)
    if report.values.verdicts:
        from rich.console import Console

        Console(width=100).print(staleness_table(report))


def _say(sentence: str) -> None:
    print(sentence, flush=True)
