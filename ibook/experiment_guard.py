"""When an arm of the experiment must stop deciding: it certainly loses money against list price."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from ibook.experiment_figures import ArmReport, Tally
from ibook.experiments import LIST_PRICE, ExperimentArm, share_of
from ibook.ids import message_id
from ibook.messages import ArmFigures, ExperimentFigures, ExperimentShares


def losing(reports: Sequence[ArmReport], shares: ExperimentShares, *, loss: float) -> tuple[ExperimentArm, str] | None:
    """The arm that decides slots, and all of whose interval lies below `loss`, and why; the worst one if several.

    The interval holds at every look, so looking every few seconds raises no more false alarms than looking once.
    """
    worst: tuple[float, ExperimentArm, str] | None = None
    for each in reports:
        if each.high is None or each.uplift is None or each.arm == LIST_PRICE or not share_of(shares, each.arm):
            continue
        if each.high < -loss and (worst is None or each.uplift < worst[0]):
            why = (
                f"It earns {-each.uplift:.1%} less than list price per offer, {-each.high:.1%} at least, "
                f"over {each.slots} slots; {loss:.1%} is allowed."
            )
            worst = each.uplift, each.arm, why
    return worst[1:] if worst else None


def may_judge(total: Tally, *, now: datetime, patience: timedelta, standing: ExperimentShares | None = None) -> bool:
    """Whether the experiment has run for so long: whoever learns pays for it first, and a rush is not what follows.

    An order begins an experiment of its own, of which `total` is. Where nobody ordered any, `standing` are the shares
    that the settings name: new ones begin one too.
    """
    begun = total.begun if standing is None else total.begun_with.get(standing)
    return begun is not None and now - begun >= patience


def figures_of(reports: Sequence[ArmReport], *, version: int, since: datetime, now: datetime) -> ExperimentFigures:
    """The reports as a message."""
    arms = [
        ArmFigures(
            arm=each.arm, slots=each.slots, offers=each.offers, sales=each.sales,
            revenue_per_offer=each.revenue_per_offer or 0.0, uplift=each.uplift, low=each.low, high=each.high,
            slots_needed=each.slots_needed,
        )
        for each in reports
    ]  # fmt: skip
    return ExperimentFigures(
        message_id=message_id("figures", str(version), now.isoformat()), occurred_at=now, version=version, since=since,
        arms=arms,
    )  # fmt: skip
