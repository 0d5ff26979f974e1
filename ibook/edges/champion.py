"""The fraud models that run now: follows the releases, loads each beside the running one, and swaps."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import structlog

from ibook.clock import SystemClock
from ibook.edges.follower import Follower
from ibook.edges.following_releases import FollowingReleases
from ibook.edges.fraud_model import GOLDEN_SECONDS, FraudModel, load_model
from ibook.edges.kafka import Record
from ibook.edges.kept_release import KeptRelease
from ibook.edges.model_reports import Reporter, process_name
from ibook.edges.model_store import Looks, ModelStore
from ibook.edges.xgboost_import import import_xgboost
from ibook.errors import ModelUnavailable
from ibook.messages import ModelReleased, ModelReleases, Release, ReleaseConfirmed, ReleaseTakenBack
from ibook.metrics import MODEL_IN_FORCE, MODEL_RELEASES, MODELS_TAKEN_BACK, name_one
from ibook.releases import GUARD, Standing, confirming, is_on_probation, standing, taking_back
from ibook.settings import Settings
from ibook.topics import MODEL_RELEASES as RELEASES_TOPIC

__all__ = ["Champion", "FraudModel", "Loaded", "Running", "load_model"]

POLL_SECONDS = 0.5

log = structlog.get_logger(__name__)


class Loaded(NamedTuple):
    """A model in memory, and the release that it is there for."""

    model: FraudModel
    release: Release


class Running(NamedTuple):
    """What a batch is scored with."""

    champion: Loaded | None = None
    """Decides; None until one was released and proved good."""
    former: Loaded | None = None
    """Was released before, and is compared with while the champion is on probation."""
    challenger: Loaded | None = None


class Unusable(NamedTuple):
    """A release that could not be loaded."""

    looks: Looks | None
    """How its artefact looked then."""
    why: str


class Champion(FollowingReleases[ReleaseTakenBack | ReleaseConfirmed]):
    """The models that run now. `follow` keeps them current from `model-releases`; also a context manager."""

    def __init__(self, models_dir: Path, model_name: str, golden_seconds: float = GOLDEN_SECONDS) -> None:
        super().__init__(RELEASES_TOPIC, model_name)
        self._store = ModelStore(models_dir, model_name, golden_seconds)
        self._log: list[ModelReleases] = []
        self._kept: ModelReleased | None = None
        """What it began with."""
        self._running = Running()
        self._swapping = threading.Lock()
        self._unusable: dict[str, Unusable] = {}
        """By message id."""

    @classmethod
    def follow(cls, settings: Settings, name: str = "process", also: Callable[[], Mapping[str, object]] = dict) -> Self:
        """A champion that reads the releases in a thread of its own, and reports what runs under this name.

        Until they were read it is the one that decided last on this folder. `also` gives more fields of the report.
        """
        champion = cls(settings.data_dir / "models", settings.model_name, settings.golden_seconds)
        reporter = Reporter(settings, process_name(name))
        kept = KeptRelease(settings.data_dir, f"model-{settings.model_name}", ModelReleased)

        def then() -> None:
            champion._keep(kept)
            champion._tell(settings, reporter, also())

        champion._follower = Follower(
            settings, RELEASES_TOPIC.name, first=lambda: champion.begin_with(kept.begin()), take=champion._take,
            poll_seconds=POLL_SECONDS, then=then,
        )  # fmt: skip
        champion._follower.start()
        return champion

    @property
    def running(self) -> Running:
        """All models that run. Take it once per batch."""
        return self._running

    @property
    def model(self) -> FraudModel | None:
        """The model that decides; None until one was released and proved good. Take it once per batch."""
        champion = self._running.champion
        return champion.model if champion else None

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the releases that were there at start have been tried. False when Kafka was away that long."""
        return self._follower is not None and self._follower.caught_up.wait(timeout_seconds)

    # ----------------------------------------------------------------------------------------------------- following
    def begin_with(self, release: ModelReleased | None) -> None:
        """Run a release that was kept, when it can be loaded, until the releases themselves were found."""
        name_one(MODEL_IN_FORCE, "none", "unread")  # loading takes its time
        if release is None or release.model != self._store.model:
            return
        self._kept = release
        import_xgboost()
        if loaded := self._loaded(release):
            self._swap(Running(loaded))
            name_one(MODEL_IN_FORCE, release.version, "kept")

    def _keep(self, kept: KeptRelease[ModelReleased]) -> None:
        """Keep what decides; what others could load and this process can't is left to them."""
        champion = self._running.champion
        release = champion.release if champion and isinstance(champion.release, ModelReleased) else None
        if self._log:
            kept.keep_deciding(release, self._standing().champions)
        origin = "released" if self._log or self._kept is None else "kept" if champion else "unread"
        name_one(MODEL_IN_FORCE, champion.model.version if champion else "none", origin)

    def apply(self, releases: Sequence[ModelReleases]) -> None:
        """Take note of releases, and run the newest that can be loaded; the bad ones after it are refused and counted.

        When a bad one's artefact is not there, or not whole, `try_again` takes it later. Without any releases, what was
        kept goes on.
        """
        known = {each.message_id for each in self._log}
        self._log += [each for each in releases if each.model == self._store.model and each.message_id not in known]
        self.try_again()

    def try_again(self) -> None:
        """Run what counts now; a release whose artefact has changed since it could not be loaded is tried again."""
        found = self._standing()
        champion = self._first_loaded(found.champions)
        former = self._former(champion, found.champions) if champion else None
        challenger = self._loaded(found.challenger) if found.challenger and champion else None
        if champion and challenger and challenger.model.sha256 == champion.model.sha256:
            challenger = None
        self._swap(Running(champion, former, challenger))

    def _standing(self) -> Standing:
        log = [self._kept] if self._is_lost(self._kept, self._log) and self._kept else self._log
        return standing([*log, *self._said.values()])

    def _first_loaded(self, releases: Iterable[Release]) -> Loaded | None:
        return next((loaded for each in releases if (loaded := self._loaded(each))), None)

    def _former(self, champion: Loaded, champions: Sequence[ModelReleased]) -> Loaded | None:
        """Whom a champion on probation is compared with: the version before it, also where nobody saw it decide."""
        if not is_on_probation([*self._log, *self._said.values()], champion.release):
            return None
        place = next(i for i, each in enumerate(champions) if each == champion.release)
        return self._first_loaded(each for each in champions[place:] if each.version != champion.release.version)

    def _loaded(self, release: Release) -> Loaded | None:
        """A release's model: one that runs, or loaded from the store; None when it can't be had."""
        for there in self._running:
            if there and (there.model.version, there.model.sha256) == (release.version, release.sha256):
                return there if there.release == release else Loaded(there.model, release)
        looks = self._store.looks(release)  # before it is read: what is written meanwhile counts as a change
        unusable = self._unusable.get(release.message_id)
        if unusable and unusable.looks == looks:
            return None
        try:
            model = self._store.load(release)
        except Exception as error:  # whatever it is, an older release may be good
            why = str(error) if isinstance(error, ModelUnavailable) else repr(error)
            self._unusable[release.message_id] = Unusable(looks, why)
            if unusable is None:
                self._refuse(release.version, why)
            else:
                log.warning("model_still_unusable", version=release.version, why=why)
            return None
        self._unusable.pop(release.message_id, None)
        MODEL_RELEASES.labels("loaded").inc()
        log.info("model_loaded", model=release.model, version=release.version, why=release.why)
        return Loaded(model, release)

    def _swap(self, running: Running) -> None:
        """Run these, unless the guard spoke about one of them while they were worked out: it comes round again."""
        with self._swapping:
            said = {each.release.message_id: self._said.get(each.release.message_id) for each in running if each}
            is_confirmed = running.champion and said[running.champion.release.message_id]
            if not any(isinstance(each, ReleaseTakenBack) for each in said.values()):
                self._running = running._replace(former=None) if is_confirmed else running

    def _refuse(self, version: str, why: str) -> None:
        super()._refuse(version, why)
        MODEL_RELEASES.labels("refused").inc()
        log.error("model_refused", version=version, why=why, goes_on=self.model.version if self.model else "none")

    # ------------------------------------------------------------------------------------------------------ the guard
    def confirm(self, release: Release, why: str) -> None:
        """A champion has proved itself: it is compared no longer, here at once, in every other process soon."""
        with self._swapping:
            if release.message_id in self._said:
                return
            self._say(confirming(release, GUARD, why, SystemClock().now()))
            if self._running.champion and self._running.champion.release == release:
                self._running = self._running._replace(former=None)
        log.info("model_confirmed", version=release.version, why=why)

    def take_back(self, release: Release, why: str) -> None:
        """Stop running a release at once, and let every other process know of it soon."""
        with self._swapping:
            if isinstance(self._said.get(release.message_id), ReleaseTakenBack):
                return
            running = self._running
            self._say(taking_back(release, GUARD, why, SystemClock().now()))
            if running.champion and running.champion.release == release:
                self._running = Running(running.former, None, running.challenger)
            elif running.challenger and running.challenger.release == release:
                self._running = running._replace(challenger=None)
        MODELS_TAKEN_BACK.inc()
        log.error("model_taken_back", version=release.version, why=why)

    # ----------------------------------------------------------------------------------------------------- the thread
    def _take(self, records: Sequence[Record]) -> None:
        import_xgboost()  # a second of work, better before the first purchase than beside it

        self.apply(self._decoded(records))

    def _tell(self, settings: Settings, reporter: Reporter, also: Mapping[str, object]) -> None:
        self._tell_others(settings)
        champion, challenger = self._running.champion, self._running.challenger
        newest = next((each for each in reversed(self._log) if isinstance(each, Release)), None)
        unusable = self._unusable.get(newest.message_id) if newest else None
        reporter.tell(
            model=self._store.model, champion=champion.model.version if champion else "none",
            challenger=challenger.model.version if challenger else "", releases=len(self._log),
            refused=unusable.why if unusable else "", **also,
        )  # fmt: skip
