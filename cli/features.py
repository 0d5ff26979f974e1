"""`ibook features`: do the features agree with the log, at any instant, in any store?"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.kept import reached_data
from cli.settings import DataDir
from ibook.errors import ConfigurationError

if TYPE_CHECKING:
    from ibook.edges.parity import ParityReport

app = typer.Typer(help="Features: compare, backfill, rebuild, examine.", no_args_is_help=True)
DISAGREES = 1
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")]


@app.command()
def parity(json_file: JsonFile = None, data_dir: DataDir = None) -> None:
    """Recompute every value of the served verdicts from the log, and account for every message.

    Without a running platform Kafka is started on the kept data (the last demo's, or the folder's) and stopped again.
    Exit code 1 when a value differs, an update is missing or too many, or there was nothing to compare.
    """
    from ibook.edges.parity import check_parity

    with reached_data(data_dir) as reached:
        _say(f"Looking at {reached.settings.data_dir}{'' if reached.live else ', with a Kafka of our own'}.")
        report = check_parity(reached.settings, live=reached.live, say=_say)
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    show_parity(report)
    if not report.sound:
        raise typer.Exit(DISAGREES)


def show_parity(report: "ParityReport") -> None:
    """Print a comparison: what was compared, staleness per view, and whatever disagrees."""
    from cli.features_report import STALENESS, parity_sentences, staleness_table

    _say("")
    for sentence in parity_sentences(report):
        _say(sentence)
    if report.values.verdicts:
        from rich.console import Console

        _say("\n" + "\n".join(STALENESS))
        Console(width=100).print(staleness_table(report))


def _say(sentence: str) -> None:
    print(sentence, flush=True)


@app.command()
def backfill(
    keys: Annotated[Path, typer.Option(help="CSV or Parquet: columns like card_id, user_id, event_id, and as_of.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write: the same rows with a column per feature.")],
    as_served: Annotated[
        str, typer.Option(metavar="SECONDS|measured", help="States so many seconds old, plus own purchases since.")
    ] = "0",
    features: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    write_offline: Annotated[
        bool, typer.Option("--write-offline", help="Add the states to Feast's offline store, too.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Compute features of any keys at any instants from the archive, by the functions that serve them.

    Time is event time: what had happened by then, whenever it arrived. Reads the archive as it is; needs no Kafka.
    """
    import time

    import pyarrow.parquet as pq

    from cli.kept import archive_folder
    from ibook.edges import backfill as edge
    from ibook.edges.archive import archive_of

    settings = archive_folder(data_dir)
    archive = archive_of(settings)
    began = time.monotonic()
    table = edge.read_keys(keys)
    stale = edge.measured_staleness_us(archive, edge.instants_of(table)) if as_served == "measured" else _us(as_served)
    chosen = [name.strip() for name in features.split(",") if name.strip()] or None
    filled = edge.backfill(
        archive, table, features=chosen, staleness_us=stale, write_offline=settings if write_offline else None, say=_say
    )
    pq.write_table(filled, out)
    added = filled.num_columns - table.num_columns
    _say(f"{filled.num_rows:,} rows with {added} features in {time.monotonic() - began:.1f} s: {out}.")


def _us(seconds: str) -> int:
    try:
        return round(float(seconds) * 1e6)
    except ValueError:
        raise ConfigurationError(f"--as-served {seconds!r} is neither seconds nor `measured`.") from None


@app.command()
def rebuild(
    from_log: Annotated[
        bool, typer.Option("--from-log", help="Fold the archive, rather than read the workers' changelog.")
    ] = False,
    for_workers: Annotated[
        bool, typer.Option("--for-workers", help="With --from-log, while they are stopped: correct what they know.")
    ] = False,
    database: Annotated[
        int | None, typer.Option(help="An empty database of the same Redis to build in [default: the next one].")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Fill the online store again beside the live one, compare, and move over what is missing or differs.

    Workers that run restore an emptied store by themselves: they are waited for, then checked. Exit code 1 when the
    store is not equal in the end. With --for-workers the states go into the workers' changelog instead, and they push
    them when they start.

    Without a running platform Kafka is started on the kept data and an empty Redis beside it; the store is filled from
    the changelog, compared with what the archive gives, and everything is stopped again.
    """
    from ibook.edges import rebuild as edge

    if for_workers and not from_log:
        raise ConfigurationError("The changelog is what the workers know: --for-workers needs --from-log.")
    with reached_data(data_dir, with_redis=not for_workers) as reached:
        if for_workers:
            count = edge.give_to_workers(reached.settings, live=reached.live)
            _say(f"{count:,} states are in the changelog: start the workers, and empty Redis if it runs.")
            return
        if reached.own_redis:
            _say("No platform runs: an empty Redis of our own is filled from the kept data.")
        done = edge.rebuild(reached.settings, live=reached.live, from_log=from_log, database=database, say=_say)
        if reached.own_redis and done.is_equal and not from_log:
            _say("And compared with what the archive gives:")
            done = edge.rebuild(reached.settings, live=False, from_log=True, database=database, say=_say)
    if not done.is_equal:
        for entity, name in [*done.missing, *done.differing][:10]:
            _say(f"  {entity} {name} {'is missing' if (entity, name) in done.missing else 'differs'}.")
        raise typer.Exit(DISAGREES)
    _say("The online store is whole.")


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Say what is wrong with the features of a running platform, and what to do. Exit code 1 on a FAIL."""
    from rich.console import Console
    from rich.table import Table

    from cli.settings import settings_of_running
    from ibook.edges.doctor import examine

    findings = list(examine(settings_of_running(data_dir)))
    table = Table("", "what", "finding", "what to do", box=None, show_lines=False)
    for each in findings:
        table.add_row(each.level, each.what, each.sentence, each.remedy)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if any(each.level == "FAIL" for each in findings):
        raise typer.Exit(DISAGREES)
