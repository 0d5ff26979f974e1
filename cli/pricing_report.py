"""What `ibook pricing report` and `ibook pricing experiment` say, in words and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ibook.experiment_figures import FEWEST_SALES, FEWEST_SLOTS, ArmReport, report, tally
from ibook.experiments import ARMS, LIST_PRICE, Trial, share_of, standing_at
from ibook.messages import ArmEnded, ExperimentShares, PriceExperiment
from ibook.slot_book import SlotBook, arm_of, experiment_slots, left_out, shown_by_arm

if TYPE_CHECKING:
    from rich.table import Table

NAMES = {"list_price": "list price", "rules": "rules", "bandit": "bandit"}
BEHIND = timedelta(seconds=10)
"""Less is not worth a word."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """All that is told of the experiment."""

    trial: Trial
    ended: Sequence[ArmEnded]
    since: datetime
    events: int
    open_slots: int
    next_settled: datetime | None
    behind: timedelta
    """How long ago the oldest journal entry came that the rewards worker has not read."""
    within: float
    arms: Sequence[ArmReport]
    shown: Mapping[str, int]
    """Arm -> prices shown in its settled slots, whether they count or not."""
    left_out: Mapping[str, int]
    """Why settled slots are no part of it -> how many."""

    @property
    def slots(self) -> int:
        """Settled slots of all arms."""
        return sum(each.slots for each in self.arms)


def standing_of(
    book: SlotBook, order: PriceExperiment | None, shares: ExperimentShares, *, since: datetime, now: datetime,
    grace: timedelta, whole: datetime, within: float,
) -> Standing:  # fmt: skip
    """How the experiment stands by what the log holds since an instant, rewarded until `whole`."""
    counts_from = order.counts_from if order else 0
    settled = list(book.settled(whole, grace))
    ours = {decision.event_id for decision, _ in settled if arm_of(decision)}
    drawn = sum(arm_of(decision) is not None for decision in book.decisions.values())
    return Standing(
        trial=standing_at(order, shares, now), ended=order.ended if order else (), since=since, events=len(ours),
        open_slots=drawn - sum(arm_of(decision) is not None for decision, _ in settled),
        next_settled=book.next_settled(now, grace), behind=now - whole, within=within,
        arms=report(tally(experiment_slots(settled, counts_from)), within=within),
        shown=shown_by_arm(book, settled, counts_from), left_out=left_out(settled, counts_from),
    )  # fmt: skip


def sentences(found: Standing) -> Iterator[str]:
    """What holds, what the figures rest on, and what is missing."""
    yield shares_sentence(found.trial)
    yield from ended_sentences(found.ended)
    since = f"{found.since:%Y-%m-%d %H:%M} UTC"
    if not found.slots:
        yield f"There is nothing to report yet: no slot that was shown since {since} is settled."
        yield from left_out_sentences(found)
        if found.next_settled:
            yield (
                f"{found.open_slots} are open; the first will be settled at {found.next_settled:%Y-%m-%d %H:%M:%S} "
                "UTC, when its quotes have expired."
            )
        return
    offers = sum(each.offers for each in found.arms)
    yield (
        f"{found.slots:,} settled slots of {found.events:,} events with {offers:,} offers since {since}; "
        f"{found.open_slots:,} are still open."
    )
    yield from left_out_sentences(found)
    if found.behind > BEHIND:
        yield f"journal-to-rewards is {found.behind.total_seconds():,.0f} s behind: so much longer are slots open."


def left_out_sentences(found: Standing) -> Iterator[str]:
    """What the figures do not hold."""
    if found.left_out:
        yield "Left out are slots " + ", ".join(f"{why} ({n:,})" for why, n in sorted(found.left_out.items())) + "."
    shown, offers = sum(found.shown.values()), sum(each.offers for each in found.arms)
    if shown > offers:
        yield (
            f"Of {shown:,} prices shown {shown - offers:,} do not count as offers: of buyers beyond their caps, or "
            "with a sale that was declined or taken back."
        )


def ended_sentences(ended: Sequence[ArmEnded]) -> Iterator[str]:
    """Which arms decide no more, and why."""
    for each in ended:
        yield f"{NAMES.get(each.arm, each.arm).capitalize()} was ended: {each.why}"


def shares_sentence(trial: Trial) -> str:
    """Which arm decides how much."""
    told = ", ".join(f"{NAMES[arm]} {share_of(trial.shares, arm):.0%}" for arm in ARMS)
    which = f"version {trial.version}" if trial.version else "as set up"
    return f"Who decides the slots ({which}): {told}."


def notes(found: Standing) -> Iterator[str]:
    """How the table is to be read."""
    yield (
        "Revenue per offer is a share of the list price, so that events can be added up; a sale counts as one ticket. "
        "The 95 % interval of the uplift is clustered by slot and holds at every look: stop when you like."
    )
    yield f"Slots needed: of all arms, until the uplift is known to {found.within:.0%} of list price's revenue."
    for each in found.arms:
        if each.arm != LIST_PRICE and each.uplift is None:
            yield too_early(each)


def too_early(each: ArmReport) -> str:
    """What is missing until anything can be said of an arm."""
    about = f"it needs about {each.slots_needed:,} more slots" if each.slots_needed else "nothing was sold to tell by"
    return (
        f"{NAMES[each.arm].capitalize()}: too early to say; {about} until there is an interval "
        f"({FEWEST_SLOTS} slots and {FEWEST_SALES} sales, of list price too)."
    )


def table(found: Standing) -> "Table":
    """The arms."""
    from rich.table import Table

    drawn = Table(box=None)
    drawn.add_column("arm")
    for head in ("slots", "shown", "offers", "sales", "revenue per offer", "uplift", "from", "to", "slots needed"):
        drawn.add_column(head, justify="right")
    for each in found.arms:
        drawn.add_row(
            NAMES[each.arm],
            *(f"{n:,}" for n in (each.slots, found.shown.get(each.arm, 0), each.offers, each.sales)),
            "" if each.revenue_per_offer is None else f"{each.revenue_per_offer:.2%}", *_uplift(each),
        )  # fmt: skip
    return drawn


def _uplift(each: ArmReport) -> tuple[str, ...]:
    if each.arm == LIST_PRICE:
        return ("",) * 4
    if each.uplift is None or each.low is None or each.high is None:
        return "too early", "", "", ""
    needed = f"{each.slots_needed:,}" if each.slots_needed else "enough"
    return f"{each.uplift:+.1%}", f"{each.low:+.1%}", f"{each.high:+.1%}", needed


def as_json(found: Standing) -> dict[str, Any]:
    """As plain data."""
    return {
        "version": found.trial.version,
        "shares": {arm: share_of(found.trial.shares, arm) for arm in ARMS},
        "ended": {each.arm: each.why for each in found.ended},
        "since": found.since,
        "events": found.events,
        "open_slots": found.open_slots,
        "behind_seconds": found.behind.total_seconds(),
        "within": found.within,
        "shown": dict(found.shown),
        "left_out": dict(found.left_out),
        "arms": [asdict(each) for each in found.arms],
    }
