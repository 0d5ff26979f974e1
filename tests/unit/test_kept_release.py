"""What decided last goes on deciding in a process that starts while the releases can't be read."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ibook.edges.champion import Champion
from ibook.edges.kept_release import FOLDER, KeptRelease
from ibook.edges.policy_in_force import PolicyInForce
from ibook.messages import ModelReleased, PolicyReleased
from ibook.metrics import MODEL_IN_FORCE, POLICY_IN_FORCE
from ibook.policy_releases import POLICY, released
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
    following.begin_with(NIGHT)
    following.apply([])
    assert (following.policy.version, following.origin) == (PACKAGED, "packaged")


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
