"""A profile as tables, for people."""

from rich.console import Console
from rich.table import Table

from simulator.profile import BOUNDS, Profile
from simulator.profile.difficulty import ALARM_SHARE
from simulator.profile.facts import FIGURES
from simulator.profile.rings import RULE

WIDTH = 150
"""Columns where the output is no terminal."""


def show(profile: Profile, console: Console | None = None) -> None:
    """Print what the traffic looks like beside what is published, how hard it is, and what it must be."""
    console = console or Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(_looks(profile))
    console.print(_hard(profile))
    console.print(_rings(profile))
    console.print(_bounds(profile))


def _looks(profile: Profile) -> Table:
    title = (
        f"{profile.purchases} purchases of {profile.days:g} days, seed {profile.seed}; "
        f"labels come {profile.compress:g} times as fast as in life"
    )
    table = Table("figure", "ours", "must be", "cited", title=title, title_justify="left")
    for figure in FIGURES:
        value = profile.figures[figure.key]
        ours = "–" if value is None else figure.form.format(value)
        table.add_row(figure.what, ours, _range(figure.within, figure.form), figure.cited)
    return table


def _hard(profile: Profile) -> Table:
    hard = profile.difficulty
    title = (
        f"Trained on {hard.n_training} purchases with {hard.n_training_frauds} known frauds, "
        f"judged on {hard.n_test} later ones with {hard.n_test_frauds}"
    )
    table = Table("how hard it is", "ours", "95 % interval", title=title, title_justify="left")
    for name, value in hard.average_precision.items():
        low, high = hard.interval[name]
        table.add_row(f"average precision, {name.replace('_', ' ')}", f"{value:.3f}", f"{low:.3f} to {high:.3f}")
    table.add_row("… of knowing nothing", f"{hard.test_base_rate:.3f}", "")
    table.add_row(f"precision of the {ALARM_SHARE:.0%} scored highest", f"{hard.precision_at_share:.1%}", "")
    for pattern, recall in hard.recall_by_pattern.items():
        table.add_row(f"… recall of {pattern}", f"{recall:.1%}", "")
    for pattern, recall in hard.recall_of_abuse.items():
        table.add_row(f"… share of {pattern} (abuse) among them", f"{recall:.1%}", "")
    return table


def _rings(profile: Profile) -> Table:
    found = profile.rings
    title = f"{found.n_ring} purchases of scalper rings among {found.n_honest} honest ones"
    table = Table("rings", "caught", "false alarms among honest purchases", title=title, title_justify="left")
    for rate, recall in found.recall_at.items():
        table.add_row("cards per issuer and tickets of a network", f"{recall:.1%}", f"{rate:.2%}")
    if found.rule_recall is not None:
        who = ", ".join(f"{name} {count}" for name, count in found.mistaken.items())
        table.add_row(f"the packaged rule {RULE}", f"{found.rule_recall:.1%}", f"{found.rule_false_alarms:.2%} ({who})")
    return table


def _bounds(profile: Profile) -> Table:
    table = Table("what it must be", "ours", "within", "why", title_justify="left")
    for bound in BOUNDS:
        low, high = bound.within
        table.add_row(bound.what, f"{bound.of(profile):.3g}", f"{low:g} to {high:g}", bound.why)
    return table


def _range(within: tuple[float, float] | None, form: str) -> str:
    return "" if within is None else " to ".join(form.format(value) for value in within)
