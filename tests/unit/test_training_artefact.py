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
    FraudModel,
    GoldenSet,
    read_json,
)
from ibook.edges.model_store import ModelStore
from ibook.errors import ModelUnavailable
from ibook.releases import confirming, taking_back
from tests.tiny_models import NOW, OTHER, TEST, TRAINED, beside, metadata, released
from training.artefact import write_artefact


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return write_artefact(tmp_path / "models", metadata(TRAINED), TRAINED, TEST)


# ------------------------------------------------------------------------------------------------------------ loading
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


# ------------------------------------------------------------------------------------------------------------- champion
@pytest.fixture
def champion(artefact: Path) -> Champion:
    write_artefact(artefact.parents[2], metadata(OTHER), OTHER, TEST)
    return Champion(artefact.parents[2], "fraud")


def version_of(champion: Champion) -> str | None:
    return champion.model.version if champion.model else None


def test_the_newest_release_decides_and_an_older_one_can_be_released_again(champion: Champion) -> None:
    assert champion.model is None
    champion.apply([released(TRAINED), released(OTHER)])
    assert version_of(champion) == OTHER.model.version
    champion.apply([released(TRAINED)])
    assert version_of(champion) == TRAINED.model.version
    assert champion.refused == 0


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"feature_names_hash": "ffff"}, "needs features ffff"),
        ({"artefact": "fraud/nowhere/model.ubj"}, "can't be read"),
        ({"artefact": "../../etc/passwd"}, "outside the model store"),
        ({"artefact": "s3://bucket/model.ubj"}, "can't be read"),
        ({"version": "another"}, "not another"),
    ],
)
def test_a_bad_release_is_refused_and_the_old_model_goes_on(
    champion: Champion, changed: dict[str, str], why: str
) -> None:
    champion.apply([released(TRAINED)])
    before = champion.model
    champion.apply([released(OTHER, **changed)])
    assert champion.model is before
    assert champion.refused == 1
    assert why in champion.last_refusal


def test_a_bad_last_release_falls_back_to_the_newest_good_one(champion: Champion) -> None:
    champion.apply([released(TRAINED), released(OTHER), released(TRAINED, sha256="0" * 64)])
    assert (version_of(champion), champion.refused) == (OTHER.model.version, 1)


@pytest.mark.parametrize("late", ["model.ubj", METADATA_FILE, GOLDEN_FILE])
def test_an_artefact_that_comes_after_its_release_is_taken(champion: Champion, late: str) -> None:
    champion.apply([released(TRAINED)])
    file = champion._store.models_dir / "fraud" / OTHER.model.version / late
    whole = file.read_bytes()
    file.unlink()
    champion.apply([released(OTHER)])
    champion.try_again()
    assert (version_of(champion), champion.refused) == (TRAINED.model.version, 1)
    file.write_bytes(whole[: len(whole) // 2])  # it is being copied
    champion.try_again()
    champion.apply([])
    assert version_of(champion) == TRAINED.model.version
    file.write_bytes(whole)
    champion.try_again()
    assert (version_of(champion), champion.refused) == (OTHER.model.version, 1), "counted once"


def test_an_artefact_that_comes_when_a_later_release_decides_is_left_alone(champion: Champion) -> None:
    file = champion._store.models_dir / "fraud" / OTHER.model.version / "model.ubj"
    whole = file.read_bytes()
    file.unlink()
    champion.apply([released(OTHER)])
    champion.apply([released(TRAINED)])
    file.write_bytes(whole)
    champion.try_again()
    assert version_of(champion) == TRAINED.model.version


def test_a_bad_release_is_not_read_again_while_its_artefact_stays_as_it_is(
    champion: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion.apply([released(TRAINED), released(OTHER, sha256="0" * 64)])
    monkeypatch.setattr("ibook.edges.model_store.load_model", lambda path, digest: pytest.fail("read again"))
    champion.try_again()
    champion.apply([])
    champion.try_again()
    assert version_of(champion) == TRAINED.model.version


def test_an_error_nobody_foresaw_in_one_release_leaves_the_others_good(
    champion: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(path: Path, digest: str, golden_seconds: float) -> FraudModel:
        if digest == OTHER.sha256:
            raise ZeroDivisionError("a bug")
        return load_model(path, digest, golden_seconds)

    monkeypatch.setattr("ibook.edges.model_store.load_model", explode)
    champion.apply([released(TRAINED), released(OTHER)])
    assert (version_of(champion), champion.last_refusal) == (TRAINED.model.version, "ZeroDivisionError('a bug')")


def test_releases_of_other_models_are_left_alone(champion: Champion) -> None:
    champion.apply([released(TRAINED), released(OTHER, model="pricing")])
    assert (version_of(champion), champion.refused) == (TRAINED.model.version, 0)


# -------------------------------------------------------------------------------------- challengers, and what is undone
def test_a_release_that_is_taken_back_gives_way_to_the_one_before_it(champion: Champion) -> None:
    first, second = released(TRAINED), released(OTHER)
    champion.apply([first])
    champion.apply([second])
    back = taking_back(second, "mira", "declines everybody", NOW)
    champion.apply([back, back])
    assert version_of(champion) == TRAINED.model.version
    champion.apply([taking_back(first, "mira", "that one too", NOW)])
    assert version_of(champion) is None


def test_a_challenger_runs_beside_the_champion_until_it_is_released(champion: Champion) -> None:
    champion.apply([released(TRAINED), beside(OTHER, share=0.1)])
    challenger = champion.running.challenger
    assert challenger is not None
    assert (version_of(champion), challenger.model.version) == (TRAINED.model.version, OTHER.model.version)
    champion.apply([released(OTHER)])
    assert champion.running.challenger is None
    assert champion.model is challenger.model, "it is there already, and not loaded again"


def test_a_bad_challenger_leaves_the_champion_alone(champion: Champion) -> None:
    champion.apply([released(TRAINED)])
    before = champion.model
    champion.apply([replace(beside(OTHER), sha256="0" * 64)])
    assert (champion.model, champion.running.challenger, champion.refused) == (before, None, 1)


def test_a_new_champion_is_compared_with_the_one_before_it_until_it_is_confirmed(champion: Champion) -> None:
    champion.apply([released(TRAINED)])
    second = released(OTHER)
    champion.apply([second])
    former = champion.running.former
    assert former is not None
    assert former.model.version == TRAINED.model.version
    champion.apply([])
    champion.confirm(released(OTHER), "another release")
    assert champion.running.former == former
    compared = []
    for _ in range(2):
        champion.confirm(second, "it did well")
        compared.append(champion.running.former)
        champion.apply([])
        compared.append(champion.running.former)
    assert compared == [None] * 4, "before and after the others know of it"
    assert [each.release_id for each in champion._untold].count(second.message_id) == 1


def test_a_process_that_starts_after_the_release_compares_until_another_one_has_confirmed(champion: Champion) -> None:
    first, second = released(TRAINED), released(OTHER)
    champion.apply([first, second])
    former = champion.running.former
    assert former is not None
    assert (version_of(champion), former.model.version) == (OTHER.model.version, TRAINED.model.version)
    champion.apply([confirming(second, "guard", "it did well", NOW)])
    assert (version_of(champion), champion.running.former) == (OTHER.model.version, None)


def test_it_compares_with_the_last_that_can_be_loaded(champion: Champion) -> None:
    good, bad, new = released(TRAINED), released(TRAINED, version="gone", artefact="fraud/gone/x"), released(OTHER)
    champion.apply([good, bad, new])
    former = champion.running.former
    assert former is not None
    assert (version_of(champion), former.model.version) == (OTHER.model.version, TRAINED.model.version)


def test_a_model_that_takes_too_long_for_its_golden_rows_is_refused(artefact: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"takes .* s for its \d+ golden rows, at most 1e-09 s are allowed"):
        load_model(artefact, TRAINED.sha256, golden_seconds=1e-9)
    slow = Champion(artefact.parents[2], "fraud", golden_seconds=1e-9)
    slow.apply([released(TRAINED)])
    assert (slow.model, slow.refused) == (None, 1)


def test_what_one_rolls_back_to_is_not_on_probation(champion: Champion) -> None:
    for release in (released(TRAINED), released(OTHER), released(TRAINED)):
        champion.apply([release])
    assert (version_of(champion), champion.running.former) == (TRAINED.model.version, None)


def test_an_unguarded_release_is_compared_with_nobody(champion: Champion) -> None:
    champion.apply([released(TRAINED)])
    champion.apply([replace(released(OTHER), guarded=False)])
    assert (version_of(champion), champion.running.former) == (OTHER.model.version, None)


def test_the_guard_brings_back_the_former_champion_at_once_and_says_so_once(champion: Champion) -> None:
    champion.apply([released(TRAINED)])
    first = champion.model
    bad = released(OTHER)
    champion.apply([bad])
    champion.take_back(bad, "it approves nobody")
    champion.take_back(bad, "it approves nobody")
    assert champion.model is first
    champion.apply([])
    assert champion.model is first, "before and after the others know of it"
    assert [(each.release_id, each.released_by) for each in champion._untold] == [(bad.message_id, "guard")]


def test_the_guard_takes_back_a_challenger_and_leaves_the_champion(champion: Champion) -> None:
    canary = beside(OTHER, share=0.5)
    champion.apply([released(TRAINED), canary])
    champion.take_back(canary, "it fails")
    assert (version_of(champion), champion.running.challenger) == (TRAINED.model.version, None)
    champion.apply([])
    assert champion.running.challenger is None


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
