"""Answers to purchases, and what went into them: topics `fraud-verdicts`, `fraud-evidence`."""

from typing import Literal

from msgspec import Struct

from ibook.messages.base import Action, Id, Message, Posture
from ibook.messages.purchases import PurchaseRequested


class FraudVerdict(Message, frozen=True, kw_only=True, tag="fraud_verdict.v1"):
    """The answer to one purchase. Topic `fraud-verdicts`, key `transaction_id`, the partition of the purchase.

    The first verdict of a transaction in its partition counts; `occurred_at` is when it was decided.
    """

    transaction_id: Id
    action: Action
    score_band: Literal["low", "elevated", "high", "highest", "not_scored"]
    posture: Posture
    model_version: str
    """`none` when no model took part."""
    quote_id: Id | None = None
    event_id: str = ""
    """The event of the purchase; empty when the purchase could not be read."""


class StatePosition(Struct, frozen=True, kw_only=True):
    """Which state of an entity a verdict was computed from."""

    entity: str
    key: str
    updates_partition: int
    updates_offset: int
    """Last folded offset of `entity-updates`; -1 when the entity had no state."""
    folded: list[tuple[str, int, int, int, int]] = []
    """What the verdict worker folded on top: (topic, partition, first offset, last offset, how many)."""


class ReasonCode(Struct, frozen=True, kw_only=True):
    """Why a purchase was not approved: a code of the catalogue, and how much it weighed (log-odds; 0 for a rule)."""

    code: str
    contribution: float
    rule: str = ""
    """The rule that names the code; empty when the model does."""


class VerdictEvidence(Message, frozen=True, kw_only=True, tag="verdict_evidence.v1"):
    """All that went into a verdict. Topic `fraud-evidence`, key `transaction_id`; written before the verdict."""

    decision_id: Id
    transaction_id: Id
    purchase: PurchaseRequested | None
    """None when the purchase could not be read."""
    source: tuple[str, int, int]
    """Topic, partition and offset of the purchase."""
    action: Action
    posture: Posture
    score: float | None
    threshold: float | None
    propensity: float
    """P(approve) of the exploration slice: below 1 only where a would-be decline could be approved."""
    explored: bool
    rules: list[str]
    reasons: list[ReasonCode]
    feature_names_hash: str
    features: list[float | None]
    """In the order of the model's feature service; null is missing."""
    states: list[StatePosition]
    staleness_seconds: float | None
    """Decision time minus the feature workers' heartbeat."""
    model_version: str
    """Whose score it is."""
    policy_version: str
    challenger_version: str = ""
    """The model that scored beside the champion, if there was one."""
    challenger_score: float | None = None
    """What it said; None when it failed or was late."""
    champion_score: float | None = None
    """What the champion said where the challenger decided."""
    exploration_closed: bool = False
    """A would-be decline that the day's budget of the exploration slice could not pay: `propensity` is 1."""
