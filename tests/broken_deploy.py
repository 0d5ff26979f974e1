"""The verdict worker of a bad deploy, `python -m tests.broken_deploy NAME`: its features fail on every purchase."""

import sys
from typing import NoReturn

from ibook.edges import scoring
from streams import __main__ as streams


def broken(*_: object) -> NoReturn:
    raise KeyError("amount_per_ticket")


if __name__ == "__main__":
    vars(scoring)["vector_of"] = broken
    sys.exit(streams.main())
