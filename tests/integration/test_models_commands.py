"""`ibook models` on real Kafka: released, followed by every process, rolled back, and told as a timeline."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from ibook.edges import model_reports
from ibook.edges.champion import Champion
from ibook.edges.model_reports import Reports
from ibook.errors import IbookError
from ibook.releases import share_of
from ibook.settings import Settings
from tests.tiny_models import OTHER, TRAINED, write
from tests.workers import wait_until


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models outside the store: paths of their `model.ubj`."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return write(folder, TRAINED), write(folder, OTHER)


@pytest.fixture
def following(platform_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Champion, Champion]]:
    """Two processes' worth of champions that follow the releases, and have said so; nobody takes them for gone."""
    monkeypatch.setattr(model_reports, "SILENT_SECONDS", 600.0)
    with Champion.follow(platform_settings, "one") as one, Champion.follow(platform_settings, "two") as two:
        with Reports(platform_settings) as reports:
            wait_until(lambda: len(reports.poll(0.1)) == 2, 30, "both to report")
        yield one, two


def ibook(settings: Settings, *arguments: str) -> Result:
    """Run a command of `ibook models` in this process; a refusal is raised."""
    environment = {"IBOOK_KAFKA_BOOTSTRAP": settings.kafka_bootstrap, "IBOOK_DATA_DIR": str(settings.data_dir)}
    ran = CliRunner().invoke(app, ["models", *arguments], env=environment)
    if isinstance(ran.exception, IbookError):
        raise ran.exception
    return ran


def versions(following: tuple[Champion, Champion]) -> list[str | None]:
    return [each.model.version if each.model else None for each in following]


def test_a_release_and_its_rollback_reach_every_process_before_the_command_ends(
    platform_settings: Settings, following: tuple[Champion, Champion], elsewhere: tuple[Path, Path]
) -> None:
    first, second = elsewhere
    told = ibook(platform_settings, "release", str(first.parent), "--by", "mira", "--why", "first")
    assert (told.exit_code, versions(following)) == (0, [TRAINED.model.version] * 2)
    assert f"fraud {TRAINED.model.version} decides in 2 of 2 processes; the last one took" in told.stdout
    assert ibook(platform_settings, "release", str(second), "--by", "mira").exit_code == 0
    assert versions(following) == [OTHER.model.version] * 2
    back = ibook(platform_settings, "rollback", "--by", "mira", "--why", "declines everybody")
    assert (back.exit_code, versions(following)) == (0, [TRAINED.model.version] * 2)
    spans = json.loads(ibook(platform_settings, "timeline", "--json").stdout)
    assert [(span["version"], span["rollback_from"], span["why"]) for span in spans][1:] == [
        (OTHER.model.version, "", "released by hand"),
        (TRAINED.model.version, OTHER.model.version, "declines everybody"),
    ]
    shown = ibook(platform_settings, "timeline").stdout
    assert "ROLLBACK from" in shown
    listed = ibook(platform_settings, "list").stdout
    assert listed.count(TRAINED.model.version) == 3, "once in the store, once for each process"
    assert ibook(platform_settings, "rollback", "--to", OTHER.model.version).exit_code == 0
    assert versions(following) == [OTHER.model.version] * 2


def test_a_canary_runs_beside_the_champion_until_it_is_withdrawn(
    platform_settings: Settings, following: tuple[Champion, Champion], elsewhere: tuple[Path, Path]
) -> None:
    first, second = elsewhere
    ibook(platform_settings, "release", str(first))
    assert (
        "scores beside the champion in 2 of 2"
        in ibook(platform_settings, "release", str(second), "--canary", "0.1").stdout
    )
    assert versions(following) == [TRAINED.model.version] * 2
    assert [each.running.challenger and share_of(each.running.challenger.release) for each in following] == [0.1, 0.1]
    assert ibook(platform_settings, "withdraw").exit_code == 0
    assert [each.running.challenger for each in following] == [None, None]
    with pytest.raises(IbookError, match="no challenger"):
        ibook(platform_settings, "withdraw")


def test_a_process_that_refuses_a_release_is_named_with_its_reason(
    platform_settings: Settings, following: tuple[Champion, Champion], elsewhere: tuple[Path, Path],
    tmp_path: Path
) -> None:  # fmt: skip
    first, second = elsewhere
    ibook(platform_settings, "release", str(first))
    without_store = Settings(data_dir=tmp_path / "another", kafka_bootstrap=platform_settings.kafka_bootstrap)
    told = ibook(without_store, "release", str(second))
    assert told.exit_code == 1
    assert "decides in 0 of 2 processes" in told.stdout
    assert "can't be read" in told.stderr
    assert versions(following) == [TRAINED.model.version] * 2


def test_what_the_guard_of_one_process_takes_back_the_others_take_back_too(
    platform_settings: Settings, following: tuple[Champion, Champion], elsewhere: tuple[Path, Path]
) -> None:
    first, second = elsewhere
    ibook(platform_settings, "release", str(first))
    ibook(platform_settings, "release", str(second))
    for each in following:  # both find it out, and both say so
        champion = each.running.champion
        assert champion is not None
        each.take_back(champion.release, "it approves nobody")
    wait_until(lambda: versions(following) == [TRAINED.model.version] * 2, 20, "the first model")
    wait_until(lambda: "guard: it approves nobody" in ibook(platform_settings, "timeline").stdout, 20, "the timeline")
    assert ibook(platform_settings, "timeline").stdout.count("ROLLBACK") == 1
