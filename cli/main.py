"""The `ibook` command. Command modules import what is slow inside their commands, so `ibook --help` stays fast."""

import errno
import logging
import sys

import structlog
import typer

from cli import dead_letters, demo, explain, features, fraud, keys, models, policies, pricing, simulate, topics, up
from ibook.edges.logs import log_plainly
from ibook.errors import IbookError

REFUSED = 2
"""Exit code of a command that ended with one sentence instead of doing what it was asked."""

app = typer.Typer(
    name="ibook",
    help="Real-time fraud verdicts and learning prices for a ticket shop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(up.app)
app.add_typer(demo.app)
app.add_typer(topics.app, name="topics")
app.add_typer(features.app, name="features")
app.add_typer(keys.app, name="keys")
app.add_typer(fraud.app, name="fraud")
app.add_typer(models.app, name="models")
app.add_typer(policies.app, name="policies")
app.add_typer(explain.app)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(pricing.app, name="pricing")
app.add_typer(simulate.app, name="simulate")


def main() -> None:
    """Run the command line; an error we raise on purpose is one sentence on stderr."""
    log_plainly(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    try:
        app()
    except IbookError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print("The disk is full where the platform keeps its data: free some space.", file=sys.stderr)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
