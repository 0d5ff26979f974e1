"""The fraud model that decides now: follows the releases, loads each beside the running one, and swaps."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import structlog
from confluent_kafka import KafkaException

from ibook.codec import decode
from ibook.edges.fraud_model import GOLDEN_FILE, METADATA_FILE, FraudModel, load_model
from ibook.edges.kafka import BroadcastReader, Record
from ibook.errors import IbookError, InvalidMessage, ModelUnavailable
from ibook.features import FEATURE_NAMES_HASH
from ibook.messages import ModelReleased
from ibook.metrics import MODEL_RELEASES
from ibook.settings import Settings
from ibook.topics import MODEL_RELEASES as RELEASES_TOPIC

__all__ = ["Champion", "FraudModel", "load_model"]

POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0

log = structlog.get_logger(__name__)

_Looks = tuple[tuple[int, int] | None, ...]


class Champion:
    """The model that decides now. `follow` keeps it current from `model-releases`; also a context manager."""

    def __init__(self, models_dir: Path, model_name: str) -> None:
        self._models_dir = models_dir.resolve()
        self._model_name = model_name
        self._model: FraudModel | None = None
        self._stop = threading.Event()
        self._caught_up = threading.Event()
        self._thread: threading.Thread | None = None
        self._awaited: tuple[ModelReleased, _Looks] | None = None
        """A release newer than the model, and how its artefact looked when it could not be loaded."""
        self.refused = 0
        """Releases that were not loaded when they came; the model before them goes on."""
        self.last_refusal = ""
        """Why, in a sentence."""

    @classmethod
    def follow(cls, settings: Settings) -> Self:
        """A champion that reads the releases in a thread of its own, from the first one on."""
        champion = cls(settings.data_dir / "models", settings.model_name)
        champion._thread = threading.Thread(target=champion._run, args=(settings,), name="model-releases", daemon=True)
        champion._thread.start()
        return champion

    @property
    def model(self) -> FraudModel | None:
        """The current model; None until one was released and proved good. Take it once per batch."""
        return self._model

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the releases that were there at start have been tried. False when Kafka was away that long."""
        return self._caught_up.wait(timeout_seconds)

    def apply(self, releases: Sequence[ModelReleased]) -> None:
        """Take the newest release that can be loaded; the bad ones after it are refused and counted.

        When the newest one's artefact is not there, or not whole, `try_again` takes it later.
        """
        awaited: tuple[ModelReleased, _Looks] | None = None
        for release in reversed(releases):
            if release.model != self._model_name:
                continue
            looks = self._looks(release)  # before it is read: what is written meanwhile counts as a change
            if self._is_current(release) or self._loaded(release):
                self._awaited = awaited
                return
            if awaited is None and looks is not None:
                awaited = release, looks
        self._awaited = awaited or self._awaited

    def try_again(self) -> None:
        """Load the newest release if its artefact has changed since it could not be loaded: it may come late."""
        if self._awaited is None:
            return
        release, before = self._awaited
        looks = self._looks(release)
        if looks == before:
            return
        self._awaited = (release, looks) if looks is not None else None
        try:
            self._take(release)
        except ModelUnavailable as error:
            log.warning("model_still_unusable", version=release.version, why=str(error))
        else:
            self._awaited = None

    def close(self) -> None:
        """Stop following. The model stays; a thread that waits for an absent Kafka is left to end by itself."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def __enter__(self) -> Self:
        """The champion itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _is_current(self, release: ModelReleased) -> bool:
        current = self._model
        return current is not None and (current.version, current.sha256) == (release.version, release.sha256)

    def _loaded(self, release: ModelReleased) -> bool:
        try:
            self._take(release)
        except ModelUnavailable as error:
            self._refuse(release.version, str(error))
            return False
        except Exception as error:  # whatever it is, an older release may be good
            log.exception("a model could not be loaded", version=release.version)
            self._refuse(release.version, repr(error))
            return False
        return True

    def _take(self, release: ModelReleased) -> None:
        """Load a release, prove it, let it decide. Raises ModelUnavailable."""
        path = self._artefact(release)
        model = load_model(path, release.sha256)
        if model.version != release.version:
            raise ModelUnavailable(f"Artefact {release.artefact} is version {model.version}, not {release.version}.")
        self._model = model
        MODEL_RELEASES.labels("loaded").inc()
        log.info("model_loaded", model=release.model, version=release.version, why=release.why)

    def _artefact(self, release: ModelReleased) -> Path:
        """Where its model lies. Raises ModelUnavailable for a release that no artefact can make good."""
        if release.feature_names_hash != FEATURE_NAMES_HASH:
            trained_on = release.feature_names_hash
            raise ModelUnavailable(
                f"Release {release.version} needs features {trained_on}, these are {FEATURE_NAMES_HASH}."
            )
        path = (self._models_dir / release.artefact).resolve()
        if not path.is_relative_to(self._models_dir):
            raise ModelUnavailable(f"Artefact {release.artefact} lies outside the model store {self._models_dir}.")
        return path

    def _looks(self, release: ModelReleased) -> _Looks | None:
        """Size and time of each file of its artefact; None for a release that no artefact can make good."""
        try:
            path = self._artefact(release)
        except ModelUnavailable:
            return None
        return tuple(_look(path.with_name(name)) for name in (path.name, METADATA_FILE, GOLDEN_FILE))

    def _refuse(self, version: str, why: str) -> None:
        self.refused += 1
        self.last_refusal = why
        MODEL_RELEASES.labels("refused").inc()
        log.error("model_refused", version=version, why=why, goes_on=self._model.version if self._model else "none")

    def _run(self, settings: Settings) -> None:
        while not self._stop.is_set():
            try:
                import xgboost  # noqa: F401  # seconds of work, better before the first purchase than beside it

                self._read_releases(settings)
            except (IbookError, KafkaException) as error:
                log.warning("model_releases_unreadable", why=str(error))
                self._stop.wait(RETRY_SECONDS)
            except Exception:  # a thread that ends in silence would keep this model for ever
                log.exception("following the model releases failed")
                self._stop.wait(RETRY_SECONDS)

    def _read_releases(self, settings: Settings) -> None:
        with BroadcastReader(settings, RELEASES_TOPIC.name) as reader:
            self.apply(self._decoded(reader.load()))
            self._caught_up.set()
            while not self._stop.is_set():
                self.apply(self._decoded(reader.poll_new(POLL_SECONDS)))
                self.try_again()

    def _decoded(self, records: Sequence[Record]) -> list[ModelReleased]:
        releases = []
        for record in records:
            try:
                releases.append(decode(record.value, ModelReleased))
            except InvalidMessage as error:
                self._refuse(f"at offset {record.offset}", str(error))
        return releases


def _look(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
