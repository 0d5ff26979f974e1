"""`ibook explain`: one purchase's story, from the logs."""

from typing import Annotated

import typer

from cli.kept import reached_data
from cli.settings import DataDir
from ibook.clock import SystemClock

app = typer.Typer()


@app.command()
def explain(
    transaction: Annotated[str, typer.Argument(help="The purchase's transaction id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    features: Annotated[int, typer.Option(min=0, help="So many features, those that moved the score most first.")] = 12,
    seconds: Annotated[float, typer.Option(min=1, help="Stop looking about then, and say what was left out.")] = 30.0,
    data_dir: DataDir = None,
) -> None:
    """Tell one purchase's story: message, decision and why, verdicts, quote, payment, labels; and what is missing."""
    import msgspec

    from cli.explain_report import print_story
    from ibook.edges.explain import explain as gather

    with reached_data(data_dir) as reached:
        told = gather(reached.settings, transaction, SystemClock(), seconds=seconds)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        print_story(told, features)
