"""An artefact decides only after it has proved itself; a bad one changes nothing."""

import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from ibook.edges.champion import Champion, load_model
from ibook.edges.fraud_model import (
    CALIBRATION_ATTRIBUTE,
    GOLDEN_FILE,
    HASH_ATTRIBUTE,
    METADATA_FILE,
    Calibration,
    GoldenSet,
    read_json,
)
from ibook.edges.model_store import ModelStore
from ibook.errors import ModelUnavailable
from tests.tiny_models import OTHER, TEST, TRAINED, metadata, released
from training.artefact import write_artefact


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return write_artefact(tmp_path / "models", metadata(TRAINED), TRAINED, TEST)


@pytest.fixture
def champion(artefact: Path) -> Champion:
    write_artefact(artefact.parents[2], metadata(OTHER), OTHER, TEST)
    return Champion(artefact.parents[2], "fraud")


# -------------------------------------------------------------------------------------------------------------- loading
def test_a_loaded_model_scores_and_explains_like_the_one_that_was_saved(artefact: Path) -> None:
    model = load_model(artefact, TRAINED.sha256)
    assert np.array_equal(model.score(TEST.features), TRAINED.model.score(TEST.features))
    assert np.array_equal(model.contributions(TEST.features[:9]), TRAINED.model.contributions(TEST.features[:9]))
    assert (model.version, model.sha256) == (TRAINED.model.version, TRAINED.sha256)


def test_scores_do_not_hang_on_the_batch_a_row_is_in(artefact: Path) -> None:
    model = load_model(artefact, TRAINED.sha256)
    together = model.score(TEST.features[:64])
    assert np.array_equal(together, [model.score(TEST.features[i : i + 1])[0] for i in range(64)])


def rehashed(path: Path, change: Callable[[dict[str, str]], object]) -> str:
    """The model with changed attributes under its own, correct hash."""
    from xgboost import Booster

    booster = Booster(model_file=str(path))
    attributes = dict(booster.attributes())
    change(attributes)
    booster.set_attr(**{name: attributes.get(name) for name in (HASH_ATTRIBUTE, CALIBRATION_ATTRIBUTE)})
    booster.save_model(path)
    return sha256(path.read_bytes()).hexdigest()


def test_a_wrong_hash_is_refused(artefact: Path) -> None:
    with pytest.raises(ModelUnavailable, match="has SHA-256"):
        load_model(artefact, OTHER.sha256)


def test_one_flipped_byte_is_refused(artefact: Path) -> None:
    payload = bytearray(artefact.read_bytes())
    payload[len(payload) // 2] ^= 1
    artefact.write_bytes(payload)
    with pytest.raises(ModelUnavailable, match="has SHA-256"):
        load_model(artefact, TRAINED.sha256)


@pytest.mark.parametrize("payload", [b"", b"{", b"no model at all", b"{L" + bytes(500)])
def test_a_file_that_is_no_model_is_refused_even_with_its_own_hash(artefact: Path, payload: bytes) -> None:
    artefact.write_bytes(payload)
    with pytest.raises(ModelUnavailable) as refused:
        load_model(artefact, sha256(payload).hexdigest())
    assert "\n" not in str(refused.value)


def test_a_cut_off_file_is_refused_even_with_its_own_hash(artefact: Path) -> None:
    payload = artefact.read_bytes()[:-200]
    artefact.write_bytes(payload)
    with pytest.raises(ModelUnavailable, match="not one XGBoost can read"):
        load_model(artefact, sha256(payload).hexdigest())


def test_other_features_are_refused(artefact: Path) -> None:
    digest = rehashed(artefact, lambda attributes: attributes.update({HASH_ATTRIBUTE: "0123456789abcdef"}))
    with pytest.raises(ModelUnavailable, match="was trained on features 0123456789abcdef"):
        load_model(artefact, digest)


def test_a_missing_calibration_is_refused(artefact: Path) -> None:
    digest = rehashed(artefact, lambda attributes: attributes.pop(CALIBRATION_ATTRIBUTE))
    with pytest.raises(ModelUnavailable, match="calibration"):
        load_model(artefact, digest)


def test_scores_off_the_golden_set_are_refused(artefact: Path) -> None:
    golden = msgspec.json.decode(artefact.with_name(GOLDEN_FILE).read_bytes(), type=GoldenSet)
    scores = [*golden.scores[:-1], golden.scores[-1] + 2e-6]
    artefact.with_name(GOLDEN_FILE).write_bytes(msgspec.json.encode(GoldenSet(rows=golden.rows, scores=scores)))
    with pytest.raises(ModelUnavailable, match="golden set"):
        load_model(artefact, TRAINED.sha256)


@pytest.mark.parametrize("golden", [GoldenSet(rows=[], scores=[]), GoldenSet(rows=[[1.0]], scores=[0.5])])
def test_a_golden_set_that_proves_nothing_is_refused(artefact: Path, golden: GoldenSet) -> None:
    artefact.with_name(GOLDEN_FILE).write_bytes(msgspec.json.encode(golden))
    with pytest.raises(ModelUnavailable, match="golden set"):
        load_model(artefact, TRAINED.sha256)


@pytest.mark.parametrize("name", [METADATA_FILE, GOLDEN_FILE, "model.ubj"])
def test_a_missing_or_garbled_file_is_refused(artefact: Path, name: str) -> None:
    artefact.with_name(name).unlink()
    with pytest.raises(ModelUnavailable, match=name):
        load_model(artefact, TRAINED.sha256)
    if name != "model.ubj":
        artefact.with_name(name).write_bytes(b'{"rows": 1')
        with pytest.raises(ModelUnavailable, match=name):
            load_model(artefact, TRAINED.sha256)


def test_an_extreme_calibration_neither_warns_nor_leaves_the_unit_interval() -> None:
    scores = Calibration(1e6, 0.0).apply(np.array([-500.0, 0.0, 500.0]))
    assert scores.tolist() == [0.0, 0.5, 1.0]


def test_an_artefact_written_again_replaces_the_old_one_and_leaves_nothing_behind(artefact: Path) -> None:
    models = artefact.parents[2]
    assert write_artefact(models, metadata(TRAINED), TRAINED, TEST) == artefact
    assert [path.name for path in artefact.parents[1].iterdir()] == [TRAINED.model.version]
    load_model(artefact, TRAINED.sha256)


# ---------------------------------------------------------------------------------------------------------------- store
def test_a_model_from_elsewhere_is_copied_whole_and_proved(artefact: Path, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "another", "fraud")
    assert store.admit(artefact.parent).sha256 == TRAINED.sha256
    assert store.admit(artefact).sha256 == TRAINED.sha256, "again, and as a file"
    assert [each.version for each in store.versions()] == [TRAINED.model.version]
    assert store.load(released(TRAINED)).version == TRAINED.model.version


def test_a_model_that_does_not_prove_itself_stays_outside(artefact: Path, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "another", "fraud")
    golden = read_json(artefact.with_name(GOLDEN_FILE), GoldenSet)
    shifted = GoldenSet(rows=golden.rows, scores=[score / 2 for score in golden.scores])
    artefact.with_name(GOLDEN_FILE).write_bytes(msgspec.json.encode(shifted))
    with pytest.raises(ModelUnavailable, match="golden set"):
        store.admit(artefact.parent)
    assert store.versions() == []


def test_another_model_under_a_known_version_is_refused(champion: Champion, artefact: Path, tmp_path: Path) -> None:
    renamed = replace(metadata(OTHER), version=TRAINED.model.version)
    other = write_artefact(tmp_path / "another", renamed, OTHER, TEST)
    with pytest.raises(ModelUnavailable, match="its own version"):
        champion._store.admit(other.parent)


@pytest.mark.parametrize("version", ["../escaped", ".hidden", "a/b"])
def test_a_version_is_the_name_of_one_folder(artefact: Path, version: str) -> None:
    with pytest.raises(ModelUnavailable, match="can't be the name"):
        ModelStore(artefact.parents[2], "fraud").metadata(version)


def test_a_model_is_swapped_beneath_threads_that_score(champion: Champion) -> None:
    champion.apply([released(TRAINED)])
    expected = {trained.model.version: trained.model.score(TEST.features) for trained in (TRAINED, OTHER)}
    wrong: list[str] = []
    stop = threading.Event()

    def score() -> None:
        while not stop.is_set():
            model = champion.model
            if model is None or not np.array_equal(model.score(TEST.features), expected[model.version]):
                wrong.append("a score of no model")

    threads = [threading.Thread(target=score) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(20):
        champion.apply([released(OTHER if turn % 2 == 0 else TRAINED)])
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
