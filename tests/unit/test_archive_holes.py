"""What the archive lacks is named, and nothing is rebuilt from it."""

from pathlib import Path
from shutil import rmtree

import pyarrow as pa
import pytest

from ibook.edges import rebuild
from ibook.edges.archive import Archive
from ibook.edges.archive_files import ArchiveFile, Hole, list_files, name_holes
from ibook.edges.archive_schema import DAY_MS
from ibook.edges.backfill import backfill
from ibook.errors import ConfigurationError
from ibook.settings import Settings
from tests.archives import DAY, MIDNIGHT_MS, NOTHING, NOW, UPDATES, Writing


# ---------------------------------------------------------------------------------------------------------------- holes
def test_what_kafka_dropped_is_a_hole_also_after_restarts_without_rows(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    writing.take(0, 1)
    assert writing.writer.flush()
    writing.writer.begin(UPDATES, 0, 10, lost=True)
    assert writing.writer.flush()
    assert Archive(tmp_path).holes(UPDATES) == [Hole(0, 2, 9, None)]
    again = Writing(tmp_path)
    again.take(10, value=NOTHING)
    again.take(11)
    assert again.writer.flush()
    assert again.files() == [(0, 1), (10, 11)]
    assert Archive(tmp_path).holes(UPDATES) == [Hole(0, 2, 9, DAY)]


def three_days(folder: Path) -> list[ArchiveFile]:
    writing = Writing(folder)
    for day in range(3):
        writing.take(2 * day, 2 * day + 1, ms=MIDNIGHT_MS + day * DAY_MS)
    assert writing.writer.flush()
    return list_files(folder / "entity_updates")


@pytest.mark.parametrize("deleted", range(3))
def test_deleted_days_are_holes_and_stay_holes(tmp_path: Path, deleted: int) -> None:
    files = three_days(tmp_path)
    assert Archive(tmp_path).holes(UPDATES) == []
    rmtree(files[deleted].path.parent)
    behind = files[deleted + 1].day if deleted < 2 else None
    assert Archive(tmp_path).holes(UPDATES) == [Hole(0, 2 * deleted, 2 * deleted + 1, behind)]
    again = Writing(tmp_path)
    again.take(6, ms=MIDNIGHT_MS + 3 * DAY_MS)
    assert again.writer.flush()
    assert [(each.first, each.last) for each in Archive(tmp_path).holes(UPDATES)] == [(2 * deleted, 2 * deleted + 1)]


def test_a_partition_whose_days_are_all_deleted_is_a_hole(tmp_path: Path) -> None:
    three_days(tmp_path)
    rmtree(tmp_path / "entity_updates")
    assert Archive(tmp_path).holes(UPDATES) == [Hole(0, 0, 5, None)]


def test_rebuild_refuses_an_archive_with_a_hole_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "archived", lambda settings, live: None)
    settings = Settings(data_dir=tmp_path)
    rmtree(three_days(tmp_path / "archive")[1].path.parent)
    with pytest.raises(ConfigurationError, match=r"lacks offsets 2 to 3 of partition 0 of entity-updates, and"):
        rebuild._folded(settings, live=False)


def test_backfill_warns_of_a_hole_in_one_sentence_and_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    files = three_days(tmp_path)
    keys = pa.table({"card_id": ["card-1"], "as_of": [NOW.isoformat()]})
    whole = backfill(Archive(tmp_path), keys, features=["card_attempts_1h"], say=told.append)
    assert (whole["card_attempts_1h"].to_pylist(), told) == ([6.0], [])
    rmtree(files[1].path.parent)
    cut_short = backfill(Archive(tmp_path), keys, features=["card_attempts_1h"], say=told.append)
    assert cut_short["card_attempts_1h"].to_pylist() == [4.0]
    assert told == [
        "The archive lacks offsets 2 to 3 of partition 0 of entity-updates: values whose windows begin before the end "
        "of that (2024-10-06) may be too low."
    ]


def test_many_holes_are_named_in_one_sentence() -> None:
    found = [Hole(n, 1, 2, None) for n in range(6)]
    assert name_holes(found, UPDATES) == (
        "offsets 1 to 2 of partition 0, 1 to 2 of partition 1, 1 to 2 of partition 2, 1 to 2 of partition 3, "
        "and 2 more stretches, of entity-updates"
    )


# -------------------------------------------------------------------------------------------------------------- rebuild
def test_workers_that_start_while_states_are_folded_get_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members: list[int] = [0]

    def folded(settings: Settings, *, live: bool) -> dict[object, bytes]:
        members[0] = 1
        return {}

    monkeypatch.setattr(rebuild, "_members", lambda settings: members[0])
    monkeypatch.setattr(rebuild, "_folded", folded)
    monkeypatch.setattr(rebuild, "list_topics", lambda settings: {rebuild.STATES_CHANGELOG: 4})
    monkeypatch.setattr(rebuild, "LINGER_SECONDS", -6.0)
    settings = Settings(data_dir=tmp_path, session_timeout_seconds=6)
    for live in (False, True):
        members[0] = 0
        with pytest.raises(ConfigurationError, match="The feature workers run"):
            rebuild.give_to_workers(settings, live=live)


def test_two_rebuilds_at_once_are_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with rebuild._alone(settings):
        with pytest.raises(ConfigurationError, match="Another rebuild is at work"):
            rebuild.give_to_workers(settings, live=False)
        with pytest.raises(ConfigurationError, match="Another rebuild is at work"):
            rebuild.rebuild(settings, live=False)
    with rebuild._alone(settings):
        pass
