"""The fraud models that run now: follows the releases, loads each beside the running one, and swaps."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import structlog

from ibook.clock import SystemClock
from ibook.codec import decode, encode
from ibook.edges.follower import Follower
from ibook.edges.fraud_model import GOLDEN_SECONDS, FraudModel, load_model
from ibook.edges.kafka import Outgoing, Record, producer, publish
from ibook.edges.model_reports import Reporter, process_name
from ibook.edges.model_store import Looks, ModelStore
from ibook.edges.xgboost_import import import_xgboost
from ibook.errors import InvalidMessage, ModelUnavailable
from ibook.messages import ModelReleased, ModelReleases, Release, ReleaseConfirmed, ReleaseTakenBack
from ibook.metrics import MODEL_RELEASES, MODELS_TAKEN_BACK
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


class Champion:
    """The models that run now. `follow` keeps them current from `model-releases`; also a context manager."""

    def __init__(self, models_dir: Path, model_name: str, golden_seconds: float = GOLDEN_SECONDS) -> None:
        self._store = ModelStore(models_dir, model_name, golden_seconds)
        self._log: list[ModelReleases] = []
        self._running = Running()
        self._swapping = threading.Lock()
        self._said: dict[str, ReleaseTakenBack | ReleaseConfirmed] = {}
        """By the guard of this process, by message id of the release."""
        self._untold: list[ReleaseTakenBack | ReleaseConfirmed] = []
        """What of it the others do not know yet."""
        self._unusable: dict[str, Unusable] = {}
        """By message id."""
        self._follower: Follower | None = None
        self.refused = 0
        """Releases that were not loaded when they came; the model before them goes on."""
        self.last_refusal = ""
        """Why, in a sentence."""

    @classmethod
    def follow(cls, settings: Settings, name: str = "process", also: Callable[[], Mapping[str, object]] = dict) -> Self:
        """A champion that reads the releases in a thread of its own, and reports what runs under this name.

        `also` gives more fields of the report.
        """
        champion = cls(settings.data_dir / "models", settings.model_name, settings.golden_seconds)
        reporter = Reporter(settings, process_name(name))
        champion._follower = Follower(
            settings, RELEASES_TOPIC.name, take=champion._take, poll_seconds=POLL_SECONDS,
            then=lambda: champion._tell(settings, reporter, also()),
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
    def apply(self, releases: Sequence[ModelReleases]) -> None:
        """Take note of releases, and run the newest that can be loaded; the bad ones after it are refused and counted.

        When a bad one's artefact is not there, or not whole, `try_again` takes it later.
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
        return standing([*self._log, *self._said.values()])

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
            self._refuse(release.version, why, is_news=unusable is None)
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

    def _refuse(self, version: str, why: str, *, is_news: bool = True) -> None:
        if not is_news:
            log.warning("model_still_unusable", version=version, why=why)
            return
        self.refused += 1
        self.last_refusal = why
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

    def _say(self, message: ReleaseTakenBack | ReleaseConfirmed) -> None:
        self._said[message.release_id] = message
        self._untold.append(message)

    # ----------------------------------------------------------------------------------------------------- the thread
    def close(self) -> None:
        """Stop following. The models stay."""
        if self._follower is not None:
            self._follower.close()

    def __enter__(self) -> Self:
        """The champion itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _take(self, records: Sequence[Record]) -> None:
        import_xgboost()  # a second of work, better before the first purchase than beside it

        self.apply(self._decoded(records))

    def _tell(self, settings: Settings, reporter: Reporter, also: Mapping[str, object]) -> None:
        self._tell_what_was_said(settings)
        champion, challenger = self._running.champion, self._running.challenger
        newest = next((each for each in reversed(self._log) if isinstance(each, Release)), None)
        unusable = self._unusable.get(newest.message_id) if newest else None
        reporter.tell(
            model=self._store.model, champion=champion.model.version if champion else "none",
            challenger=challenger.model.version if challenger else "", releases=len(self._log),
            refused=unusable.why if unusable else "", **also,
        )  # fmt: skip

    def _tell_what_was_said(self, settings: Settings) -> None:
        """Publish what the guard of this process found; what does not reach Kafka is tried again."""
        while self._untold:
            message = self._untold[0]
            outgoing = Outgoing(topic=RELEASES_TOPIC.name, key=message.model.encode(), value=encode(message))
            publish(producer(settings), [outgoing])
            self._untold.pop(0)

    def _decoded(self, records: Sequence[Record]) -> list[ModelReleases]:
        releases: list[ModelReleases] = []
        for record in records:
            try:
                releases.append(decode(record.value, RELEASES_TOPIC.message))
            except InvalidMessage as error:
                self._refuse(f"at offset {record.offset}", str(error))
        return releases
