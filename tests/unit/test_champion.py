"""The newest release that can be loaded decides; challengers, guards and a bad artefact change nothing else."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from ibook.edges.champion import Champion, load_model
from ibook.edges.fraud_model import GOLDEN_FILE, METADATA_FILE, FraudModel
from ibook.errors import ModelUnavailable
from ibook.releases import confirming, taking_back
from tests.tiny_models import NOW, OTHER, TEST, TRAINED, beside, metadata, released
from training.artefact import write_artefact


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return write_artefact(tmp_path / "models", metadata(TRAINED), TRAINED, TEST)


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
