"""Purchases and the states of their entities -> vectors, scores, decisions: one score for the whole batch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from ibook import metrics
from ibook.clock import Clock, to_us
from ibook.edges.champion import Champion, FraudModel
from ibook.edges.feature_reader import Reading
from ibook.entities import EntityName, EntityUpdate
from ibook.errors import InvalidMessage
from ibook.features import entity_keys, vector_of
from ibook.fraud import Decision, VerdictPolicy, decide_all, reasons
from ibook.messages import Posture, PurchaseRequested, ReasonCode, StatePosition
from ibook.own_purchases import OwnPurchases, update_of_purchase
from ibook.settings import Settings
from ibook.verdicts import NO_MODEL, Circumstances, Scored, exploration_draw, needs_reasons

log = structlog.get_logger()


class Asked(NamedTuple):
    """A purchase to decide."""

    source: tuple[str, int, int]
    """Topic, partition and offset of the purchase."""
    purchase: PurchaseRequested
    update: EntityUpdate
    """What it says of its entities."""
    keys: dict[EntityName, str]

    @classmethod
    def of(cls, purchase: PurchaseRequested, source: tuple[str, int, int]) -> "Asked":
        """With what is worked out of it once."""
        update = update_of_purchase(purchase, source[1], source[2])
        return cls(source, purchase, update, entity_keys(update.fact))


Rejected = tuple[Asked, InvalidMessage]


class Batch(NamedTuple):
    """What became of a batch."""

    about: Circumstances
    scored: list[Scored]
    rejected: list[Rejected]
    """Purchases that made our code fail."""


class Vectors(NamedTuple):
    """Purchases that could be computed; one row and one list of positions each."""

    purchases: list[Asked]
    rows: list[NDArray[np.float32]]
    positions: list[list[StatePosition]]
    rejected: list[Rejected]


class Scorer:
    """Scores and decides batches with the model and the policy of the moment."""

    def __init__(self, settings: Settings, champion: Champion, policy: VerdictPolicy, clock: Clock) -> None:
        self._settings = settings
        self._champion = champion
        self._policy = policy
        self._clock = clock

    def decide(self, purchases: Sequence[Asked], reading: Reading | None, own: OwnPurchases) -> Batch:
        """Decide every purchase from what `own` knows; `reading` None: the store did not answer."""
        return self.decided(self.vectors(purchases, own), reading)

    def decided(self, vectors: Vectors, reading: Reading | None) -> Batch:
        """Decide what `vectors` gave, of one batch or of several that share a reading."""
        now = self._clock.now()
        staleness = reading.staleness_seconds(to_us(now)) if reading else None
        model, policy = self._champion.model, self._policy  # taken once: a batch is decided by one of each
        about = Circumstances(
            posture=self._posture(staleness, model), staleness_seconds=staleness, decided_at=now,
            model_version=model.version if model else NO_MODEL, policy_version=policy.version,
        )  # fmt: skip
        return Batch(about, self._scored(vectors, about, model, policy), vectors.rejected)

    def _posture(self, staleness: float | None, model: FraudModel | None) -> Posture:
        if staleness is None:
            return "no_features"
        metrics.FEATURE_STALENESS.set(staleness)
        if model is None:
            return "rules_only"
        return "stale_features" if staleness > self._settings.stale_after_seconds else "normal"

    def vectors(self, purchases: Sequence[Asked], own: OwnPurchases) -> Vectors:
        """One by one, since each purchase is part of the next one's past; one that makes our code fail is set aside."""
        done = Vectors([], [], [], [])
        for asked in purchases:
            _, purchase, update, keys = asked
            try:
                own.remember(update)
                row = vector_of(purchase, own.compute(keys, to_us(purchase.occurred_at)))
                positions = own.positions(keys, self._settings.partitions)
            except Exception as error:  # a bug, and no reason to stop answering everybody else
                log.exception("a purchase could not be scored", transaction=purchase.transaction_id)
                done.rejected.append((asked, InvalidMessage("unscorable", repr(error))))
                continue
            done.purchases.append(asked)
            done.rows.append(row)
            done.positions.append(positions)
        return done

    def _scored(
        self, vectors: Vectors, about: Circumstances, model: FraudModel | None, policy: VerdictPolicy
    ) -> list[Scored]:
        """One score for all, and a decision each."""
        purchases, rows, positions, _ = vectors
        if not purchases:
            return []
        matrix = np.stack(rows)
        scores: list[float | None] = [None] * len(rows)
        if model is not None and about.posture in ("normal", "stale_features"):
            scores = [float(score) for score in model.score(matrix)]
        wanted = [purchase for _, purchase, *_ in purchases]
        draws = [exploration_draw(purchase.transaction_id, self._settings.seed) for purchase in wanted]
        decisions = decide_all(scores, matrix, wanted, policy, about.posture, draws, about.decided_at)
        why = _reasons(decisions, matrix, policy, model if scores[0] is not None else None)
        return [
            Scored(purchase=purchase, source=source, vector=row, score=score, decision=decision,
                   reasons=because, states=states)
            for (source, purchase, *_), row, score, decision, because, states
            in zip(purchases, rows, scores, decisions, why, positions, strict=True)
        ]  # fmt: skip


def _reasons(
    decisions: Sequence[Decision], matrix: NDArray[np.float32], policy: VerdictPolicy, model: FraudModel | None
) -> list[list[ReasonCode]]:
    why: list[list[ReasonCode]] = [[] for _ in decisions]
    wanted = needs_reasons(decisions)
    if not wanted:
        return why
    contributions = model.contributions(matrix[wanted]) if model is not None else [None] * len(wanted)
    for index, row in zip(wanted, contributions, strict=True):
        why[index] = reasons(decisions[index].rules, row, policy)
    return why
