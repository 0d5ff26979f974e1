"""What decided last goes on deciding in a process that starts while the releases can't be read."""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Gauge

from ibook.edges.champion import Champion
from ibook.edges.kept_release import FOLDER, PART_SECONDS, KeptRelease
from ibook.edges.policy_in_force import PolicyInForce
from ibook.messages import ModelReleased, PolicyReleased, PolicyTakenBack
from ibook.metrics import MODEL_IN_FORCE, POLICY_IN_FORCE, name_one
from ibook.policy_releases import POLICY, released, word_of_guard
from ibook.rules import DEFAULT_POLICY_PATH, load_policy
from ibook.settings import Settings
from infra.local.processes import free_port
from tests.tiny_models import TEST, TRAINED, metadata
from tests.tiny_models import released as model_released
from tests.workers import wait_until
from training.artefact import write_artefact

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
NIGHT = released(
    DEFAULT_POLICY_PATH.read_text().replace('version = "4"', 'version = "night"'), "test", message_id="night", at=NOON
)
LATER = released(
    DEFAULT_POLICY_PATH.read_text().replace('version = "4"', 'version = "later"'), "test", message_id="later", at=NOON
)
UNHEARD_OF = msgspec.structs.replace(LATER, text="")
"""As a process of older code sees it."""
TAKEN_BACK = word_of_guard(PolicyTakenBack, LATER, "it blocks everybody", NOON)
PACKAGED = load_policy().version


def kept_in(folder: Path) -> KeptRelease[PolicyReleased]:
    return KeptRelease(folder, f"policy-{POLICY}", PolicyReleased)


def alone(folder: Path) -> Settings:
    """Settings of a process that finds no Kafka."""
    return Settings(kafka_bootstrap=f"127.0.0.1:{free_port()}", data_dir=folder)


def told(gauge: object) -> list[tuple[str, str]]:
    """Version and origin that a gauge names."""
    return [tuple(labels) for labels in gauge._metrics]  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------------ the file
def test_what_was_kept_last_is_read_by_the_next_process(tmp_path: Path) -> None:
    assert kept_in(tmp_path).read() is None
    kept = kept_in(tmp_path)
    other = msgspec.structs.replace(NIGHT, message_id="other")
    for release in (other, NIGHT):
        kept.keep(release)
    assert kept_in(tmp_path).read() == NIGHT
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["policy-verdicts.json"], "no parts are left"
    kept_in(tmp_path).keep(None)
    assert kept_in(tmp_path).read() is None, "the packaged policy decided last"


def test_what_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    kept, path = kept_in(tmp_path), tmp_path / FOLDER / "policy-verdicts.json"
    kept.keep(NIGHT)
    written = path.stat().st_ino
    kept.keep(msgspec.structs.replace(NIGHT))
    assert path.stat().st_ino == written


@pytest.mark.parametrize("content", [b"", b"{", b'{"type": "event_viewed.v1"}'])
def test_a_broken_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    kept_in(tmp_path).keep(NIGHT)
    (tmp_path / FOLDER / "policy-verdicts.json").write_bytes(content)
    assert kept_in(tmp_path).read() is None


def test_a_disk_that_takes_nothing_stops_nobody_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    kept = kept_in(tmp_path)
    kept.keep(NIGHT)
    (tmp_path / FOLDER).unlink()
    kept.keep(NIGHT)
    assert kept_in(tmp_path).read() == NIGHT


def test_what_a_killed_process_left_half_written_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    kept_in(tmp_path).keep(NIGHT)
    names = ("policy-verdicts.json.f00", "policy-verdicts.json.f01", "model-fraud.json.f00")
    left, young, of_others = (tmp_path / FOLDER / name for name in names)
    for path in (left, young, of_others):
        path.write_bytes(b"{")
    for path in (left, of_others):
        os.utime(path, times=(path.stat().st_mtime - 2 * PART_SECONDS,) * 2)
    assert kept_in(tmp_path).begin() == NIGHT
    assert not left.exists()
    assert young.exists()
    assert of_others.exists()


# ----------------------------------------------------------------------------------------------------------- the gauge
def test_a_scrape_at_any_moment_finds_what_decides() -> None:
    seen: list[set[str]] = []

    class Scraped(Gauge):
        def scrape(self) -> None:
            seen.append({sample.labels["version"] for metric in self.collect() for sample in metric.samples})

        def remove(self, *labelvalues: str) -> None:
            self.scrape()
            super().remove(*labelvalues)
            self.scrape()

        def clear(self) -> None:
            super().clear()
            self.scrape()

    gauge = Scraped("in_force", "What decides.", ["version", "origin"], registry=CollectorRegistry())
    for labels in (("a", "kept"), ("a", "released"), ("b", "released"), ("b", "released")):
        name_one(gauge, *labels)
        gauge.scrape()
    assert all(seen)
    assert seen[-1] == {"b"}


# ---------------------------------------------------------------------------------------------------------- the policy
def test_the_kept_policy_decides_and_says_so_until_the_releases_are_read() -> None:
    following = PolicyInForce()
    following.begin_with(NIGHT)
    assert (following.policy.version, following.origin) == (NIGHT.version, "kept")
    assert following.in_force.former is None, "nobody is to be taken back for what happened before the start"
    assert following.report() == {
        "policy": NIGHT.version, "policies": 0, "policy_refused": "", "policy_from": "kept"
    }  # fmt: skip
    assert told(POLICY_IN_FORCE) == [(NIGHT.version, "kept")]
    following.apply([NIGHT])
    assert (following.origin, told(POLICY_IN_FORCE)) == ("released", [(NIGHT.version, "released")])


def test_what_the_topic_says_goes_before_what_was_kept() -> None:
    following = PolicyInForce()
    following.begin_with(LATER)
    following.apply([LATER, TAKEN_BACK])
    assert (following.policy.version, following.origin) == (PACKAGED, "packaged")


def test_an_empty_topic_takes_nothing_away_from_what_was_kept(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    kept.keep(NIGHT)
    following = PolicyInForce()
    following.begin_with(kept_in(tmp_path).begin())
    for _ in range(2):
        following.apply([])
        following._keep(kept_in(tmp_path))
        assert (following.policy.version, following.origin) == (NIGHT.version, "kept")
        assert following.report()["policy_from"] == "kept"
        assert told(POLICY_IN_FORCE) == [(NIGHT.version, "kept")]
        assert kept_in(tmp_path).read() == NIGHT
    following.apply([LATER])
    assert (following.policy.version, following.origin) == (LATER.version, "released")


def test_an_empty_topic_beside_a_kept_policy_that_can_not_be_used_is_told_as_unread(tmp_path: Path) -> None:
    kept_in(tmp_path).keep(UNHEARD_OF)
    following = PolicyInForce()
    following.begin_with(kept_in(tmp_path).begin())
    following.apply([])
    following._keep(kept_in(tmp_path))
    assert told(POLICY_IN_FORCE) == [(PACKAGED, "unread")]
    assert kept_in(tmp_path).read() == UNHEARD_OF


def test_on_an_empty_topic_where_nothing_was_kept_the_packaged_policy_decides() -> None:
    following = PolicyInForce()
    following.begin_with(None)
    following.apply([])
    assert (following.policy.version, following.origin) == (PACKAGED, "packaged")


def test_a_process_of_older_code_leaves_the_newer_policy_that_others_kept(tmp_path: Path) -> None:
    kept_in(tmp_path).keep(UNHEARD_OF)
    of_older_code, kept = PolicyInForce(), kept_in(tmp_path)
    of_older_code.apply([NIGHT, UNHEARD_OF])
    of_older_code._keep(kept)
    assert of_older_code.policy.version == NIGHT.version
    assert kept_in(tmp_path).read() == UNHEARD_OF
    of_older_code.apply([TAKEN_BACK])
    of_older_code._keep(kept)
    assert kept_in(tmp_path).read() == NIGHT, "what was taken back is not left there"


@pytest.mark.parametrize("there", [None, msgspec.structs.replace(NIGHT, message_id="before")])
def test_a_policy_that_nobody_can_use_keeps_none_from_keeping_the_one_before_it(
    tmp_path: Path, there: PolicyReleased | None
) -> None:
    kept_in(tmp_path).keep(there)
    following = PolicyInForce()
    following.apply([*([there] if there else []), NIGHT, UNHEARD_OF])
    following._keep(kept_in(tmp_path))
    assert kept_in(tmp_path).read() == NIGHT


def test_a_kept_policy_that_is_not_what_was_released_gives_way_to_the_packaged_one_and_spoils_no_release() -> None:
    following = PolicyInForce()
    following.begin_with(msgspec.structs.replace(NIGHT, text=DEFAULT_POLICY_PATH.read_text()))
    assert (following.policy.version, following.origin, following.refused) == (PACKAGED, "unread", 1)
    following.apply([NIGHT])
    assert following.policy.version == NIGHT.version


def test_a_process_that_can_use_no_release_leaves_what_others_kept(tmp_path: Path) -> None:
    kept_in(tmp_path).keep(NIGHT)
    of_older_code = PolicyInForce()
    of_older_code.apply([msgspec.structs.replace(NIGHT, version="unheard of")])
    of_older_code._keep(kept_in(tmp_path))
    assert kept_in(tmp_path).read() == NIGHT
    after_all_were_taken_back = PolicyInForce()
    after_all_were_taken_back.apply([NIGHT])
    after_all_were_taken_back.take_back(NIGHT, "it blocks everybody")
    after_all_were_taken_back._keep(kept_in(tmp_path))
    assert kept_in(tmp_path).read() is None


def test_a_process_that_finds_no_kafka_decides_by_what_decided_last_on_its_folder(tmp_path: Path) -> None:
    with PolicyInForce.follow(alone(tmp_path)) as first:
        assert not first.wait(0.05)
        assert (first.policy.version, first.origin) == (PACKAGED, "unread")
    kept_in(tmp_path).keep(NIGHT)
    with PolicyInForce.follow(alone(tmp_path)) as later:
        assert not later.wait(0.05)
        assert (later.policy.version, later.origin) == (NIGHT.version, "kept")


# ----------------------------------------------------------------------------------------------------------- the model
def test_a_process_that_finds_no_kafka_scores_with_the_model_that_decided_last(tmp_path: Path) -> None:
    write_artefact(tmp_path / "models", metadata(TRAINED), TRAINED, TEST)
    settings, release = alone(tmp_path), model_released(TRAINED)
    KeptRelease(tmp_path, f"model-{settings.model_name}", ModelReleased).keep(release)
    without_its_artefact = Champion(tmp_path / "elsewhere", settings.model_name)
    without_its_artefact.apply([release])
    without_its_artefact._keep(KeptRelease(tmp_path, f"model-{settings.model_name}", ModelReleased))
    with Champion.follow(settings) as champion:
        wait_until(lambda: champion.model is not None, 60, "the kept model")
        assert champion.running.champion is not None
        assert champion.running.champion.release == release
        wait_until(lambda: told(MODEL_IN_FORCE) == [(release.version, "kept")], 10, "the gauge")
        assert not champion.wait(0.05)


def kept_model_in(folder: Path, settings: Settings) -> KeptRelease[ModelReleased]:
    return KeptRelease(folder, f"model-{settings.model_name}", ModelReleased)


def test_without_a_kept_model_the_gauge_says_that_none_was_read_until_the_releases_are() -> None:
    champion = Champion(Path("nowhere"), Settings().model_name)
    champion.begin_with(None)
    assert told(MODEL_IN_FORCE) == [("none", "unread")]


def test_an_empty_topic_takes_no_model_away_and_older_ones_do_not_replace_a_newer_kept_one(tmp_path: Path) -> None:
    write_artefact(tmp_path / "models", metadata(TRAINED), TRAINED, TEST)
    settings, release = Settings(), model_released(TRAINED)
    kept = kept_model_in(tmp_path, settings)
    champion = Champion(tmp_path / "models", settings.model_name)
    champion.begin_with(None)
    champion.apply([])
    champion._keep(kept)
    assert told(MODEL_IN_FORCE) == [("none", "released")], "nothing was ever released"
    kept.keep(release)
    champion = Champion(tmp_path / "models", settings.model_name)
    champion.begin_with(kept.begin())
    champion.apply([])
    champion._keep(kept_model_in(tmp_path, settings))
    assert told(MODEL_IN_FORCE) == [(release.version, "kept")]
    assert kept.read() == release
    newer = msgspec.structs.replace(release, message_id="newer", version="that-is-not-here")
    kept.keep(newer)
    champion.apply([release, newer])
    champion._keep(kept_model_in(tmp_path, settings))
    assert told(MODEL_IN_FORCE) == [(release.version, "released")]
    assert kept.read() == newer


def test_an_empty_topic_beside_a_kept_model_that_can_not_be_loaded_is_told_as_unread(tmp_path: Path) -> None:
    settings, release = Settings(), model_released(TRAINED)
    kept = kept_model_in(tmp_path, settings)
    kept.keep(release)
    champion = Champion(tmp_path / "models", settings.model_name)
    champion.begin_with(kept.begin())
    champion.apply([])
    champion._keep(kept_model_in(tmp_path, settings))
    assert told(MODEL_IN_FORCE) == [("none", "unread")]
    assert kept.read() == release
    write_artefact(tmp_path / "models", metadata(TRAINED), TRAINED, TEST)
    champion.try_again()
    champion._keep(kept_model_in(tmp_path, settings))
    assert told(MODEL_IN_FORCE) == [(release.version, "kept")]
