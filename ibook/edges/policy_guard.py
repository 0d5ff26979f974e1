"""Compares a new policy with the one before it, on the purchases that it decides, and takes it back when they part."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import structlog

from ibook.edges.policy_in_force import InForce, PolicyInForce
from ibook.fraud import Decision
from ibook.guards import Bounds, Guard
from ibook.metrics import MODEL_GUARD
from ibook.rules import VerdictPolicy
from ibook.settings import Settings

log = structlog.get_logger()


class PolicyGuard:
    """Watches the policy in force while it is on probation. Any thread may tell it of a batch."""

    def __init__(self, policies: PolicyInForce, settings: Settings) -> None:
        self._policies = policies
        self._is_on = settings.guard_policy_gap > 0
        self._bounds = Bounds(  # of scores nothing is compared: both policies are given the same
            purchases=settings.guard_purchases, min_purchases=settings.guard_min_purchases,
            error_rate=settings.guard_error_rate, score_shift=float("inf"), fraud_ratio=float("inf"),
            approval_gap=settings.guard_policy_gap,
        )  # fmt: skip
        self._guarded, self._guard = "", Guard(self._bounds)
        """The release that is watched, by its message id, and its figures."""
        self._watching = threading.Lock()

    def watch(
        self, in_force: InForce, decisions: Sequence[Decision], decided_by: Callable[[VerdictPolicy], list[Decision]]
    ) -> None:
        """Let the guard see a batch, decided by what is in force; `decided_by` is what another policy makes of it."""
        if not self._is_on or in_force.former is None or not decisions:
            return
        try:
            before = decided_by(in_force.former)
            with self._watching:
                self._watch(in_force, (approved(before), approved(decisions)), len(decisions))
        except Exception:  # who watches must not keep anybody from an answer
            log.exception("a batch could not be watched")

    def _watch(self, in_force: InForce, both: tuple[int, int], rows: int) -> None:
        release = in_force.release
        if release is None:
            return
        if self._guarded != release.message_id:
            self._guarded, self._guard = release.message_id, Guard(self._bounds)
        same = np.zeros(rows)
        self._guard.observe(same, same, both)
        MODEL_GUARD.labels("policy", "approval_gap").set(self._guard.figures().approval_gap)
        if why := self._guard.breach():
            self._policies.take_back(release, why)
        elif self._guard.seen >= self._bounds.purchases:
            self._policies.confirm(
                release, f"its approvals stayed within their bound over {self._guard.seen} purchases"
            )


def approved(decisions: Sequence[Decision]) -> int:
    """How many of them approve."""
    return sum(decision.action == "approve" for decision in decisions)
