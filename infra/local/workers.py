"""The platform's worker processes, one line each: what `ibook up` keeps running."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

LEARNING = 10
"""Niceness of what prices learn from and of the archive."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A process of ours: `python -m …`.

    It says that it is ready by touching the file that IBOOK_READY_FILE names, and shows its metrics on
    IBOOK_METRICS_PORT; one with a `ready_path` answers 200 there on the serving port, which has its metrics too.
    """

    name: str
    arguments: tuple[str, ...]
    """What follows `python -m`."""
    ready_path: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    niceness: int = 0
    """Where cores are short the nicer ones wait: verdicts are due in milliseconds, and live on features."""

    def command(self) -> list[str]:
        """The command line, with this process's interpreter."""
        nicely = ["nice", "-n", str(self.niceness)] if self.niceness else []
        return [*nicely, sys.executable, "-m", *self.arguments]


def _stream(name: str, niceness: int = 0) -> Worker:
    return Worker(name=name, arguments=("streams", name), niceness=niceness)


WORKERS = (
    _stream("activity-to-entities"),
    _stream("entities-to-features"),
    _stream("purchases-to-verdicts"),
    _stream("outcomes-to-journal", LEARNING),
    _stream("journal-to-rewards", LEARNING),
    _stream("rewards-to-policies", LEARNING),
    _stream("updates-to-archive", LEARNING),
    Worker(name="serving", arguments=("serving",), ready_path="/startupz"),
)
