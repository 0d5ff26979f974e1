"""Two small models that differ, as artefacts and as releases."""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import asdict

from ibook.edges.fraud_model import CALIBRATION_ATTRIBUTE, Calibration, FraudModel, ModelMetadata
from ibook.features import FEATURE_NAMES, FEATURE_NAMES_HASH
from ibook.messages import ChallengerReleased, ModelReleased
from tests.unit.test_training_train import TEST, TRAINED, TRAINING, VALIDATION
from training.artefact import write_artefact
from training.train import Trained, train

OTHER = train(TRAINING, VALIDATION, seed=99)
NUMBERS = count()
NOW = datetime(2026, 1, 1, tzinfo=UTC)

__all__ = ["NOW", "OTHER", "TEST", "TRAINED", "beside", "metadata", "released", "suspicious", "write"]


def metadata(trained: Trained) -> ModelMetadata:
    return ModelMetadata(
        model="fraud", version=trained.model.version, sha256=trained.sha256, feature_names=list(FEATURE_NAMES),
        feature_names_hash=FEATURE_NAMES_HASH, calibration=trained.calibration, trained_from="", trained_until="",
        seed=3, rows={}, metrics={}, thresholds={},
    )  # fmt: skip


def write(models_dir: Path, trained: Trained) -> Path:
    """Write it as `<models_dir>/fraud/<version>/model.ubj`."""
    return write_artefact(models_dir, metadata(trained), trained, TEST)


def released(trained: Trained, **changed: str) -> ModelReleased:
    """A release of it, each with a message id of its own."""
    fields: dict[str, Any] = {
        "version": trained.model.version, "artefact": f"fraud/{trained.model.version}/model.ubj",
        "sha256": trained.sha256, "feature_names_hash": FEATURE_NAMES_HASH, "model": "fraud",
        "message_id": f"r-{next(NUMBERS)}", "occurred_at": NOW,
    }  # fmt: skip
    return ModelReleased(**(fields | changed))


def beside(trained: Trained, share: float = 0.0) -> ChallengerReleased:
    """A release of it as challenger."""
    return ChallengerReleased(**asdict(released(trained)), share=share)


def suspicious(trained: Trained) -> Trained:
    """The same trees, proved and whole, with a calibration that takes everybody for a fraud."""
    from xgboost import Booster

    booster, calibration = Booster(), Calibration(trained.calibration.slope, trained.calibration.intercept + 20)
    booster.load_model(bytearray(trained.payload))
    booster.set_attr(**{CALIBRATION_ATTRIBUTE: msgspec.json.encode(calibration).decode()})
    payload = bytes(booster.save_raw("ubj"))
    model = FraudModel(booster, calibration, version="suspicious", sha256=sha256(payload).hexdigest())
    return replace(trained, payload=payload, calibration=calibration, model=model)
