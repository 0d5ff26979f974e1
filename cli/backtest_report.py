"""What `ibook fraud backtest` found, in words: for the terminal, for its page and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from msgspec import structs

from ibook.backtest import Compared
from ibook.backtest_money import LEAST_EXPLORED, MEASURES, Measure, Saving, Savings
from ibook.costs import ACTIONS, Costs

NAMES: dict[Measure, str] = {
    "disputes": "disputes avoided", "lost_sales": "honest sales not lost", "reviews": "reviews, challenges",
    "total": "all together", "frauds_let_through": "frauds stopped", "false_declines": "false declines avoided",
}  # fmt: skip
COUNTED: tuple[Measure, ...] = ("frauds_let_through", "false_declines")
"""Measures that are numbers of purchases, not money."""


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """All that is told of a comparison."""

    before: str
    """By what the past was decided."""
    after: str
    source: str
    compared: Compared
    savings: Savings
    costs: Costs
    currency: str
    left_out: dict[str, int]
    delays_days: tuple[float, ...]
    """From purchase to the label that says fraud, for those that came."""


class Table(NamedTuple):
    """A table of texts; all columns but the first are numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def money(minor: float) -> str:
    """An amount without its minor units, with its sign where it has one.

    >>> money(123456), money(-99950), money(-3)
    ('1,235', '-1,000', '0')
    """
    return f"{round(minor / 100) or 0:,}"


def signed(minor: float) -> str:
    """A difference.

    >>> signed(123456), signed(-99950), signed(3)
    ('+1,235', '-1,000', '0')
    """
    return f"{whole:+,}" if (whole := round(minor / 100)) else "0"


# --------------------------------------------------------------------------------------------------------- sentences
def sentences(found: Backtest) -> Iterator[str]:
    """What was compared, what the savings rest on, and what is assumed."""
    compared, basis = found.compared, found.savings.basis
    yield f"{found.before}, compared with {found.after}."
    yield (
        f"{compared.n:,} purchases {_span(compared.first, compared.last)}, from {found.source}; "
        f"of {compared.n_known:,} is known what they were."
    )
    for why, count in sorted(found.left_out.items()):
        yield f"{count:,} decisions that {why} are left out."
    if not len(compared.moved.cards):
        yield "Every decision is the same: nothing is saved, nothing lost."
        return
    yield (
        f"{len(compared.moved.cards):,} decisions differ: of {basis.known:,} is known what they were, "
        f"of {basis.unknowable:,} nobody can know."
    )
    if basis.explored:
        yield f"{basis.explored:,} that were let through at random speak for {basis.spoken_for:,} would-be declines."
    if not basis.explored and (compared.moved.seen_chance < 1).any():
        yield f"Of the would-be declines that differ, fewer than {LEAST_EXPLORED} were let through: too few to go by."
    yield from _reviews_a_day(found)
    yield from _delays(found)


def _reviews_a_day(found: Backtest) -> Iterator[str]:
    first, last, review = found.compared.first, found.compared.last, ACTIONS.index("review")
    days = (last - first) / timedelta(days=1) if first and last else 0.0
    if days < 1:
        return
    then, now = (side.purchases[review] / days for side in (found.compared.before, found.compared.after))
    room = found.costs.reviews_per_day
    told = "" if room is None else f"; the policy says that {room:,} can be done"
    yield f"{then:,.0f} reviews a day then, {now:,.0f} with these{told}."


def _span(first: datetime | None, last: datetime | None) -> str:
    return f"from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC" if first and last else ""


def _delays(found: Backtest) -> Iterator[str]:
    delays = sorted(found.delays_days)
    if not delays:
        yield "No label says fraud yet: what settled counts as honest, so stricter rules can only seem to cost."
        return
    half, most = (delays[int(len(delays) * share)] for share in (0.5, 0.9))
    yield (
        f"Half of {len(delays):,} labels that say fraud came within {half:.1f} days, nine in ten within {most:.1f}; "
        "what settled and is younger counts as honest until then."
    )


def assumptions(costs: Costs) -> str:
    """What actions are taken to cost."""
    return (
        f"Taken as given: a margin of {costs.margin:.0%}, {money(costs.goodwill_minor)} of goodwill lost with each "
        f"honest buyer turned away, {money(costs.chargeback_fee_minor)} per chargeback on top of its amount, "
        f"{money(costs.review_minor)} per review, {money(costs.challenge_minor)} per challenge; "
        f"reviewers err {costs.review_errs:.0%} of the time, "
        f"{costs.challenge_abandoned:.0%} of honest buyers give up at a challenge, "
        f"{costs.challenge_passed:.0%} of frauds pass it."
    )


# ------------------------------------------------------------------------------------------------------------ tables
def tables(found: Backtest) -> list[Table]:
    """Decisions, money, rules."""
    return [_decisions(found), _money(found), _rules(found)]


def _decisions(found: Backtest) -> Table:
    before, after = found.compared.before, found.compared.after
    rows = [
        (action, f"{before.purchases[i]:,.0f}", f"{after.purchases[i]:,.0f}",
         f"{after.purchases[i] - before.purchases[i]:+,.1f}", money(before.amounts[i]), money(after.amounts[i]),
         signed(after.amounts[i] - before.amounts[i]))
        for i, action in enumerate(ACTIONS)
    ]  # fmt: skip
    note = "Would-be declines of the exploration slice count by their chance: 0.02 approved, 0.98 declined."
    head = ("decision", "then", "with these", "difference", f"{found.currency} then", "with these", "difference")
    return Table("Decisions", head, rows, note)


def _money(found: Backtest) -> Table:
    rows = [_saved(NAMES[measure], found.savings.by_measure[measure], measure in COUNTED) for measure in MEASURES]
    note = (
        "The interval is of 95 %, by resampling cards. What nobody can know comes on top: purchases that were turned "
        "down, and what they would have been. Minus is a loss."
    )
    head = ("saved", found.currency, "from", "to", "nobody can know: at worst", "at best")
    return Table("Money", head, rows, note)


def _saved(name: str, saving: Saving, counted: bool) -> tuple[str, ...]:
    if counted:
        return name, *(f"{value:+,.1f} purchases" if value else "0" for value in saving)
    return name, *(signed(value) for value in saving)


def _rules(found: Backtest) -> Table:
    rows = [
        (name, hits.action, f"{hits.hits_before:,}", f"{hits.hits:,}", money(hits.amount_minor), f"{hits.fraud:,}",
         f"{hits.honest:,}", f"{hits.hits - hits.fraud - hits.honest:,}")
        for name, hits in found.compared.rules.items()
    ]  # fmt: skip
    head = ("rule", "action", "hits then", "with these", found.currency, "known fraud", "known honest", "neither")
    return Table("Rules", head, rows)


def as_json(found: Backtest) -> dict[str, Any]:
    """As plain data; money in minor units."""
    compared, savings = found.compared, found.savings
    return {
        "before": found.before, "after": found.after, "source": found.source, "currency": found.currency,
        "purchases": compared.n, "known": compared.n_known, "first": compared.first, "last": compared.last,
        "left_out": found.left_out, "moved": len(compared.moved.cards),
        "decisions": {
            action: {
                "before": compared.before.purchases[i], "after": compared.after.purchases[i],
                "amount_before_minor": compared.before.amounts[i], "amount_after_minor": compared.after.amounts[i],
            }
            for i, action in enumerate(ACTIONS)
        },
        "saved": {measure: saving._asdict() for measure, saving in savings.by_measure.items()},
        "basis": savings.basis._asdict(), "costs": structs.asdict(found.costs),
        "rules": {name: asdict(hits) for name, hits in compared.rules.items()},
    }  # fmt: skip


def print_all(found: Backtest) -> None:
    """Print all of it."""
    from rich.console import Console
    from rich.table import Table as Drawn

    for sentence in sentences(found):
        print(sentence)
    console = Console(width=140)
    for table in tables(found):
        first, *others = table.head
        drawn = Drawn(box=None, title=table.title, title_justify="left")
        drawn.add_column(first)
        for head in others:
            drawn.add_column(head, justify="right")
        for row in table.rows:
            drawn.add_row(*row)
        print()
        console.print(drawn)
        if table.note:
            print(table.note)
    print(f"\n{assumptions(found.costs)}")
