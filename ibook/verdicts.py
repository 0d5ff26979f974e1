"""A decision, told twice: the lean verdict for the shop, and the evidence for us."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ibook.features import FEATURE_NAMES_HASH
from ibook.fraud import Decision
from ibook.messages import FraudVerdict, Posture, PurchaseRequested, ReasonCode, StatePosition, VerdictEvidence

NO_MODEL = "none"


class Circumstances(Struct, frozen=True, kw_only=True):
    """What was the same for every purchase of a batch."""

    posture: Posture
    staleness_seconds: float | None
    policy_version: str
    decided_at: datetime


class Scored(Struct, frozen=True, kw_only=True):
    """A purchase and all that led to its decision."""

    purchase: PurchaseRequested
    source: tuple[str, int, int]
    vector: NDArray[np.float32]
    score: float | None
    model_version: str
    """Whose score it is; NO_MODEL without one."""
    challenger_version: str = ""
    challenger_score: float | None = None
    champion_score: float | None = None
    """Where the challenger decided."""
    decision: Decision
    reasons: list[ReasonCode]
    states: list[StatePosition]


def decision_id(source: tuple[str, int, int], decided_at: datetime) -> str:
    """Shared by a verdict and its evidence; names the purchase's position and the moment."""
    _, partition, offset = source
    return f"{partition}-{offset}-{int(decided_at.timestamp() * 1_000_000):x}"


def verdict_of(scored: Scored, about: Circumstances) -> FraudVerdict:
    """What the shop learns."""
    return FraudVerdict(
        message_id=f"verdict-{decision_id(scored.source, about.decided_at)}",
        occurred_at=about.decided_at,
        transaction_id=scored.purchase.transaction_id,
        action=scored.decision.action,
        score_band=scored.decision.score_band,
        posture=about.posture,
        model_version=scored.model_version,
        quote_id=scored.purchase.quote_id,
        event_id=scored.purchase.event_id,
    )


def evidence_of(scored: Scored, about: Circumstances) -> VerdictEvidence:
    """What we keep."""
    identity = decision_id(scored.source, about.decided_at)
    return VerdictEvidence(
        message_id=f"evidence-{identity}",
        occurred_at=about.decided_at,
        decision_id=identity,
        transaction_id=scored.purchase.transaction_id,
        purchase=scored.purchase,
        source=scored.source,
        action=scored.decision.action,
        posture=about.posture,
        score=scored.score,
        threshold=scored.decision.threshold,
        propensity=scored.decision.propensity,
        explored=scored.decision.explored,
        rules=list(scored.decision.rules),
        reasons=scored.reasons,
        feature_names_hash=FEATURE_NAMES_HASH,
        features=[None if value != value else value for value in scored.vector.tolist()],
        states=scored.states,
        staleness_seconds=about.staleness_seconds,
        model_version=scored.model_version,
        policy_version=about.policy_version,
        challenger_version=scored.challenger_version,
        challenger_score=scored.challenger_score,
        champion_score=scored.champion_score,
        exploration_closed=scored.decision.exploration_closed,
    )


def unreadable_verdict(transaction_id: str, source: tuple[str, int, int], decided_at: datetime) -> FraudVerdict:
    """The answer to a purchase whose payload can't be read but whose transaction id header can: a person looks."""
    return FraudVerdict(
        message_id=f"verdict-{decision_id(source, decided_at)}",
        occurred_at=decided_at,
        transaction_id=transaction_id,
        action="review",
        score_band="not_scored",
        posture="rules_only",
        model_version=NO_MODEL,
    )


def explored_minor(scored: Sequence[Scored]) -> int:
    """The amount that was approved at random, in minor units."""
    return sum(each.purchase.amount_minor for each in scored if each.decision.explored)


def needs_reasons(decisions: Sequence[Decision]) -> list[int]:
    """Indexes of the decisions whose reasons are worth a millisecond each: what was not approved."""
    return [index for index, decision in enumerate(decisions) if decision.action != "approve"]
