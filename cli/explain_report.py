"""A purchase's story for a terminal."""

import sys
from typing import TYPE_CHECKING

from cli.dead_letters_report import printable
from ibook.story import Chapter, Story, Why

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_story(story: Story, features: int) -> None:
    """Print what happened, why, and what is missing; `features` is how many of them."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)
    console.print(f"Transaction {printable(story.transaction_id)}\n")
    console.print(_timeline(story.chapters))
    if story.why is not None:
        _print_why(console, story.why, features)
    for what, told in (("Model", story.model), ("Policy", story.policy)):
        if told:
            by, why = told["released_by"] or "nobody who said so", told["why"] or "for no reason given"
            sentence = f"{what} {told['version']} was released {told['released_at']} by {by}: {why}. {told['where']}"
            console.print(f"\n{printable(sentence)}")
    if story.missing:
        console.print("\nNot there:")
    for each in story.missing:
        console.print(f"  {each.what}: looked at {printable(each.looked)}")


def _timeline(chapters: list[Chapter]) -> "Table":
    from rich.table import Table

    table = Table("when (UTC)", "what", "where", "", box=None)
    for each in chapters:
        at = f"{each.at:%Y-%m-%d %H:%M:%S}.{each.at.microsecond // 1000:03d}"
        table.add_row(at, each.what, each.where, printable(each.sentence))
    return table


def _print_why(console: "Console", why: Why, features: int) -> None:
    score = "not scored" if why.score is None else f"score {why.score:.4f}"
    threshold = "" if why.threshold is None else f", threshold {why.threshold:.4f}"
    stale = "no features" if why.staleness_seconds is None else f"features {why.staleness_seconds:.2f} s old"
    console.print(f"\nWhy {why.action}: {score}{threshold}, posture {why.posture}, {stale}.")
    console.print(f"Model {why.model_version}, policy {why.policy_version}, decision {why.decision_id}.")
    if why.challenger:
        console.print(f"Challenger {printable(why.challenger)}.")
    if why.propensity < 1:
        told = "approved by it" if why.explored else "not drawn"
        console.print(f"Exploration slice: P(approve) {why.propensity:g}, {told}.")
    for rule in why.rules:
        console.print(f"  rule {printable(rule)} was hit")
    for reason in why.reasons:
        weight = f"{reason['contribution']:+.3f}" if reason["contribution"] else ""
        because = f"rule {printable(reason['rule'])}" if reason["rule"] else weight
        console.print(f"  reason {printable(reason['code'])} ({because}): {reason['meaning']}")
    console.print(_features(why, features))
    console.print(_states(why))


def _features(why: Why, count: int) -> "Table":
    from rich.table import Table

    table = Table("feature", box=None, title="")
    table.add_column("value", justify="right")
    table.add_column("log-odds", justify="right")
    for each in why.features[:count]:
        value = "missing" if each.value is None else f"{each.value:,.6g}"
        table.add_row(each.feature, value, "" if each.contribution is None else f"{each.contribution:+.3f}")
    if len(why.features) > count:
        table.add_row(f"… {len(why.features) - count} more: --features, --json", "", "")
    return table


def _states(why: Why) -> "Table":
    from rich.table import Table

    table = Table("entity", "key", "state at", "purchases folded on top", box=None, title="")
    for each in why.states:
        table.add_row(each["entity"], printable(each["key"]), each["position"], ", ".join(each["folded"]) or "none")
    return table
