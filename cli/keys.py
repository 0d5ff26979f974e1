"""`ibook keys`: who may ask the price API for what."""

from typing import Annotated

import typer

app = typer.Typer(help="API keys of the price API.", no_args_is_help=True)


@app.command()
def new(
    key_id: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is: up to 32 of a-z, 0-9 and dashes.")],
    scope: Annotated[list[str], typer.Option("--scope", help="What it may do; repeat it for more.")],
    per_second: Annotated[
        int | None, typer.Option("--per-second", min=1, max=9_999_999, help="Requests a second it may make.")
    ] = None,
) -> None:
    """Make a key: it is printed here once and kept nowhere. Put the line below it into IBOOK_API_KEYS_FILE.

    Scopes are price:read, quote:write, score:write, and admin, which may do everything.
    """
    from ibook.api_keys import new_key

    key, kept = new_key(key_id, scope, per_second=per_second)
    print(f"The key, for its owner alone:\n{key}\n\nThe line for the keys file:\n{kept.line()}")
