"""`ibook keys new` prints a key once, and a line that honours it."""

from typer.testing import CliRunner

from cli.main import app
from ibook.api_keys import parse_keys
from ibook.errors import ConfigurationError


def test_the_key_that_is_printed_is_found_by_the_line_below_it() -> None:
    asked = ["keys", "new", "checkout", "--scope", "price:read", "--scope", "quote:write", "--per-second", "50"]
    told = CliRunner().invoke(app, asked).stdout.splitlines()
    known = parse_keys(told[-1]).find(told[1])
    assert known is not None
    assert (known.key_id, sorted(known.scopes), known.per_second) == ("checkout", ["price:read", "quote:write"], 50)


def test_a_scope_that_is_none_is_refused() -> None:
    ended = CliRunner().invoke(app, ["keys", "new", "checkout", "--scope", "everything"])
    assert isinstance(ended.exception, ConfigurationError)
    assert ended.stdout == ""
