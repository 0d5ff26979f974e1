"""`ibook policies`: verdict policies checked, released, listed and rolled back."""

import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.settings import By, DataDir, person, settings_of_running

if TYPE_CHECKING:
    from rich.table import Table

    from ibook.costs import Costs
    from ibook.messages import ModelReport, PolicyReleases
    from ibook.policy_fit import Outlook
    from ibook.rules import Rule, VerdictPolicy
    from ibook.settings import Settings

SHOWN_MINOR = (2_000.0, 5_000.0, 10_000.0, 30_000.0, 100_000.0)
"""Amounts whose thresholds are shown where costs decide."""
SOON = timedelta(days=14)
"""How long before its expiry a rule is named."""

app = typer.Typer(help="Verdict policies: check a file, release it, list releases, go back.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The policy, as TOML.", show_default=False)]
Why = Annotated[str, typer.Option(help="What it is for, in the timeline.")]
Version = Annotated[str | None, typer.Argument(help="A released version [default: the one that decided before].")]


@app.command()
def check(file: File) -> None:
    """Read a policy as a worker would; say what it does, and which of its rules have expired or soon will."""
    from ibook.rules import load_policy

    _describe(load_policy(file))


@app.command()
def release(
    file: File,
    why: Why = "released by hand",
    guard: Annotated[bool, typer.Option(help="Take it back by itself when it changes too many approvals.")] = True,
    by: By = "",
    data_dir: DataDir = None,
) -> None:
    """Let a policy decide: every process takes it without a restart; says how long the last one took.

    Exit code 1 when a process refused it: the policy before it goes on there.
    """
    from ibook.edges.policy_log import read_releases
    from ibook.rules import load_policy

    _describe(load_policy(file))
    settings = settings_of_running(data_dir)
    text = file.read_text(encoding="utf-8")
    _release(settings, read_releases(settings), text, str(file), by, why, guarded=guard)
    if guard:
        print(
            "Workers take it back if it changes too many approvals (IBOOK_GUARD_POLICY_GAP); --no-guard prevents that."
        )


@app.command(name="list")
def list_(data_dir: DataDir = None) -> None:
    """Every policy that was released: when, by whom, why, and which one decides."""
    from rich.console import Console

    from ibook.edges.policy_log import read_releases

    Console(width=None if sys.stdout.isatty() else 160).print(_table(read_releases(settings_of_running(data_dir))))


@app.command()
def show(version: Version = None, data_dir: DataDir = None) -> None:
    """Print the text of a released version, or of the policy that decides."""
    from ibook.edges.policy_log import read_releases
    from ibook.policy_releases import deciding, text_to_go_back_to
    from ibook.rules import DEFAULT_POLICY_PATH

    releases = read_releases(settings_of_running(data_dir))
    now = deciding(releases)
    if version is not None:
        print(text_to_go_back_to(releases, version), end="")
    else:
        print(now.text if now else DEFAULT_POLICY_PATH.read_text(encoding="utf-8"), end="")


@app.command()
def rollback(version: Version = None, why: Why = "rolled back", by: By = "", data_dir: DataDir = None) -> None:
    """Let a policy decide again that decided before: it is released once more, so the timeline shows it.

    A second rollback returns to where the first one came from; name a version to go further back. Exit code 1 when a
    process did not follow.
    """
    from ibook.edges.policy_log import read_releases
    from ibook.policy_releases import text_to_go_back_to

    settings = settings_of_running(data_dir)
    log = read_releases(settings)
    _release(settings, log, text_to_go_back_to(log, version), "of that version", by, why, guarded=False)


def _release(
    settings: "Settings", log: "list[PolicyReleases]", text: str, origin: str, by: str, why: str, *, guarded: bool
) -> None:
    """Publish, wait for every process that follows policies, and say what came of it."""
    from cli.models_report import tell
    from ibook.edges.model_reports import Reports
    from ibook.edges.policy_log import release as publish
    from ibook.edges.releasing import hearing
    from ibook.rules import parse_policy

    version = parse_policy(text, origin).version

    def speak() -> None:
        publish(settings, text, origin, released_by=by or person(), why=why, guarded=guarded)

    with Reports(settings) as reports:
        heard = list(
            hearing(reports, speak, lambda report: report.policies > len(log), lambda report: bool(report.policy))
        )
        follow = {process for process, report in reports.alive().items() if report.policy}
    silent = follow - {each.report.process for each in heard}

    def goes_on(report: "ModelReport") -> str | None:
        return None if report.policy == version else f"policy {report.policy}: {report.policy_refused}"

    if not tell(f"policy {version} decides", heard, silent, goes_on):
        raise typer.Exit(1)


@app.command()
def fit(
    file: File,
    days: Annotated[float, typer.Option(min=0.01, help="How much of the archive to fit to, from its end.")] = 7.0,
    data_dir: DataDir = None,
) -> None:
    """Fit what a policy says of [costs] to the purchases of the archive; print what to write into it.

    Decides them again, at the price of a review at which the reviewers of a day suffice. Needs no Kafka.
    """
    from cli.kept import archive_folder
    from ibook.edges.archive import archive_of
    from ibook.policy_fit import fit as fitted
    from ibook.policy_fit import scored_past
    from ibook.rules import load_policy

    policy = load_policy(file)
    past = scored_past(archive_of(archive_folder(data_dir)).evidence(), days=days)
    found = fitted(policy, past)
    print(f"{len(past.purchases)} purchases of {past.days:.2f} days, scored in posture normal")
    print(_outlooks(found.before, found.after))
    if not found.is_enough:
        print("warning: rules alone ask for more reviews than reviewers can do; no price of a review helps")
    print(f"\n[costs]\nqueue_minor = {found.queue_minor:.0f}")
    print(f"\n[exploration]\nshare = {found.share:.4f}\ndeclined_per_day_minor = {found.after.declined_minor:.0f}")


def _outlooks(before: "Outlook", after: "Outlook") -> str:
    rows = [f"{'a day':<28}{'as it is':>12}{'fitted':>12}"]
    rows += [f"{action:<28}{before.actions[action]:>12.1f}{after.actions[action]:>12.1f}" for action in before.actions]
    rows += [f"{'expected cost per purchase':<28}{before.cost_minor:>12.0f}{after.cost_minor:>12.0f}"]
    return "\n".join(rows)


def _describe(policy: "VerdictPolicy") -> None:
    from ibook.clock import SystemClock
    from ibook.rules import POSTURES

    now = SystemClock().now()
    in_force = ", ".join(f"{posture} {len(policy.in_force(posture, now))}" for posture in POSTURES)
    print(f"policy {policy.version}: {len(policy.rules)} rules; in force in posture {in_force}")
    expired = policy.expired(now)
    for rule in expired:
        print(f"warning: rule {rule.id} of {rule.owner} expired on {rule.expires}: renew it or take it out")
    for rule in _without(policy.expired(now + SOON), expired):
        print(f"warning: rule {rule.id} of {rule.owner} expires on {rule.expires}")
    _warn_of_a_small_budget(policy)
    print(_thresholds(policy))


def _warn_of_a_small_budget(policy: "VerdictPolicy") -> None:
    from ibook.settings import load_settings

    slice_ = policy.exploration
    part = slice_.max_per_day_minor / load_settings().partitions
    if slice_.share > 0 and part < slice_.max_amount_minor:
        print(f"warning: exploration.max_per_day_minor is {part:.0f} a partition: what is dearer is not explored")


def _thresholds(policy: "VerdictPolicy") -> str:
    """From which score on each action is taken."""
    if policy.costs is None:
        each = policy.thresholds["normal"]
        return f"review from {each.review:.2f}, challenge from {each.challenge:.2f}, decline from {each.decline:.2f}"
    return "\n".join(_thresholds_of(policy.costs, amount) for amount in SHOWN_MINOR)


def _thresholds_of(costs: "Costs", amount_minor: float) -> str:
    from ibook.cheapest import cheapest

    begins: dict[str, float] = {}
    for percent in range(101):
        action, threshold = cheapest(costs, percent / 100, amount_minor)
        begins.setdefault(action, threshold)
    del begins["approve"]
    return f"amount {amount_minor:>7.0f}: " + ", ".join(f"{each} from {score:.3f}" for each, score in begins.items())


def _without(rules: Iterable["Rule"], left_out: Iterable["Rule"]) -> list["Rule"]:
    ids = {rule.id for rule in left_out}
    return [rule for rule in rules if rule.id not in ids]


def _table(log: "list[PolicyReleases]") -> "Table":
    from rich.table import Table

    from ibook.messages import PolicyReleased, PolicyTakenBack
    from ibook.policy_releases import deciding, is_usable
    from ibook.rules import load_policy

    now = deciding(log)
    gone = {each.release_id: f"{each.released_by}: {each.why}" for each in log if isinstance(each, PolicyTakenBack)}
    table = Table("version", "released", "by", "why", "", box=None)
    table.add_row(load_policy().version, "", "", "packaged", "decides" if now is None else "")
    for each in (each for each in log if isinstance(each, PolicyReleased)):
        state = "decides" if each is now else "" if is_usable(each) else "refused"
        state = f"taken back by {gone[each.message_id]}" if each.message_id in gone else state
        table.add_row(each.version, f"{each.occurred_at:%Y-%m-%d %H:%M:%S}", each.released_by, each.why, state)
    return table
