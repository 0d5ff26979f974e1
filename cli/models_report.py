"""What `ibook models` says: sentences and tables."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ibook.features import FEATURE_NAMES_HASH
from ibook.releases import Span

if TYPE_CHECKING:
    from ibook.edges.model_store import Stored
    from ibook.edges.releasing import Heard
    from ibook.messages import ModelReport

UNREAD = ("kept", "unread")
"""Where the policy of a process comes from that could not read the releases."""


def outcome(what: str, heard: "Sequence[Heard]", behind: int, silent: int) -> str:
    """What came of a release, and how long the last process took; `behind` refused it, `silent` have not heard it."""
    of = len(heard) + silent
    if not of:
        return f"{what}; no process runs now, the next one takes it at its start."
    took = f"; the last one took {heard[-1].seconds:.1f} s" if heard else ""
    return f"{what} in {len(heard) - behind} of {of} {'process' if of == 1 else 'processes'}{took}."


def tell(
    what: str, heard: "Sequence[Heard]", silent: Collection[str], goes_on: "Callable[[ModelReport], str | None]"
) -> bool:
    """Print it, and which processes don't follow; `goes_on` says with what, None for one that follows. True: all do."""
    behind = [(each.report.process, why) for each in heard if (why := goes_on(each.report)) is not None]
    print(outcome(what, heard, len(behind), len(silent)))
    for process, why in behind:
        print(f"{process} goes on with {why}", file=sys.stderr)
    for process in silent:
        print(f"{process} has not taken note of it.", file=sys.stderr)
    return not (behind or silent)


def print_versions(versions: "Sequence[Stored]", running: "Mapping[str, ModelReport]") -> None:
    """The store."""
    champions = {report.champion for report in running.values()}
    challengers = {report.challenger for report in running.values()}
    table = Table("version", "runs as", "trained until", "average precision", "SHA-256", "features", box=None)
    for each in versions:
        runs = "champion" if each.version in champions else "challenger" if each.version in challengers else ""
        known = each.metadata
        if known is None:
            table.add_row(each.version, runs, "", "", "", each.why_not)
            continue
        precision = known.metrics.get("average_precision")
        fits = "these" if known.feature_names_hash == FEATURE_NAMES_HASH else "others: it can't be released"
        table.add_row(each.version, runs, known.trained_until, f"{precision:.3f}" if precision is not None else "",
                      known.sha256[:12], fits)  # fmt: skip
    _print(table) if versions else print("The store is empty: `python -m training bootstrap` trains a first model.")


def print_processes(running: "Mapping[str, ModelReport]") -> None:
    """Who runs what."""
    if not running:
        print("No process runs now.")
        return
    table = Table("process", "champion", "challenger", "policy", "refused", box=None)
    for name, report in sorted(running.items()):
        refused = "; ".join(why for why in (report.refused, report.policy_refused) if why)
        policy = f"{report.policy} ({report.policy_from})" if report.policy_from in UNREAD else report.policy
        table.add_row(name, report.champion, report.challenger or "none", policy, refused)
    _print(table)


def print_timeline(spans: Sequence[Span]) -> None:
    """Who was to decide when."""
    if not spans:
        print("Nothing has been released yet.")
        return
    table = Table("since", "until", "version", "as", "by", "why", "taken back", box=None)
    for span in spans:
        table.add_row(_instant(span.since), _instant(span.until) if span.until else "now", span.version, _role(span),
                      span.by, _why(span), span.ended)  # fmt: skip
    _print(table)


def _role(span: Span) -> str:
    if span.role == "champion":
        return "champion"
    return f"canary {span.share:.1%}" if span.share else "shadow"


def _why(span: Span) -> str:
    return f"ROLLBACK from {span.rollback_from}: {span.why}" if span.rollback_from else span.why


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 200).print(table)
