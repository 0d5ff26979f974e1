"""The platform's worker processes, one line each: what `ibook up` keeps running."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field


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

    def command(self) -> list[str]:
        """The command line, with this process's interpreter."""
        return [sys.executable, "-m", *self.arguments]


def _stream(name: str) -> Worker:
    return Worker(name=name, arguments=("streams", name))


WORKERS = (
    _stream("activity-to-entities"),
    _stream("entities-to-features"),
    _stream("purchases-to-verdicts"),
    _stream("outcomes-to-journal"),
    _stream("journal-to-rewards"),
    _stream("rewards-to-policies"),
    _stream("updates-to-archive"),
    Worker(name="serving", arguments=("serving",), ready_path="/startupz"),
)
