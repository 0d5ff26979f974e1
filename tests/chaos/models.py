"""Two small models, trained once per run and released at will."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from ibook.codec import encode
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.features import FEATURE_NAMES_HASH
from ibook.messages import ModelReleased
from ibook.settings import Settings
from ibook.topics import MODEL_RELEASES
from training.bootstrap import Plan, bootstrap
from training.history import simulated
from training.release import release

BAD = "bad-"
NUMBERS = count()
END = "2026-01-05T00:00:00+00:00"
HOURS, PURCHASES = 72.0, 12_000


@dataclass(frozen=True)
class Models:
    """Versions in a folder."""

    folder: Path
    versions: tuple[str, str]

    def install(self, settings: Settings) -> None:
        """Put both into a platform's model store; the first one decides from now on."""
        shutil.copytree(self.folder, settings.data_dir / "models", dirs_exist_ok=True)
        self.release(settings, 0)

    def release(self, settings: Settings, which: int) -> None:
        """Let one of them decide."""
        release(settings, self.versions[which], why="chaos")

    def release_a_bad_one(self, settings: Settings) -> None:
        """A version that is new each time, whose artefact is the second one's under a wrong hash: to be refused."""
        version = f"{BAD}{next(NUMBERS)}"
        bad = ModelReleased(
            message_id=version, occurred_at=datetime.now(UTC), model=settings.model_name, version=version,
            artefact=f"{settings.model_name}/{self.versions[1]}/model.ubj", sha256="0" * 64,
            feature_names_hash=FEATURE_NAMES_HASH,
        )  # fmt: skip
        publish(producer(settings), [Outgoing(topic=MODEL_RELEASES.name, key=bad.model.encode(), value=encode(bad))])


def train_two(folder: Path) -> Models:
    """Both from one simulated past, with different seeds."""
    settings, past = Settings(data_dir=folder), folder / "past"
    with simulated(past, hours=HOURS, purchases=PURCHASES, seed=8, end=END):
        pass
    made = [bootstrap(settings, Plan(seed=seed, history=past, release=False)) for seed in (1, 2)]
    return Models(folder / "models", (made[0].metadata.version, made[1].metadata.version))
