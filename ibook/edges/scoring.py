"""Purchases and the states of their entities -> vectors, scores, decisions: one score for the whole batch."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import numpy as np
import structlog
from numpy.typing import NDArray

from ibook import metrics
from ibook.clock import Clock, to_us
from ibook.edges.champion import Champion, FraudModel
from ibook.edges.feature_reader import Reading
from ibook.edges.model_scores import ModelScorer, ModelScores
from ibook.edges.policy_guard import PolicyGuard, approved
from ibook.edges.policy_in_force import InForce, PolicyInForce
from ibook.entities import EntityName, EntityUpdate
from ibook.errors import InvalidMessage
from ibook.exploration import Budget, Spent, exploration_draw, within_budget
from ibook.features import FEATURE_NAMES, entity_keys, vector_of
from ibook.fraud import Decision, VerdictPolicy, decide_all, reasons
from ibook.messages import Posture, PurchaseRequested, ReasonCode, StatePosition
from ibook.own_purchases import OwnPurchases, update_of_purchase
from ibook.settings import Settings
from ibook.verdicts import NO_MODEL, Circumstances, Scored, needs_reasons

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
    spent: Mapping[int, Spent]
    """What chance has approved by now, by partition."""


class Vectors(NamedTuple):
    """Purchases that could be computed; one row and one list of positions each."""

    purchases: list[Asked]
    rows: list[NDArray[np.float32]]
    positions: list[list[StatePosition]]
    rejected: list[Rejected]


class Scorer:
    """Scores and decides batches with the model and the policy of the moment."""

    def __init__(
        self, settings: Settings, champion: Champion, policies: PolicyInForce, clock: Clock, *, is_asked: bool = False
    ) -> None:
        """`is_asked`: somebody asks what would be decided. Whoever may ask may choose the purchases, so they must not
        speak for or against a model or a policy."""
        self._settings = settings
        self._is_asked = is_asked
        self._models = ModelScorer(champion, settings)
        self._policies = policies
        self._policy_guard = PolicyGuard(policies, settings)
        self._clock = clock

    def decide(
        self, purchases: Sequence[Asked], reading: Reading | None, own: OwnPurchases,
        spent: Mapping[int, Spent] | None = None,
    ) -> Batch:  # fmt: skip
        """Decide every purchase from what `own` knows; `reading` None: the store did not answer.

        `spent` is what chance has approved so far, by partition; None: it may approve nothing.
        """
        return self.decide_all(self.vectors(purchases, own), reading, spent)

    def decide_all(self, vectors: Vectors, reading: Reading | None, spent: Mapping[int, Spent] | None = None) -> Batch:
        """Decide what `vectors` gave, of one batch or of several that share a reading.

        One that makes our code fail is set aside, whatever fails; all of them are where it is not the purchase.
        """
        try:
            return self.decided(vectors, reading, spent)
        except Exception:  # a bug that one purchase brings out must not take the others with it
            log.exception("a batch could not be decided, each is tried alone", purchases=len(vectors.purchases))
            return self.decided(self._decidable(vectors, reading), reading, spent)

    def _decidable(self, vectors: Vectors, reading: Reading | None) -> Vectors:
        """Those that can be decided alone; the others are rejected."""
        done = Vectors([], [], [], list(vectors.rejected))
        for asked, row, positions in zip(vectors.purchases, vectors.rows, vectors.positions, strict=True):
            try:
                self.decided(Vectors([asked], [row], [positions], []), reading, None)
            except Exception as error:  # noted in the dead letter
                done.rejected.append((asked, InvalidMessage("unscorable", repr(error))))
                continue
            done.purchases.append(asked)
            done.rows.append(row)
            done.positions.append(positions)
        return done

    def decided(self, vectors: Vectors, reading: Reading | None, spent: Mapping[int, Spent] | None) -> Batch:
        """The same, as far as nothing fails."""
        now = self._clock.now()
        in_force = self._policies.in_force  # taken once, like the models: of each, one decides a batch
        policy = in_force.policy
        staleness = reading.staleness_seconds(to_us(now)) if reading else None
        matrix = np.array(vectors.rows, dtype=np.float32).reshape(-1, len(FEATURE_NAMES))
        cards = [asked.purchase.card_id for asked in vectors.purchases]
        said = self._models.score(matrix, cards) if staleness is not None else None
        posture = self._posture(staleness, said)
        about = Circumstances(
            posture=posture, staleness_seconds=staleness, decided_at=now, policy_version=policy.version
        )
        said = said if said and said.scores else None
        decisions = self._decisions(vectors, matrix, about, in_force, said)
        decisions, spent = self._within_budget(decisions, vectors, about, policy, spent)
        return Batch(about, _scored(vectors, matrix, decisions, policy, said), vectors.rejected, spent)

    def _posture(self, staleness: float | None, said: ModelScores | None) -> Posture:
        posture: Posture = "normal"
        if staleness is None or said is None:
            posture = "no_features"
        elif said.running.champion is None or (said.champion.failed and not said.scores):
            posture = "rules_only"
        elif staleness > self._settings.stale_after_seconds:
            posture = "stale_features"
        if staleness is not None:
            metrics.FEATURE_STALENESS.set(staleness)
        for each in get_args(Posture):
            metrics.POSTURE.labels(each).set(each == posture)
        return posture

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

    def _decisions(
        self, vectors: Vectors, matrix: NDArray[np.float32], about: Circumstances, in_force: InForce,
        said: ModelScores | None,
    ) -> list[Decision]:  # fmt: skip
        """A decision each, by the score that counts; `said` is None where none does."""
        if not vectors.purchases:
            return []
        wanted = [asked.purchase for asked in vectors.purchases]
        draws = [exploration_draw(purchase, self._settings.seed) for purchase in wanted]

        def decisions_by(scores: Sequence[float | None], policy: VerdictPolicy = in_force.policy) -> list[Decision]:
            return decide_all(scores, matrix, wanted, policy, about.posture, draws, about.decided_at)

        by_scores = said.scores if said else [None] * len(wanted)
        decisions = decisions_by(by_scores)
        if not self._is_asked:
            self._policy_guard.watch(in_force, decisions, partial(decisions_by, by_scores))
        if said and not self._is_asked and (said.running.former or said.running.challenger):
            counted = said.scores  # most often the champion's own: its decisions are not made twice

            def approvals(each: NDArray[np.float64]) -> int:
                scores = each.tolist()
                return approved(decisions if scores == counted else decisions_by(scores))

            self._models.watch(said, approvals)
        return decisions

    def _within_budget(
        self, decisions: Sequence[Decision], vectors: Vectors, about: Circumstances, policy: VerdictPolicy,
        spent: Mapping[int, Spent] | None,
    ) -> tuple[list[Decision], dict[int, Spent]]:  # fmt: skip
        per_day = 0.0 if spent is None else policy.exploration.max_per_day_minor / self._settings.partitions
        places = [(asked.source[1], asked.purchase.amount_minor) for asked in vectors.purchases]
        return within_budget(decisions, places, Budget(per_day, spent or {}), about.decided_at)


def _scored(
    vectors: Vectors, matrix: NDArray[np.float32], decisions: Sequence[Decision], policy: VerdictPolicy,
    said: ModelScores | None,
) -> list[Scored]:  # fmt: skip
    why = _reasons(decisions, matrix, policy, said.deciding if said else [])
    return [
        Scored(purchase=asked.purchase, source=asked.source, vector=row, score=said.scores[index] if said else None,
               decision=decision, reasons=because, states=states, **_models(said, index))
        for index, (asked, row, decision, because, states)
        in enumerate(zip(vectors.purchases, vectors.rows, decisions, why, vectors.positions, strict=True))
    ]  # fmt: skip


def _models(said: ModelScores | None, row: int) -> dict[str, Any]:
    """The part of Scored that says which model decided, and what the others said."""
    if said is None:
        return {"model_version": NO_MODEL}
    model, challenger = said.deciding[row], said.running.challenger
    names: dict[str, Any] = {"model_version": model.version}
    if challenger is None:
        return names
    names["challenger_version"] = challenger.model.version
    if said.challenger.scores is not None:
        names["challenger_score"] = float(said.challenger.scores[row])
    if model is challenger.model and said.champion.scores is not None:
        names["champion_score"] = float(said.champion.scores[row])
    return names


def _reasons(
    decisions: Sequence[Decision], matrix: NDArray[np.float32], policy: VerdictPolicy, models: Sequence[FraudModel]
) -> list[list[ReasonCode]]:
    """Of what is not approved: the rules, then what weighed most for the model that decided, if one did."""
    why: list[list[ReasonCode]] = [[] for _ in decisions]
    by_model: dict[FraudModel | None, list[int]] = {}
    for index in needs_reasons(decisions):
        by_model.setdefault(models[index] if models else None, []).append(index)
    for model, wanted in by_model.items():
        contributions = _contributions(model, matrix[wanted]) if model else [None] * len(wanted)
        for index, row in zip(wanted, contributions, strict=True):
            why[index] = reasons(decisions[index].rules, row, policy)
    return why


def _contributions(model: FraudModel, matrix: NDArray[np.float32]) -> Sequence[NDArray[np.float64] | None]:
    try:
        return list(model.contributions(matrix))
    except Exception:  # a verdict without its reasons is better than none
        metrics.MODEL_ERRORS.labels("deciding", "no reasons").inc()
        log.exception("a model could not say what weighed", version=model.version)
        return [None] * len(matrix)
