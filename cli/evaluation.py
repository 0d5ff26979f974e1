"""What `ibook pricing evaluate` found: in words, as a table, as JSON, as a page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cli.pages import rendered
from ibook import off_policy
from ibook.off_policy import Decisions, Estimate, Support

if TYPE_CHECKING:
    from rich.table import Table

NAMES = {
    "logged": "what decided then", "ips": "inverse propensity", "snips": "self-normalised", "dr": "doubly robust",
    "replay": "replay",
}  # fmt: skip
LEFT, RIGHT = 180.0, 700.0
"""Where the drawing's scale begins and ends, in its own units."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that is told of a candidate."""

    name: str
    source: str
    unit: str
    """Of rewards: `of list price`, or nothing for a log of others."""
    decisions: int
    estimates: Sequence[Estimate]
    """What decided then comes first."""
    gain: Estimate
    """Of the candidate over what decided then, doubly robust."""
    support: Support
    warnings: Sequence[str]
    left_out: Mapping[str, int]


def evaluation_of(
    log: Decisions, *, name: str, source: str, unit: str, left_out: Mapping[str, int], seed: int, learned: bool
) -> Evaluation:
    """Every estimate; `learned` says that the candidate has learned from this very log."""
    found = off_policy.support(log)
    warnings = off_policy.warnings(found)
    if learned:
        warnings.append("This candidate has learned from these very offers: expect less than the estimates say.")
    estimates = [
        off_policy.logged(log), off_policy.ips(log), off_policy.snips(log), off_policy.doubly_robust(log),
        off_policy.replay(log, np.random.default_rng(seed)),
    ]  # fmt: skip
    return Evaluation(
        name=name, source=source, unit=unit, decisions=int(log.n.sum()), estimates=estimates,
        gain=off_policy.difference(log, robust=True), support=found, warnings=warnings, left_out=left_out,
    )  # fmt: skip


def sentences(found: Evaluation) -> Iterator[str]:
    """What was evaluated on what, and what speaks against relying on it."""
    support = found.support
    yield f"{found.name}, on {found.decisions:,} offers in {support.clusters:,} clusters of {found.source}."
    yield (
        f"Its weights are worth {support.effective:,.0f} clusters; the largest is {support.largest_weight:.1f}, "
        f"and the log covers {min(support.mean_weight, 1.0):.0%} of what it does."
    )
    for why, offers in sorted(found.left_out.items()):
        yield f"{offers:,} offers that {why} are left out."
    for warning in found.warnings:
        yield f"Warning: {warning}"


def notes(found: Evaluation) -> Iterator[str]:
    """The gain, and how the table is to be read."""
    base, gain = found.estimates[0].value, found.gain
    share = f" ({gain.value / base:+.1%})" if base > 0 else ""
    yield (
        f"Against what decided then, doubly robust: {shown(gain.value, found.unit, sign=True)}{share}, from "
        f"{shown(gain.low, found.unit, sign=True)} to {shown(gain.high, found.unit, sign=True)}."
    )
    yield "Intervals are of 95 %, clustered, for one look; effective is how many clusters of equal weight they rest on."


def shown(value: float, unit: str, *, sign: bool = False) -> str:
    """A reward per offer, in its unit.

    >>> shown(0.0975, "of list price"), shown(0.0975, "", sign=True), shown(float("nan"), "")
    ('9.75%', '+0.0975', '-')
    """
    if np.isnan(value):
        return "-"
    plus = "+" if sign else ""
    return f"{value:{plus}.2%}" if unit else f"{value:{plus}.4g}"


def rows(found: Evaluation) -> list[tuple[str, ...]]:
    """The estimates as texts."""
    return [
        (NAMES[each.name], *(shown(value, found.unit) for value in (each.value, each.low, each.high)),
         f"{each.effective:,.0f}")
        for each in found.estimates
    ]  # fmt: skip


def head(found: Evaluation) -> tuple[str, ...]:
    """The table's head."""
    return "estimate", f"reward per offer{', ' + found.unit if found.unit else ''}", "from", "to", "effective"


def table(found: Evaluation) -> "Table":
    """The estimates."""
    from rich.table import Table

    drawn = Table(box=None)
    for place, title in enumerate(head(found)):
        drawn.add_column(title, justify="right" if place else "left")
    for row in rows(found):
        drawn.add_row(*row)
    return drawn


def as_json(found: Evaluation) -> dict[str, Any]:
    """As plain data."""
    return {
        "candidate": found.name, "source": found.source, "unit": found.unit, "decisions": found.decisions,
        "estimates": {each.name: asdict(each) for each in found.estimates}, "gain": asdict(found.gain),
        "support": asdict(found.support), "warnings": list(found.warnings), "left_out": dict(found.left_out),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ the page
class Bar(NamedTuple):
    """One line of the drawing: an estimate and its interval, in its units."""

    name: str
    text: str
    value: float
    low: float
    high: float


def page(found: Evaluation) -> str:
    """One HTML file that needs no network."""
    return rendered(
        "evaluation.html.jinja",
        found=found, sentences=list(sentences(found)), notes=list(notes(found)), head=head(found), rows=rows(found),
        bars=bars(found), left=LEFT, right=RIGHT,
    )  # fmt: skip


def bars(found: Evaluation) -> list[Bar]:
    """The estimates that there are, at the drawing's scale."""
    there = [each for each in found.estimates if not np.isnan(each.value)]
    lowest, highest = min(each.low for each in there), max(each.high for each in there)
    width = highest - lowest or 1.0
    return [
        Bar(
            NAMES[each.name], shown(each.value, found.unit),
            *(round(LEFT + (RIGHT - LEFT) * (end - lowest) / width, 1) for end in (each.value, each.low, each.high)),
        )
        for each in there
    ]  # fmt: skip
