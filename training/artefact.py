"""A trained model as a folder that `ibook.edges.champion.load_model` accepts."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ibook.edges.fraud_model import GOLDEN_FILE, METADATA_FILE, MODEL_FILE, GoldenSet, ModelMetadata, load_model
from training.dataset import Frame
from training.train import Trained

N_GOLDEN = 32


def write_artefact(models_dir: Path, metadata: ModelMetadata, trained: Trained, test: Frame) -> Path:
    """Write `<models_dir>/<model>/<version>/` and prove that it loads; returns the path of its `model.ubj`.

    The folder appears whole or not at all; one that is there already gives way. Raises ModelUnavailable when what was
    written does not load.
    """
    folder = models_dir / metadata.model / metadata.version
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{metadata.version}-", dir=folder.parent))
    try:
        (draft / MODEL_FILE).write_bytes(trained.payload)
        _write_json(draft / METADATA_FILE, metadata)
        _write_json(draft / GOLDEN_FILE, golden_set(trained, test.features))
        load_model(draft / MODEL_FILE, trained.sha256)
        draft.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder / MODEL_FILE


def golden_set(trained: Trained, matrix: NDArray[np.float32]) -> GoldenSet:
    """Rows from the lowest to the highest score, with the scores they have today."""
    order = np.argsort(trained.model.score(matrix), kind="stable")
    chosen = matrix[order[np.unique(np.linspace(0, len(order) - 1, N_GOLDEN).astype(int))]]
    rows = [[None if np.isnan(value) else value for value in row] for row in chosen.tolist()]
    return GoldenSet(rows=rows, scores=trained.model.score(chosen).tolist())


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2))
