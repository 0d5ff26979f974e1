"""A fraud model as a file: what it consists of, how it is loaded and proved, and how it scores.

An artefact is a folder: `model.ubj` (what decides, with its calibration inside, so that one hash covers both),
`metadata.json` (where it came from) and `golden.json` (rows and the scores they must give on any machine).
"""

import time
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ibook.errors import ModelUnavailable
from ibook.features import FEATURE_NAMES, FEATURE_NAMES_HASH

MODEL_FILE, METADATA_FILE, GOLDEN_FILE = "model.ubj", "metadata.json", "golden.json"
HASH_ATTRIBUTE, CALIBRATION_ATTRIBUTE = "ibook_feature_names_hash", "ibook_calibration"
GOLDEN_TOLERANCE = 1e-6
GOLDEN_SECONDS = 0.25
"""Processor time that a model may take for its golden rows, of which there are fewer than in a full batch."""

_Json = TypeVar("_Json", bound=Struct)


class Calibration(Struct, frozen=True):
    """Platt's scaling of the model's log-odds: P(fraud) = 1 / (1 + exp(-(slope * margin + intercept)))."""

    slope: float
    intercept: float

    def apply(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities of the same shape."""
        return np.asarray(np.exp(-np.logaddexp(0.0, -(self.slope * margins + self.intercept))), dtype=np.float64)


class ModelMetadata(Struct, frozen=True, kw_only=True):
    """What is known of a model beside its trees; `metadata.json`."""

    model: str
    version: str
    sha256: str
    feature_names: list[str]
    feature_names_hash: str
    calibration: Calibration
    trained_from: str
    """First and last event time of the training rows, RFC 3339."""
    trained_until: str
    seed: int
    rows: dict[str, int]
    metrics: dict[str, float]
    thresholds: dict[str, float]
    """Of least expected cost on the validation rows."""


class GoldenSet(Struct, frozen=True, kw_only=True):
    """Rows (null is missing) and their calibrated scores; `golden.json`."""

    rows: list[list[float | None]]
    scores: list[float]

    def matrix(self) -> NDArray[np.float32]:
        """The rows, shape ``(n, k)``."""
        return np.array(self.rows, dtype=np.float32)


class FraudModel:
    """A loaded model. Scoring is thread-safe and uses one thread."""

    def __init__(self, booster: Any, calibration: Calibration, *, version: str, sha256: str) -> None:
        booster.set_param({"nthread": 1})
        self._booster = booster
        self._calibration = calibration
        self.version = version
        self.sha256 = sha256

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated P(fraud) of each row, shape ``(n,)``; `matrix` is ``(n, len(FEATURE_NAMES))``, NaN is missing."""
        margins = self._booster.inplace_predict(matrix, predict_type="margin", validate_features=False)
        return self._calibration.apply(np.asarray(margins, dtype=np.float64))

    def contributions(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """How much each feature adds to each row's calibrated log-odds, shape ``(n, len(FEATURE_NAMES))``.

        Exact (Lundberg et al. 2018), and slow: about a millisecond a row, so ask only for what is not approved.
        """
        from xgboost import DMatrix

        data = DMatrix(matrix, nthread=1)  # without names, which were compared when the model was loaded: half the time
        margins = np.asarray(self._booster.predict(data, pred_contribs=True, validate_features=False), dtype=np.float64)
        return margins[:, :-1] * self._calibration.slope


def load_model(path: Path, sha256: str, golden_seconds: float = GOLDEN_SECONDS) -> FraudModel:
    """Load `model.ubj` and prove it: hash, feature names, golden set, and the seconds it takes for that.

    Raises ModelUnavailable with one sentence.
    """
    payload = _read(path)
    found = sha256_of(payload).hexdigest()
    if found != sha256:
        raise ModelUnavailable(f"Model {path} has SHA-256 {found[:12]}…, {sha256[:12]}… was released.")
    metadata = read_json(path.with_name(METADATA_FILE), ModelMetadata)
    booster, calibration = _booster(payload, path)
    model = FraudModel(booster, calibration, version=metadata.version, sha256=sha256)
    golden = read_json(path.with_name(GOLDEN_FILE), GoldenSet)
    _check_golden(model, golden, path)
    _check_speed(model, golden, path, golden_seconds)
    return model


def _booster(payload: bytes, path: Path) -> tuple[Any, Calibration]:
    from xgboost import Booster
    from xgboost.core import XGBoostError

    if not payload.startswith(b"{L"):  # how XGBoost begins a UBJSON object; an empty buffer would abort the process
        raise ModelUnavailable(f"Model {path} is not one XGBoost can read.")
    booster = Booster()
    try:
        booster.load_model(bytearray(payload))
        names_hash, calibration = booster.attr(HASH_ATTRIBUTE), booster.attr(CALIBRATION_ATTRIBUTE)
    except XGBoostError as error:
        raise ModelUnavailable(f"Model {path} is not one XGBoost can read.") from error
    if names_hash != FEATURE_NAMES_HASH or booster.num_features() != len(FEATURE_NAMES):
        raise ModelUnavailable(f"Model {path} was trained on features {names_hash}, these are {FEATURE_NAMES_HASH}.")
    try:
        return booster, msgspec.json.decode(calibration or "", type=Calibration)
    except msgspec.DecodeError as error:
        raise ModelUnavailable(f"Model {path} carries no readable calibration.") from error


def _check_golden(model: FraudModel, golden: GoldenSet, path: Path) -> None:
    fits = len(golden.rows) == len(golden.scores) and all(len(row) == len(FEATURE_NAMES) for row in golden.rows)
    if not fits or not golden.rows:
        raise ModelUnavailable(f"The golden set of {path} does not fit the model.")
    matrix = golden.matrix()
    scores = model.score(matrix)
    off = float(np.max(np.abs(scores - np.array(golden.scores)))) if scores.shape == (len(matrix),) else float("inf")
    if not off <= GOLDEN_TOLERANCE:  # also catches NaN
        raise ModelUnavailable(f"Model {path} is off by {off:.2g} on its golden set.")


def _check_speed(model: FraudModel, golden: GoldenSet, path: Path, seconds: float) -> None:
    """By the thread's own processor time, so that a busy machine makes no model slow; libraries are warm by now."""
    matrix, began = golden.matrix(), time.thread_time()
    model.score(matrix)
    took = time.thread_time() - began
    if took > seconds:
        raise ModelUnavailable(
            f"Model {path} takes {took:.3g} s for its {len(matrix)} golden rows, at most {seconds:g} s are allowed."
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(f"Model file {path} can't be read: {error.strerror}.") from error


def read_json(path: Path, type_: type[_Json]) -> _Json:
    """Read one of the artefact's JSON files. Raises ModelUnavailable."""
    try:
        return msgspec.json.decode(_read(path), type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelUnavailable(f"Model file {path} can't be read: {error}.") from error
