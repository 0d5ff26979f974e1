"""From a simulated past to the model that decides: trained, released on real Kafka, followed, rolled back."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ibook.codec import encode
from ibook.edges.champion import Champion, load_model
from ibook.edges.fraud_model import GOLDEN_FILE, GoldenSet, read_json
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.errors import ConfigurationError, ModelUnavailable
from ibook.messages import ModelReleased
from ibook.settings import Settings
from ibook.topics import MODEL_RELEASES
from training.bootstrap import Outcome, Plan, bootstrap
from training.history import read_history, simulated
from training.release import release

END = "2026-01-05T00:00:00+00:00"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of about 12,000 purchases."""
    folder = tmp_path_factory.mktemp("history")
    with simulated(folder, hours=72.0, purchases=12_000, seed=8, end=END):
        pass
    return folder


@pytest.fixture(scope="module")
def short_past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of half as many: for a model whose worth is not judged."""
    folder = tmp_path_factory.mktemp("short-history")
    with simulated(folder, hours=72.0, purchases=6_000, seed=8, end=END):
        pass
    return folder


@pytest.fixture(scope="module")
def first(past: Path, shared_platform_settings: Settings) -> Outcome:
    """The first model, released."""
    return bootstrap(shared_platform_settings, Plan(seed=1, history=past))


@pytest.fixture(scope="module")
def second(first: Outcome, short_past: Path, shared_platform_settings: Settings) -> Outcome:
    """Another one, written but not released."""
    return bootstrap(shared_platform_settings, Plan(seed=2, history=short_past, release=False))


@pytest.fixture
def champion(first: Outcome, shared_platform_settings: Settings) -> Iterator[Champion]:
    """Follows from the first release on, and has caught up; the first model decides."""
    release(shared_platform_settings, first.metadata.version, why="test")
    with Champion.follow(shared_platform_settings) as following:
        assert following.wait(120)
        yield following


def until(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def decides(champion: Champion, outcome: Outcome) -> bool:
    return champion.model is not None and champion.model.version == outcome.metadata.version


# ---------------------------------------------------------------------------------------------------------- the model
def test_the_first_model_is_better_than_chance_and_no_oracle(first: Outcome) -> None:
    evaluation = first.evaluation
    assert 0.005 < evaluation.base_rate < 0.05
    assert 3 * evaluation.base_rate < evaluation.average_precision < 0.95  # above it something leaks


def test_what_was_written_scores_like_what_was_trained(first: Outcome) -> None:
    model = load_model(first.path, first.metadata.sha256)
    golden = read_json(first.path.with_name(GOLDEN_FILE), GoldenSet)
    assert np.abs(model.score(golden.matrix()) - golden.scores).max() <= 1e-6
    assert first.path.parts[-4:] == ("models", "fraud", first.metadata.version, "model.ubj")


def test_the_same_history_and_seed_give_the_same_model(second: Outcome, short_past: Path, tmp_path: Path) -> None:
    again = bootstrap(Settings(data_dir=tmp_path), Plan(seed=2, history=short_past, release=False))
    assert (again.metadata.sha256, again.metadata.version) == (second.metadata.sha256, second.metadata.version)


def test_a_history_is_read_in_the_order_it_happened(past: Path) -> None:
    instants = [recorded.message.occurred_at for recorded in read_history(past)]
    assert instants == sorted(instants)


# ------------------------------------------------------------------------------------------------------------ releases
def test_a_release_is_followed_and_rolled_back_while_the_process_runs(
    champion: Champion, first: Outcome, second: Outcome, shared_platform_settings: Settings
) -> None:
    assert decides(champion, first)
    release(shared_platform_settings, second.metadata.version, why="test")
    assert until(lambda: decides(champion, second))
    release(shared_platform_settings, first.metadata.version, why="rollback")
    assert until(lambda: decides(champion, first))


def test_bad_releases_change_nothing_and_the_next_good_one_is_taken(
    champion: Champion, first: Outcome, second: Outcome, shared_platform_settings: Settings
) -> None:
    good = release(shared_platform_settings, first.metadata.version, why="test")
    wrong = ModelReleased(
        message_id="wrong", occurred_at=good.occurred_at, model="fraud", version=second.metadata.version,
        artefact=f"fraud/{second.metadata.version}/model.ubj", sha256="0" * 64,
        feature_names_hash=good.feature_names_hash,
    )  # fmt: skip
    refused = champion.refused
    bad = [Outgoing(topic=MODEL_RELEASES.name, key=b"fraud", value=value) for value in (encode(wrong), b"{", None)]
    publish(producer(shared_platform_settings), bad)
    assert until(lambda: champion.refused == refused + 3)
    assert decides(champion, first)
    release(shared_platform_settings, second.metadata.version, why="test")
    assert until(lambda: decides(champion, second))


def test_a_process_that_starts_late_takes_the_last_release(
    champion: Champion, second: Outcome, shared_platform_settings: Settings
) -> None:
    release(shared_platform_settings, second.metadata.version, why="test")
    with Champion.follow(shared_platform_settings) as late:
        assert late.wait(120)
        assert decides(late, second)


def test_only_what_is_in_the_model_store_can_be_released(
    first: Outcome, past: Path, shared_platform_settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ModelUnavailable, match="There is no model unheard-of"):
        release(shared_platform_settings, "unheard-of", why="test")
    with pytest.raises(ConfigurationError, match="can be released"):
        bootstrap(shared_platform_settings, Plan(history=past, models_dir=tmp_path))


# --------------------------------------------------------------------------------------------------------------- faults
def nobody() -> str:
    """An address where no broker answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


def test_without_kafka_a_release_fails_early_in_one_sentence(past: Path, tmp_path: Path) -> None:
    environment = os.environ | {"IBOOK_KAFKA_BOOTSTRAP": nobody(), "IBOOK_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "training", "bootstrap", "--history", str(past)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Kafka" in done.stderr
    assert not (tmp_path / "models").exists()


def test_without_kafka_a_champion_waits_and_closes(tmp_path: Path) -> None:
    with Champion.follow(Settings(kafka_bootstrap=nobody(), data_dir=tmp_path)) as alone:
        assert not alone.wait(0.5)
        assert alone.model is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--history", "nowhere"], "has no ticket-purchases.parquet"),
        (["--purchases", "30", "--hours", "1"], "can't be learned from"),
    ],
)
def test_a_past_that_teaches_nothing_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training", "bootstrap", "--no-release", *arguments],
        env=os.environ | {"IBOOK_DATA_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_broken_history_file_is_named(past: Path, tmp_path: Path) -> None:
    for path in past.glob("*.parquet"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    broken = tmp_path / "payment-outcomes.parquet"
    broken.write_bytes(broken.read_bytes()[:-50])
    with pytest.raises(ConfigurationError, match=r"payment-outcomes\.parquet can't be read"):
        read_history(tmp_path)
