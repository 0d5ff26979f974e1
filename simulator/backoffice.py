"""What the shop learns late: early warnings, chargebacks, their reversals, and verdicts of the manual review."""

from math import log
from random import Random
from typing import Any, Literal

from ibook import messages as m
from ibook import topics
from simulator.engine import Engine
from simulator.feed import Feed

CHARGEBACK_DAYS = (30.0, 90.0, 120.0)
"""Median, 95th percentile and cap of a chargeback's delay. Assumed: labels are said to come after 30 to 90 days, and
a card holder has 120."""
_SIGMA = log(CHARGEBACK_DAYS[1] / CHARGEBACK_DAYS[0]) / 1.6449
"""So many standard deviations lie between a normal distribution's median and its 95th percentile."""
WARNING_DAYS = (3.0, 14.0)
WARNED = 0.5
"""Share of disputes the issuer warns of early. Assumed, as its delay: such reports are said to come within days."""
REVERSED = 0.02
"""Share of chargebacks that are taken back. Assumed, as the delay."""
REVERSAL_DAYS = (5.0, 20.0)
"""Days from chargeback to reversal."""


def chargeback_days(rng: Random) -> float:
    """Days from a purchase to its chargeback: lognormal up to the cap."""
    median, _, cap = CHARGEBACK_DAYS
    return min(cap, rng.lognormvariate(log(median), _SIGMA))


class BackOffice:
    """Publishes fraud labels with their delays; a day of delay takes `day_seconds`."""

    def __init__(self, engine: Engine, feed: Feed, rng: Random, day_seconds: float) -> None:
        self._engine = engine
        self._feed = feed
        self._rng = rng
        self._day_seconds = day_seconds

    def expect_dispute(self, request: m.PurchaseRequested) -> None:
        """The card holder of a settled purchase will report it, rightly or not."""
        days = chargeback_days(self._rng)
        if self._rng.random() < WARNED:
            early = min(days, self._rng.uniform(*WARNING_DAYS))
            self._later(early, request, "early_warning", is_fraud=True)
        self._later(days, request, "chargeback", is_fraud=True)
        if self._rng.random() < REVERSED:
            self._later(days + self._rng.uniform(*REVERSAL_DAYS), request, "reversal", is_fraud=False)

    def reviewed(self, request: m.PurchaseRequested, *, is_fraud: bool) -> None:
        """A reviewer has decided."""
        self._publish(request, "review", is_fraud)

    def _later(
        self, days: float, request: m.PurchaseRequested, source: Literal["chargeback", "early_warning", "reversal"],
        *, is_fraud: bool,
    ) -> None:  # fmt: skip
        self._engine.after(days * self._day_seconds, lambda: self._publish(request, source, is_fraud))

    def _publish(
        self, request: m.PurchaseRequested,
        source: Literal["chargeback", "early_warning", "review", "reversal"], is_fraud: bool,
    ) -> None:  # fmt: skip
        label = m.FraudLabel(
            **self._feed.stamp(), **what_was_ordered(request), source=source, is_fraud=is_fraud,
            effective_at=request.occurred_at,
        )  # fmt: skip
        self._feed.send(topics.FRAUD_LABELS, request.transaction_id, label)


REPEATED = (*(name for name in m.Order.__struct_fields__ if name not in m.Message.__struct_fields__), "bin")


def what_was_ordered(purchase: m.PurchaseRequested) -> dict[str, Any]:
    """What outcomes and labels repeat of their purchase."""
    return {name: getattr(purchase, name) for name in REPEATED}
