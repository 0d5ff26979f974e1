"""What the page shows of the price experiment: who decides how many slots, what each arm earns, which were ended."""

from typing import Any

from ibook.edges.price_snapshots import Snapshots
from ibook.experiments import ARMS, Trial, share_of, shares_of, standing_at
from ibook.messages import ArmFigures
from serving.desk import PriceDesk

NAMES = {"list_price": "List price", "rules": "Rule on seats and time", "bandit": "Learned prices"}


def experiment_view(desk: PriceDesk) -> dict[str, Any]:
    """The rows of the table, and sentences above and below it."""
    known = desk.snapshots
    trial = standing_at(known.experiment, shares_of(desk.settings), desk.clock.now())
    figures = known.figures
    return {
        "rows": [_row(arm, trial, figures.arms if figures else []) for arm in ARMS],
        "told": f"{figures.occurred_at:%Y-%m-%d %H:%M:%S} UTC" if figures else "",
        "ended": _ended(known),
    }


def _row(arm: str, trial: Trial, figures: list[ArmFigures]) -> dict[str, str]:
    name = next(each for each in ARMS if each == arm)
    told = next((each for each in figures if each.arm == arm), None)
    row = {"name": NAMES[name], "share": f"{share_of(trial.shares, name):.0%}"}
    if told is None:
        return row | {"slots": "", "offers": "", "sales": "", "earned": "", "uplift": ""}
    return row | {
        "slots": f"{told.slots:,}", "offers": f"{told.offers:,}", "sales": f"{told.sales:,}",
        "earned": f"{told.revenue_per_offer:.2%}", "uplift": _uplift(told),
    }  # fmt: skip


def _uplift(told: ArmFigures) -> str:
    if told.arm == "list_price":
        return "compared with"
    if told.uplift is None or told.low is None or told.high is None:
        return f"too early to say: about {told.slots_needed:,} more slots" if told.slots_needed else "too early to say"
    found = f"{told.uplift:+.1%} ({told.low:+.1%} to {told.high:+.1%})"
    return f"{found}; {told.slots_needed:,} more slots until it is known to 5 %" if told.slots_needed else found


def _ended(known: Snapshots) -> list[str]:
    ended = known.experiment.ended if known.experiment else []
    return [f"{NAMES.get(each.arm, each.arm)}: ended. {each.why}" for each in ended]
