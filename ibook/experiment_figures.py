"""What the arms of an experiment earned: revenue per offer, and its uplift against list price, at every look.

A slot is one observation. What it brought counts divided by the share its arm had (Horvitz & Thompson 1952), so shares
may change; the share of an arm is known, so the sums are martingales whatever demand does from slot to slot. Revenue
per offer is a ratio of two such sums, and uplift a ratio of those: their spread is that of the linear part (the delta
method; Deng, Knoblich & Lu 2018, Applying the Delta Method in Metric Analytics).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ibook.anytime import margin, needed
from ibook.experiments import ARMS, LIST_PRICE, ExperimentArm, share_of
from ibook.messages import ExperimentShares

Floats = NDArray[np.float64]
FEWEST_SLOTS = 25
"""Of an arm and of list price: with fewer no interval is given, since theory speaks of many."""
FEWEST_SALES = 20
"""The same of sales: while there are few, an arm whose first ones come late looks as if it lost more than it does."""
SMALLEST_MARGIN = 0.05
"""Slots are needed until the uplift is known this exactly, as a share of list price's revenue per offer."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What a slot came to; revenue in multiples of the list price, so that events can be added up."""

    arm: ExperimentArm
    shares: ExperimentShares
    offers: int
    sales: int
    revenue: float
    begun: datetime | None = None
    """When its first price was shown."""


@dataclass(frozen=True)
class Moments:
    """Sums over an arm's slots, each divided by its share: numbers, or arrays that grow with time.

    `revenue2`, `cross` and `offers2` are sums of squares and of the product, each divided by the squared share.
    """

    slots: Floats
    revenue: Floats
    offers: Floats
    revenue2: Floats
    cross: Floats
    offers2: Floats

    def per_offer(self) -> Floats:
        """Revenue per offer."""
        return self.revenue / self.offers

    def spread2(self, n: Floats, per_offer: Floats) -> Floats:
        """Variance that one of `n` slots adds to an estimate of revenue per offer."""
        residual = self.revenue2 - 2.0 * per_offer * self.cross + per_offer**2 * self.offers2
        few = self.slots / np.maximum(self.slots - 1.0, 1.0)  # the mean was estimated from the same slots
        return few * np.maximum(residual, 0.0) * n / self.offers**2


def moments(weights: Floats, revenue: Floats, offers: Floats, *, running: bool = False) -> Moments:
    """Moments of slots, shape ``(n,)`` each; weights are 1 / share for the arm's slots, 0 for others.

    `running` keeps the sums after every slot, shape ``(n,)``; else they are of shape ``()``.
    """
    r, o = weights * revenue, weights * offers
    add = np.cumsum if running else np.sum
    sums = (add(each) for each in ((weights > 0.0).astype(np.float64), r, o, r * r, r * o, o * o))
    return Moments(*(np.asarray(each, dtype=np.float64) for each in sums))


@dataclass(frozen=True)
class Uplift:
    """Of an arm against list price, as a share of its revenue per offer; `sd` is that of one slot in its logarithm."""

    value: Floats
    low: Floats
    high: Floats
    sd: Floats


def uplift(arm: Moments, base: Moments, n: Floats) -> Uplift:
    """The uplift after `n` slots in which both arms could be drawn, with its always-valid interval.

    The interval is that of the logarithm of the ratio, whose distribution is the less skewed one.
    """
    arm_per_offer, base_per_offer = arm.per_offer(), base.per_offer()
    ratio = arm_per_offer / base_per_offer
    sd = np.sqrt(arm.spread2(n, arm_per_offer) / arm_per_offer**2 + base.spread2(n, base_per_offer) / base_per_offer**2)
    half = sd * margin(n)
    return Uplift(ratio - 1.0, ratio * np.exp(-half) - 1.0, ratio * np.exp(half) - 1.0, sd)


# ------------------------------------------------------------------------------------------------------------- a tally
def _terms(weight: float, slot: Slot) -> tuple[float, ...]:
    """What a slot adds to moments, and its sales."""
    r, o = weight * slot.revenue, weight * slot.offers
    return 1.0, r, o, r * r, r * o, o * o, float(slot.sales)


@dataclass
class Tally:
    """Slots added up one by one: per arm, and per comparison of an arm with list price."""

    counts: dict[ExperimentArm, tuple[int, int, int]] = field(default_factory=dict)
    """Slots, offers, sales."""
    sums: dict[tuple[ExperimentArm, ExperimentArm], tuple[float, ...]] = field(default_factory=dict)
    """(Comparison, arm) -> the arm's moments and sales in slots that the comparison's arm and list price could have."""
    n: dict[ExperimentArm, int] = field(default_factory=dict)
    """Comparison -> such slots."""
    begun: datetime | None = None
    """When the first price was shown."""
    begun_with: dict[ExperimentShares, datetime] = field(default_factory=dict)
    """Shares -> when the first price was shown under them."""

    def add(self, slot: Slot) -> None:
        """Add a slot."""
        self.begun = min(filter(None, (self.begun, slot.begun)), default=None)
        if slot.begun is not None:
            self.begun_with[slot.shares] = min(slot.begun, self.begun_with.get(slot.shares, slot.begun))
        slots, offers, sales = self.counts.get(slot.arm, (0, 0, 0))
        self.counts[slot.arm] = slots + 1, offers + slot.offers, sales + slot.sales
        terms = _terms(1.0 / share_of(slot.shares, slot.arm), slot)
        for comparison in ARMS:
            if share_of(slot.shares, comparison) > 0.0 and slot.shares.list_price > 0.0:
                self.n[comparison] = self.n.get(comparison, 0) + 1
                if slot.arm in (comparison, LIST_PRICE):
                    self._add(comparison, slot.arm, terms)

    def _add(self, comparison: ExperimentArm, arm: ExperimentArm, terms: tuple[float, ...]) -> None:
        before = self.sums.get((comparison, arm), (0.0,) * len(terms))
        self.sums[comparison, arm] = tuple(one + other for one, other in zip(before, terms, strict=True))

    def copy(self) -> "Tally":
        """Another one to go on with."""
        return Tally(dict(self.counts), dict(self.sums), dict(self.n), self.begun, dict(self.begun_with))

    def moments(self, comparison: ExperimentArm, arm: ExperimentArm) -> Moments:
        """The moments of an arm in a comparison, of shape ``()``."""
        sums = self.sums.get((comparison, arm), (0.0,) * 7)[:-1]
        return Moments(*(np.asarray(each, dtype=np.float64) for each in sums))

    def slots_and_sales(self, comparison: ExperimentArm, arm: ExperimentArm) -> tuple[float, float]:
        """How many of an arm are in a comparison."""
        slots, *_, sales = self.sums.get((comparison, arm), (0.0, 0.0))
        return slots, sales


def tally(slots: Iterable[Slot], begun: Tally | None = None) -> Tally:
    """Slots added up, in any order; on top of another tally, which stays as it is."""
    total = begun.copy() if begun else Tally()
    for slot in slots:
        total.add(slot)
    return total


# ----------------------------------------------------------------------------------------------------------- a report
@dataclass(frozen=True, kw_only=True)
class ArmReport:
    """What one arm earned; uplift and what follows are None for list price, and while there is too little to say."""

    arm: ExperimentArm
    slots: int
    offers: int
    sales: int
    revenue_per_offer: float | None
    """In multiples of the list price; None without offers."""
    uplift: float | None = None
    low: float | None = None
    high: float | None = None
    slots_needed: int | None = None
    """More slots, of all arms, until the uplift is known to `within`, or, while there is no interval, until there is
    one; None when nothing was sold to tell by."""


def report(total: Tally, *, within: float = SMALLEST_MARGIN) -> list[ArmReport]:
    """Every arm that had a slot."""
    return [_of_arm(arm, total, within) for arm in ARMS if arm in total.counts]


def _of_arm(arm: ExperimentArm, total: Tally, within: float) -> ArmReport:
    slots, offers, sales = total.counts[arm]
    own, base, n = total.moments(arm, arm), total.moments(arm, LIST_PRICE), total.n.get(arm, 0)
    per_offer = float(own.per_offer()) if own.offers > 0.0 else None
    missing = 0 if arm == LIST_PRICE else _until_interval(arm, total)
    if arm == LIST_PRICE or missing != 0:
        return ArmReport(
            arm=arm, slots=slots, offers=offers, sales=sales, revenue_per_offer=per_offer,
            slots_needed=missing or None,
        )  # fmt: skip
    found = uplift(own, base, np.array(float(n)))
    return ArmReport(
        arm=arm, slots=slots, offers=offers, sales=sales, revenue_per_offer=per_offer, uplift=float(found.value),
        low=float(found.low), high=float(found.high), slots_needed=max(0, needed(float(found.sd), within) - n),
    )  # fmt: skip


def _until_interval(arm: ExperimentArm, total: Tally) -> int | None:
    """Slots, of all arms, until this one and list price have what an interval needs, at their present pace."""
    n, found = total.n.get(arm, 0), 0.0
    for each in (arm, LIST_PRICE):
        for known, fewest in zip(total.slots_and_sales(arm, each), (FEWEST_SLOTS, FEWEST_SALES), strict=True):
            if not known:
                return None
            found = max(found, n * (fewest - known) / known)
    return ceil(found)
