"""The scores of all models that run: each purchase is decided by one, and no other can harm it.

Those that do not decide, or only for the canary's cards, score beside the champion, in threads of their own. Guards
compare a new champion with the one before it, and the challenger with the champion; one that breaks a bound is taken
back.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from ibook.edges.aside import Aside
from ibook.edges.champion import Champion, FraudModel, Loaded, Running
from ibook.guards import Bounds, Guard
from ibook.messages import Release
from ibook.metrics import MODEL_ERRORS, MODEL_GUARD
from ibook.releases import decides_for, share_of
from ibook.settings import Settings

log = structlog.get_logger()

Role = Literal["champion", "former", "challenger"]
Calibrated = NDArray[np.float64]
"""Scores of shape ``(n,)``."""
Approvals = Callable[[Calibrated], int]
"""How many purchases of the batch would be approved by these scores."""


class Said(NamedTuple):
    """What a model said of a batch. Without scores and not failed, it was not asked."""

    scores: Calibrated | None = None
    failed: bool = False
    is_late: bool = False
    """It has scores, and took too long for them: a champion decides all the same."""


class ModelScores(NamedTuple):
    """What the models said of a batch."""

    running: Running
    deciding: list[FraudModel]
    """Whose score counts, per row; empty when no model could score."""
    scores: list[float]
    """Of the deciding models."""
    champion: Said = Said()
    former: Said = Said()
    challenger: Said = Said()


class ModelScorer:
    """Scores batches with every model that runs. Any thread may ask."""

    def __init__(self, champion: Champion, settings: Settings, timer: Callable[[], float] = time.thread_time) -> None:
        """`timer` counts the seconds that a champion takes: of its own thread, so that a busy machine blames nobody."""
        self._champion = champion
        self._seed = settings.seed
        self._timer = timer
        self._longest_seconds = settings.beside_seconds
        self._former = Aside[Calibrated]("former", settings.beside_seconds)
        self._challenger = Aside[Calibrated]("challenger", settings.beside_seconds)
        self._bounds = Bounds(
            purchases=settings.guard_purchases, min_purchases=settings.guard_min_purchases,
            error_rate=settings.guard_error_rate, score_shift=settings.guard_score_shift,
            fraud_ratio=settings.guard_fraud_ratio, approval_gap=settings.guard_approval_gap,
        )  # fmt: skip
        self._guards: dict[Role, tuple[str, Guard]] = {}
        """By whom they watch; each for one release, named by its message id."""
        self._watching = threading.Lock()

    def score(self, matrix: NDArray[np.float32], cards: Sequence[str]) -> ModelScores:
        """Score rows of shape ``(n, len(FEATURE_NAMES))``; `cards` are their card ids."""
        running = self._champion.running
        if running.champion is None or not len(matrix):
            return ModelScores(running, [], [])
        former = _begin(self._former, running.former, matrix)
        challenger = _begin(self._challenger, running.challenger, matrix)
        said = ModelScores(
            running, [], [], self._timed(partial(_finite, running.champion.model, matrix)),
            _said("former", partial(self._former.result, former)) if former else Said(),
            _said("challenger", partial(self._challenger.result, challenger)) if challenger else Said(),
        )  # fmt: skip
        return self._decided(said, cards)

    def _timed(self, scores: Callable[[], Calibrated]) -> Said:
        """What the champion says, whenever it is done, since it decides; but being late counts against it."""
        began = self._timer()
        said = _said("champion", scores)
        if said.failed or self._timer() - began <= self._longest_seconds:
            return said
        MODEL_ERRORS.labels("champion", "late").inc()
        return said._replace(is_late=True)

    def _decided(self, said: ModelScores, cards: Sequence[str]) -> ModelScores:
        """The champion decides, or for it, when it fails, the former one; for the canary's cards the challenger."""
        champion, former, challenger = said.running
        share = share_of(challenger.release) if challenger else 0.0
        model, scores = (champion, said.champion.scores) if not said.champion.failed else (former, said.former.scores)
        if model is None or scores is None:
            return said
        deciding, values = [model.model] * len(scores), scores.tolist()
        if challenger is not None and said.challenger.scores is not None and share > 0:
            for row, (card, score) in enumerate(zip(cards, said.challenger.scores.tolist(), strict=True)):
                if decides_for(share, card, self._seed):
                    deciding[row], values[row] = challenger.model, score
        return said._replace(deciding=deciding, scores=values)

    # ------------------------------------------------------------------------------------------------------- guarding
    def watch(self, said: ModelScores, approvals: Approvals) -> None:
        """Let the guards see a batch; a model that breaks a bound decides no more from the next batch on."""
        try:
            with self._watching:
                self._watch(said, approvals)
        except Exception:  # who watches must not keep anybody from an answer
            log.exception("a batch could not be watched")

    def _watch(self, said: ModelScores, approvals: Approvals) -> None:
        running = said.running
        if running.champion and running.former:
            guard = self._compared("champion", running.champion.release, said.former, said.champion, approvals)
            if guard and guard.seen >= self._bounds.purchases and not guard.breach():
                why = f"its figures stayed within their bounds over {guard.seen} purchases"
                self._champion.confirm(running.champion.release, why)
        if running.challenger:
            self._compared("challenger", running.challenger.release, said.champion, said.challenger, approvals)

    def _compared(
        self, role: Role, release: Release, reference: Said, candidate: Said, approvals: Approvals
    ) -> Guard | None:
        """The guard of a release, after one more batch; None for one that nobody guards."""
        if not release.guarded:
            return None
        guarded, guard = self._guards.get(role, ("", Guard(self._bounds)))
        if guarded != release.message_id:
            guard = Guard(self._bounds)
            self._guards[role] = release.message_id, guard
        if candidate.failed or candidate.is_late:
            guard.failed()
        elif candidate.scores is not None and reference.scores is not None:
            both = reference.scores, candidate.scores
            guard.observe(*both, (approvals(both[0]), approvals(both[1])))
        else:
            return guard
        _show(role, guard)
        # A shadow is there to show how it differs: it harms nobody unless it fails.
        if why := guard.breach() if share_of(release) > 0 else guard.failing():
            self._champion.take_back(release, why)
        return guard


def _finite(model: FraudModel, matrix: NDArray[np.float32]) -> Calibrated:
    """Its scores. Raises ValueError unless there is one that is a number for each row."""
    scores = model.score(matrix)
    if scores.shape != (len(matrix),) or not np.isfinite(scores).all():
        raise ValueError(f"model {model.version} gave a score that is no number")
    return scores


def _begin(aside: Aside[Calibrated], loaded: Loaded | None, matrix: NDArray[np.float32]) -> "Future[Calibrated] | None":
    return aside.begin(partial(_finite, loaded.model, matrix)) if loaded else None


def _said(role: Role, scores: Callable[[], Calibrated]) -> Said:
    """What a model said, whatever befalls it: a bad model is no reason to stop answering."""
    try:
        return Said(scores())
    except TimeoutError:
        MODEL_ERRORS.labels(role, "late").inc()
    except Exception:
        MODEL_ERRORS.labels(role, "failed").inc()
        log.exception("a model could not score a batch", role=role)
    return Said(failed=True)


def _show(role: Role, guard: Guard) -> None:
    figures = guard.figures()
    for name in ("error_rate", "score_shift", "fraud_ratio", "approval_gap"):
        MODEL_GUARD.labels(role, name).set(getattr(figures, name))
