"""What chance may approve: drawn by card and day, within a budget that is counted as it is spent.

Each partition has an equal part of what the policy allows a day, so that workers need not ask one another; what was
spent goes with the partition, since its verdicts tell it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from msgspec import structs

from ibook.fraud import Decision, draw_of
from ibook.messages import PurchaseRequested


class Spent(NamedTuple):
    """What chance approved in a partition on a day (UTC, of the decisions). The later day counts, then the more."""

    day: date
    amount_minor: int


class Budget(NamedTuple):
    """What chance may approve in each partition on a day, and what it has approved so far."""

    per_day_minor: float
    spent: Mapping[int, Spent]


def exploration_draw(purchase: PurchaseRequested, seed: int) -> float:
    """The draw in [0, 1) of the exploration slice: the same for all purchases of a card on a day (UTC, event time).

    So a redelivery changes nothing, and trying again under another transaction id is no new draw.
    """
    return draw_of(f"exploration:{purchase.card_id}:{purchase.occurred_at.astimezone(UTC).date()}", seed)


def within_budget(
    decisions: Sequence[Decision], purchases: Sequence[tuple[int, int]], budget: Budget, at: datetime
) -> tuple[list[Decision], dict[int, Spent]]:
    """Close the slice to what the day's budget can't pay any more; returns what is spent afterwards, too.

    `purchases` are partition and amount in minor units, in the order of the decisions; `at` is their instant. What the
    budget can't pay is closed whatever was drawn: P(approve) is 0 there, and the propensity says so.
    """
    day, spent, allowed = at.astimezone(UTC).date(), dict(budget.spent), list(decisions)
    for place, (decision, (partition, amount)) in enumerate(zip(decisions, purchases, strict=True)):
        if decision.propensity == 1.0:
            continue
        today = _of_day(spent.get(partition), day)
        if today.amount_minor + amount > budget.per_day_minor:
            allowed[place] = closed(decision)
        elif decision.explored:
            spent[partition] = today._replace(amount_minor=today.amount_minor + amount)
    return allowed, spent


def closed(decision: Decision) -> Decision:
    """The decision without the slice; what was outside of it stays as it is."""
    if decision.propensity == 1.0:
        return decision
    return structs.replace(decision, action="decline", propensity=1.0, explored=False, exploration_closed=True)


def _of_day(spent: Spent | None, day: date) -> Spent:
    """What was spent on this day; a clock that goes back opens no day again."""
    return Spent(day, 0) if spent is None or spent.day < day else spent
