"""`ibook models`: which fraud model decides, which did, and another one, without a deploy."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.settings import By, DataDir, person, settings_of_running
from ibook.errors import ConfigurationError

if TYPE_CHECKING:
    from ibook.edges.fraud_model import ModelMetadata
    from ibook.edges.model_store import ModelStore
    from ibook.edges.releasing import Log
    from ibook.messages import ModelReleases, ModelReport
    from ibook.settings import Settings

app = typer.Typer(help="Fraud models: release, roll back, list, and who decided when.", no_args_is_help=True)


@app.command()
def release(
    model: Annotated[str, typer.Argument(help="A `model.ubj`, the folder it lies in, or a version in the store.")],
    why: Annotated[str, typer.Option(help="For the timeline.")] = "released by hand",
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Let it score beside the champion, and decide nothing.")
    ] = False,
    canary: Annotated[float, typer.Option(min=0.0, max=1.0, help="Let it decide for this share of the cards.")] = 0.0,
    guard: Annotated[bool, typer.Option(help="Take it back by itself when its guard figures break.")] = True,
    by: By = "",
    data_dir: DataDir = None,
) -> None:
    """Copy a model into the store, prove it, and let every process take it; says how long the last one took.

    Exit code 1 when a process refused it: its old model goes on there.
    """
    from ibook.edges.model_store import ModelStore
    from ibook.edges.releasing import read_log, release_of

    if shadow and canary:
        raise ConfigurationError("A model is released as --shadow or as --canary, not as both.")
    settings = settings_of_running(data_dir)
    metadata = _proved(ModelStore.of(settings), model)
    share = canary if shadow or canary else None
    log = read_log(settings)
    if share is not None:
        _check_challenger(log, metadata.version)
    message = release_of(metadata, by=by or person(), why=why, guarded=guard, challenger_share=share)
    _say(settings, [message], "champion" if share is None else "challenger", metadata.version, log)


@app.command()
def rollback(
    to: Annotated[str, typer.Option(help="A version in the store [default: what decided before].")] = "",
    why: Annotated[str, typer.Option(help="For the timeline.")] = "rolled back by hand",
    by: By = "",
    data_dir: DataDir = None,
) -> None:
    """Let the model before decide again; says how long the last process took. Exit code 1 when one did not follow."""
    from ibook.edges.model_reports import Reports
    from ibook.edges.model_store import ModelStore
    from ibook.edges.releasing import read_log, release_of, rolling_back

    settings = settings_of_running(data_dir)
    if to:
        metadata = ModelStore.of(settings).metadata(to)
        _say(settings, [release_of(metadata, by=by or person(), why=why, guarded=False)], "champion", to)
        return
    with Reports(settings) as reports:
        deciding = [report.champion for report in reports.load().values()]
    log = read_log(settings)
    messages, target = rolling_back(log, max(deciding, key=deciding.count, default=""), by=by or person(), why=why)
    _say(settings, messages, "champion", target.version, log)


@app.command()
def withdraw(
    why: Annotated[str, typer.Option(help="For the timeline.")] = "withdrawn by hand",
    by: By = "",
    data_dir: DataDir = None,
) -> None:
    """Stop the challenger, be it a shadow or a canary: the champion decides alone."""
    from ibook.clock import SystemClock
    from ibook.edges.releasing import read_log
    from ibook.releases import standing, taking_back

    settings = settings_of_running(data_dir)
    log = read_log(settings)
    challenger = standing(message for _, message in log).challenger
    if challenger is None:
        raise ConfigurationError("There is no challenger to withdraw.")
    _say(settings, [taking_back(challenger, by or person(), why, SystemClock().now())], "challenger", "", log)


@app.command(name="list")
def list_(data_dir: DataDir = None) -> None:
    """The versions in the store, and what every process runs now."""
    from cli.models_report import print_processes, print_versions
    from ibook.edges.model_reports import Reports
    from ibook.edges.model_store import ModelStore
    from ibook.errors import BrokerUnavailable

    settings = settings_of_running(data_dir)
    running: dict[str, ModelReport] | None = None
    try:
        with Reports(settings) as reports:
            running = reports.load()
    except (BrokerUnavailable, ConfigurationError) as error:
        print(f"What runs is not known: {error}", file=sys.stderr)
    print_versions(ModelStore.of(settings).versions(), running or {})
    if running is not None:
        print_processes(running)


@app.command()
def timeline(
    json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
    data_dir: DataDir = None,
) -> None:
    """What was to decide when and until when, who released it and why; rollbacks are marked."""
    from cli.models_report import print_timeline
    from ibook.edges.releasing import read_log
    from ibook.releases import timeline as spans_of

    spans = spans_of(read_log(settings_of_running(data_dir)))
    if json:
        import msgspec

        print(msgspec.json.encode(spans).decode())
    else:
        print_timeline(spans)


def _proved(store: "ModelStore", given: str) -> "ModelMetadata":
    """A model's metadata, once it lies in the store and scores its golden rows there."""
    from pathlib import Path

    path = Path(given)
    return store.admit(path) if path.exists() else store.metadata(given)


def _check_challenger(log: "Log", version: str) -> None:
    """Raises ConfigurationError when there is nobody to challenge."""
    from ibook.releases import standing

    champions = standing(message for _, message in log).champions
    if not champions:
        raise ConfigurationError("There is no champion to challenge: release one first, without --shadow or --canary.")
    if champions[0].version == version:
        raise ConfigurationError(f"{version} is the champion: a challenger is another version.")


def _say(
    settings: "Settings", messages: "list[ModelReleases]", role: str, version: str, log: "Log | None" = None
) -> None:
    """Publish, wait for every process, and say what came of it."""
    from cli.models_report import tell
    from ibook.edges.model_reports import Reports
    from ibook.edges.releasing import read_log, say_and_wait

    with Reports(settings) as reports:
        before = read_log(settings) if log is None else log
        heard = list(say_and_wait(settings, reports, before, *messages))
        silent = reports.alive().keys() - {each.report.process for each in heard}
    what = f"{settings.model_name} {version} {'decides' if role == 'champion' else 'scores beside the champion'}"
    if not version:
        what = f"The challenger of {settings.model_name} is withdrawn"

    def goes_on(report: "ModelReport") -> str | None:
        runs = str(getattr(report, role))
        return None if runs == version else f"{runs or 'none'}: {report.refused}"

    if not tell(what, heard, silent, goes_on):
        raise typer.Exit(1)
