"""The model store: one folder per model and version, `<data_dir>/models/<model>/<version>/`."""

import shutil
import tempfile
from pathlib import Path
from typing import Self

from msgspec import Struct

from ibook.edges.fraud_model import (
    GOLDEN_FILE,
    GOLDEN_SECONDS,
    METADATA_FILE,
    MODEL_FILE,
    FraudModel,
    ModelMetadata,
    load_model,
    read_json,
)
from ibook.errors import ModelUnavailable
from ibook.features import FEATURE_NAMES_HASH
from ibook.messages import Release
from ibook.settings import Settings

FILES = (MODEL_FILE, METADATA_FILE, GOLDEN_FILE)
Looks = tuple[tuple[int, int] | None, ...]
"""Size and time of each file of an artefact."""


class Stored(Struct, frozen=True, kw_only=True):
    """A version in the store. `metadata` is None and `why_not` a sentence when it can't be read."""

    version: str
    metadata: ModelMetadata | None
    why_not: str = ""


class ModelStore:
    """The versions of one model."""

    def __init__(self, models_dir: Path, model: str, golden_seconds: float = GOLDEN_SECONDS) -> None:
        self.models_dir = models_dir.resolve()
        self.model = model
        self._golden_seconds = golden_seconds

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The store of the model that these settings name."""
        return cls(settings.data_dir / "models", settings.model_name, settings.golden_seconds)

    def versions(self) -> list[Stored]:
        """What lies in the store, by name."""
        folder = self.models_dir / self.model
        names = sorted(each.name for each in folder.glob("[!.]*") if each.is_dir()) if folder.is_dir() else []
        return [self._stored(name) for name in names]

    def metadata(self, version: str) -> ModelMetadata:
        """What is known of a version that loads and scores its golden rows here. Raises ModelUnavailable."""
        path = self.models_dir / self.model / _one_name(version) / MODEL_FILE
        if not path.exists():
            raise ModelUnavailable(f"There is no model {version} in {path.parent.parent}.")
        metadata = read_json(path.with_name(METADATA_FILE), ModelMetadata)
        load_model(path, metadata.sha256, self._golden_seconds)
        return metadata

    def admit(self, given: Path) -> ModelMetadata:
        """Copy an artefact (its folder, or the `model.ubj` in it) into the store and prove it there.

        The version appears whole or not at all. Raises ModelUnavailable: for one that does not load, is of another
        model, or differs from what the store has under its version.
        """
        source = given if given.is_dir() else given.parent
        metadata = read_json(source / METADATA_FILE, ModelMetadata)
        load_model(source / MODEL_FILE if given.is_dir() else given, metadata.sha256, self._golden_seconds)
        if metadata.model != self.model:
            raise ModelUnavailable(f"{given} is a model {metadata.model}, here {self.model} is released.")
        folder = self.models_dir / self.model / _one_name(metadata.version)
        if not folder.exists():
            self._copy(source, given.name if given.is_file() else MODEL_FILE, folder)
        elif self.metadata(metadata.version).sha256 != metadata.sha256:
            raise ModelUnavailable(f"The store has another model {metadata.version}: give this one its own version.")
        return self.metadata(metadata.version)

    def load(self, release: Release) -> FraudModel:
        """Load what a release names, and prove it. Raises ModelUnavailable."""
        model = load_model(self.artefact(release), release.sha256, self._golden_seconds)
        if model.version != release.version:
            raise ModelUnavailable(f"Artefact {release.artefact} is version {model.version}, not {release.version}.")
        return model

    def artefact(self, release: Release) -> Path:
        """Where its model lies. Raises ModelUnavailable for a release that no artefact can make good."""
        if release.feature_names_hash != FEATURE_NAMES_HASH:
            trained_on = release.feature_names_hash
            raise ModelUnavailable(
                f"Release {release.version} needs features {trained_on}, these are {FEATURE_NAMES_HASH}."
            )
        path = (self.models_dir / release.artefact).resolve()
        if not path.is_relative_to(self.models_dir):
            raise ModelUnavailable(f"Artefact {release.artefact} lies outside the model store {self.models_dir}.")
        return path

    def looks(self, release: Release) -> Looks | None:
        """How its files look; None for a release that no artefact can make good."""
        try:
            path = self.artefact(release)
        except ModelUnavailable:
            return None
        return tuple(_look(path.with_name(name)) for name in (path.name, METADATA_FILE, GOLDEN_FILE))

    def _copy(self, source: Path, model_file: str, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for name, taken in zip(FILES, (model_file, METADATA_FILE, GOLDEN_FILE), strict=True):
                shutil.copyfile(source / taken, draft / name)
            draft.chmod(0o755)
            draft.replace(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _stored(self, version: str) -> Stored:
        try:
            metadata = read_json(self.models_dir / self.model / version / METADATA_FILE, ModelMetadata)
        except ModelUnavailable as error:
            return Stored(version=version, metadata=None, why_not=str(error))
        return Stored(version=version, metadata=metadata)


def _one_name(version: str) -> str:
    """The version, when it is a folder's name. Raises ModelUnavailable."""
    if version != Path(version).name or version.startswith("."):
        raise ModelUnavailable(f"{version!r} can't be the name of a version's folder.")
    return version


def _look(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
