"""What each slot showed and what came of it: the quote journal and the settled rewards, in whatever order they come.

A slot is known by event, ticket type, number and price: where people intervened in its middle it had two prices, and
counts as two.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from ibook.experiment_figures import Slot
from ibook.experiments import ARMS, ExperimentArm
from ibook.messages import PriceReward, QuoteIssued
from ibook.pricing import RULE_ARM

SETTLE = timedelta(seconds=5)
"""After a quote's grace is over, until its reward must have been read."""


class SlotKey(NamedTuple):
    """What names a slot."""

    event_id: str
    ticket_type: str
    slot: int
    price_minor: int

    @classmethod
    def of(cls, decision: QuoteIssued) -> "SlotKey":
        """The slot that a quote is of."""
        return cls(decision.event_id, decision.ticket_type, decision.slot, decision.price_minor)


@dataclass(slots=True)
class Outcome:
    """What a slot's offers came to: settled ones less those taken back; revenue in minor units, a ticket a sale."""

    offers: int = 0
    sales: int = 0
    revenue_minor: int = 0


class SlotRecord(NamedTuple):
    """A slot whose offers are settled; `decision` is its first quote."""

    decision: QuoteIssued
    outcome: Outcome


@dataclass
class SlotBook:
    """Adds up; one thread at a time."""

    shown: dict[SlotKey, set[int]] | None = None
    """The quotes of each slot, by hash, whether they count or not; None: who does not ask is spared the memory."""
    decisions: dict[SlotKey, QuoteIssued] = field(default_factory=dict)
    outcomes: dict[SlotKey, Outcome] = field(default_factory=dict)
    _read: dict[tuple[int, int], int] = field(default_factory=dict)
    """Rewards' partition and journal partition -> sequence of the last reward added: repeats are skipped."""

    def issue(self, quote: QuoteIssued) -> None:
        """Note what a quote says of its slot."""
        key = SlotKey.of(quote)
        if self.shown is not None:
            self.shown.setdefault(key, set()).add(hash(quote.quote_id))
        known = self.decisions.get(key)
        first = known if known is not None and known.occurred_at <= quote.occurred_at else quote
        # An order in the middle of a slot: part of it is the experiment's and part is not, so none is.
        decided_by = quote.decided_by if known is None or known.decided_by == quote.decided_by else ""
        if first is not known or decided_by != first.decided_by:
            # Without what is a quote's own: there may be a hundred thousand slots.
            self.decisions[key] = replace(first, message_id="", quote_id="", buyer="", decided_by=decided_by)

    def reward(self, reward: PriceReward, partition: int) -> None:
        """Add a reward that was read from this partition; a repeated one counts once."""
        source = partition, reward.source_partition
        if reward.sequence <= self._read.get(source, -1):
            return
        self._read[source] = reward.sequence
        key = SlotKey(reward.event_id, reward.ticket_type, reward.slot, reward.price_minor)
        outcome = self.outcomes.setdefault(key, Outcome())
        outcome.offers += reward.offers
        outcome.sales += reward.sales
        outcome.revenue_minor += reward.revenue_minor

    def settled(self, now: datetime, grace: timedelta) -> Iterator[SlotRecord]:
        """Slots that are over: sales come before those who did not buy, so a slot half settled looks too good."""
        for key, decision in self.decisions.items():
            if decision.expires_at + grace + SETTLE <= now:
                yield SlotRecord(decision, self.outcomes.get(key, Outcome()))

    def close(self, now: datetime, grace: timedelta) -> list[SlotRecord]:
        """The slots that are settled, which then are forgotten: what is taken back later changes nothing."""
        found = list(self.settled(now, grace))
        for decision, _ in found:
            key = SlotKey.of(decision)
            del self.decisions[key]
            self.outcomes.pop(key, None)
        return found

    def next_settled(self, now: datetime, grace: timedelta) -> datetime | None:
        """When the next open slot will be settled; None when none is open."""
        due = (decision.expires_at + grace + SETTLE for decision in self.decisions.values())
        return min((moment for moment in due if moment > now), default=None)


def experiment_slots(records: Iterable[SlotRecord], counts_from: int) -> Iterator[Slot]:
    """The slots of the experiment, since a version of it."""
    for decision, outcome in records:
        arm = arm_of(decision)
        if arm is None or decision.shares is None or decision.experiment < counts_from or not decision.list_price_minor:
            continue
        yield Slot(
            arm,
            decision.shares,
            outcome.offers,
            outcome.sales,
            outcome.revenue_minor / decision.list_price_minor,
            decision.occurred_at,
        )


def shown_by_arm(book: SlotBook, records: Iterable[SlotRecord], counts_from: int) -> Counter[str]:
    """Prices shown in the slots of the experiment, by arm, whether they count or not; of a book that keeps them."""
    found: Counter[str] = Counter()
    for decision, _ in records:
        if arm_of(decision) and decision.experiment >= counts_from:
            found[decision.decided_by] += len((book.shown or {}).get(SlotKey.of(decision), ()))
    return found


def left_out(records: Iterable[SlotRecord], counts_from: int) -> Counter[str]:
    """Why slots are no part of the experiment -> how many."""
    found: Counter[str] = Counter()
    for decision, _ in records:
        if arm_of(decision) is None:
            found[_why_left_out(decision)] += 1
        elif decision.experiment < counts_from:
            found["of an earlier experiment"] += 1
    return found


def _why_left_out(decision: QuoteIssued) -> str:
    if decision.total_propensity is not None:
        return "by a policy that was gone back to, or with an order in their middle"
    if decision.arm == RULE_ARM:
        return "by rule, since learning was away"
    return "at list price, by order or for want of a policy"


def arm_of(decision: QuoteIssued) -> ExperimentArm | None:
    """The arm that decided; None for prices by order and those without a policy."""
    return next((arm for arm in ARMS if arm == decision.decided_by), None)
