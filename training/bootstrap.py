"""The first model: from a simulated past to a released artefact, through the functions that serve."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ibook.clock import from_us, to_us
from ibook.costs import Costs
from ibook.edges.fraud_model import ModelMetadata
from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES, FEATURE_NAMES_HASH
from ibook.replay import Recorded
from ibook.rules import VerdictPolicy, load_policy
from ibook.settings import Settings
from training import release as releases
from training.artefact import write_artefact
from training.dataset import Frame, frame_of, split_in_time
from training.evaluate import Evaluation, at_threshold, cheapest_thresholds, cost, evaluate
from training.history import read_history, simulated
from training.train import Trained, train

WARM_UP = 1 / 9
"""Share of a past left out at its beginning, where windows are empty and everybody looks new."""
MATURITY = 1 / 3
"""Share left out at its end, whose labels have not arrived; a simulated past squeezes the longest delay into it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to train on. `models_dir` None is the settings' model store, `history` None simulates one."""

    seed: int = 1
    purchases: int = 40_000
    hours: float = 72.0
    end: str = "2026-01-05T00:00:00+00:00"
    history: Path | None = None
    models_dir: Path | None = None
    release: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a bootstrap made."""

    path: Path
    metadata: ModelMetadata
    evaluation: Evaluation
    seconds: float


def bootstrap(settings: Settings, plan: Plan) -> Outcome:
    """Train a model, print what it is worth, write it and, if asked, release it.

    Raises ConfigurationError, BrokerUnavailable or ModelUnavailable with one sentence.
    """
    began = time.perf_counter()
    store = settings.data_dir / "models"
    models_dir = plan.models_dir or store
    if plan.release:
        if models_dir.resolve() != store.resolve():
            raise ConfigurationError(f"Only a model in {store} can be released, not one in {models_dir}.")
        releases.require_kafka(settings)
    history = _history(plan)
    with _timed("features"):
        training, validation, test = _split(history)
    with _timed("training"):
        trained = _train(training, validation, plan.seed)
    evaluation = evaluate(test, trained.model.score(test.features))
    metadata = _metadata(settings.model_name, plan.seed, trained, (training, validation, test), evaluation)
    _report(trained, test, evaluation, metadata, load_policy())
    path = write_artefact(models_dir, metadata, trained, test)
    print(f"written   {path.parent}")
    if plan.release:
        with _timed("release"):
            releases.release(settings, metadata.version, why="bootstrap")
    seconds = time.perf_counter() - began
    print(f"total     {seconds:5.1f} s")
    return Outcome(path, metadata, evaluation, seconds)


def _history(plan: Plan) -> list[Recorded]:
    if plan.history is not None:
        with _timed("history"):
            return read_history(plan.history)
    with tempfile.TemporaryDirectory(prefix="ibook-history-") as name:
        folder = Path(name)
        with (
            _timed("simulator"),
            simulated(folder, hours=plan.hours, purchases=plan.purchases, seed=plan.seed, end=plan.end),
        ):
            import sklearn.metrics  # noqa: F401  # seconds of work, done while the simulator writes
            import xgboost  # noqa: F401
        with _timed("reading"):
            return read_history(folder)


def _split(history: Sequence[Recorded]) -> tuple[Frame, Frame, Frame]:
    first, last = (to_us(recorded.message.occurred_at) for recorded in (history[0], history[-1]))
    span = last - first
    try:
        frame = frame_of(
            history, from_us=first + int(span * WARM_UP), until_us=last - int(span * MATURITY), as_of_us=last
        )
    except ValueError as error:
        raise ConfigurationError(f"The history can't be learned from: {error}.") from error
    return split_in_time(frame)


def _train(training: Frame, validation: Frame, seed: int) -> Trained:
    try:
        return train(training, validation, seed=seed)
    except ValueError as error:
        raise ConfigurationError(f"The history can't be learned from: {error}.") from error


def _metadata(
    model: str, seed: int, trained: Trained, frames: tuple[Frame, Frame, Frame], evaluation: Evaluation
) -> ModelMetadata:
    training, validation, test = frames
    cheapest = cheapest_thresholds(validation, trained.validation_scores, Costs())
    return ModelMetadata(
        model=model, version=trained.model.version, sha256=trained.sha256, feature_names=list(FEATURE_NAMES),
        feature_names_hash=FEATURE_NAMES_HASH, calibration=trained.calibration,
        trained_from=from_us(int(training.occurred_us[0])).isoformat(),
        trained_until=from_us(int(validation.occurred_us[-1])).isoformat(), seed=seed,
        rows={
            "train": len(training), "train_fraud": int(training.is_fraud.sum()),
            "validation": len(validation), "validation_fraud": int(validation.is_fraud.sum()),
            "test": len(test), "test_fraud": evaluation.n_fraud,
        },
        metrics={
            "average_precision": evaluation.average_precision, "base_rate": evaluation.base_rate,
            "brier": evaluation.brier, "mean_score": evaluation.mean_score, "trees": float(trained.n_trees),
        },
        thresholds={
            "review": cheapest.review, "challenge": cheapest.challenge, "decline": cheapest.decline,
        },
    )  # fmt: skip


def _report(
    trained: Trained, test: Frame, evaluation: Evaluation, metadata: ModelMetadata, policy: VerdictPolicy
) -> None:
    """Print what the model is worth on the test rows."""
    scores = trained.model.score(test.features)
    rows = metadata.rows
    print(
        f"rows      {rows['train']} train, {rows['validation']} validation, {rows['test']} test, in this order in time"
    )
    print(f"model     {metadata.version}, {trained.n_trees} trees")
    print(
        f"test      average precision {evaluation.average_precision:.3f} at a base rate of {evaluation.base_rate:.2%}"
        f" ({evaluation.n_fraud} frauds), mean score {evaluation.mean_score:.2%}, Brier {evaluation.brier:.4f}"
    )
    thresholds = policy.thresholds["normal"]
    for action in ("review", "challenge", "decline"):
        at = at_threshold(test, scores, getattr(thresholds, action))
        precision = "none" if at.precision is None else f"{at.precision:.0%}"
        print(
            f"{action:<9} from {at.threshold:.2f}: precision {precision}, recall {at.recall:.0%},"
            f" {at.share:.2%} of purchases (cheapest on validation: {metadata.thresholds[action]:.2f})"
        )
    nothing = type(thresholds)(review=1 - 1e-9, challenge=1 - 1e-9, decline=1 - 1e-9)
    print(
        f"cost      {cost(test, scores, thresholds, Costs()):.0f} minor units per purchase by policy {policy.version},"
        f" {cost(test, scores, nothing, Costs()):.0f} if all were approved (assumed costs)"
    )


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what:<9} {time.perf_counter() - began:5.1f} s", flush=True)
