"""The archive's writer, without Kafka: cutting, when to write, trouble."""

import errno
import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook import metrics
from ibook.edges import archive_files
from ibook.edges.archive import Archive
from ibook.edges.archive_files import list_files
from ibook.edges.archive_schema import DAY_MS, LogRecord, cut, day_of
from tests.archives import MIDNIGHT_MS, NOTHING, UPDATES, Writing, offsets_in


# -------------------------------------------------------------------------------------------------------------- cutting
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-1, 1)), min_size=1), st.integers(0, 3))
def test_segments_cover_every_offset_once_and_hold_one_day_each(steps: list[tuple[int, int]], more: int) -> None:
    records, offset, ms = [], 0, MIDNIGHT_MS
    for gap, days in steps:
        offset, ms = offset + gap, ms + days * DAY_MS
        records.append(LogRecord(offset, day_of(ms), [b""]))
    segments = cut(records, 0, offset + 1 + more)
    assert [segment.first for segment in segments] == [0, *(segment.last + 1 for segment in segments[:-1])]
    assert segments[-1].last == offset + more
    assert [each for segment in segments for each in segment.records] == records
    for segment in segments:
        assert {each.day for each in segment.records} == {segment.day}
        assert all(segment.first <= each.offset <= segment.last for each in segment.records)


def test_a_day_ends_at_midnight_utc(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    writing.take(0, 1, ms=MIDNIGHT_MS - 1)
    writing.take(2, ms=MIDNIGHT_MS)
    assert writing.writer.flush()
    found = list_files(tmp_path / "entity_updates")
    assert [(each.day, each.first, each.last) for each in found] == [
        (date(2024, 10, 3), 0, 1), (date(2024, 10, 4), 2, 2),
    ]  # fmt: skip


# -------------------------------------------------------------------------------------------------------- when to write
def test_rows_wait_until_they_are_many_old_or_the_last_for_a_while(tmp_path: Path) -> None:
    writing = Writing(tmp_path, rows=3, age_seconds=60, idle_seconds=2)
    writing.take(0)
    writing.passes(1.0)
    assert writing.files() == []
    writing.take(1, 2)
    assert writing.writer.full
    writing.passes(0.0)
    assert writing.files() == [(0, 2)]
    writing.take(3)
    writing.passes(2.0)
    assert writing.files() == [(0, 2), (3, 3)]
    for offset in range(4, 66):
        if offset % 31 == 4:
            writing.take(offset)
        else:
            writing.take(offset, value=NOTHING)
            writing.writer._last_row = writing.now  # another partition's
        writing.passes(1.0)
    assert writing.files() == [(0, 2), (3, 3), (4, 63)]


def test_watermarks_make_no_files_and_still_move_on(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    writing.take(*range(500), value=NOTHING)
    writing.passes(11.0)
    assert writing.files() == []
    assert archive_files.next_offsets(tmp_path, UPDATES) == {0: 500}


def test_positions_never_pass_rows_that_are_only_in_memory(tmp_path: Path) -> None:
    writing = Writing(tmp_path, positions_seconds=0.0, idle_seconds=9)
    writing.take(0, 1, value=NOTHING)
    writing.take(2)
    writing.take(3, value=NOTHING)
    writing.passes(1.0)
    assert archive_files.next_offsets(tmp_path, UPDATES) == {0: 2}
    assert writing.writer.flush()
    assert archive_files.next_offsets(tmp_path, UPDATES) == {0: 4}


def test_a_start_without_rows_leaves_no_gap_in_the_names(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    writing.take(*range(5), value=NOTHING)
    writing.passes(11.0)
    again = Writing(tmp_path)
    assert again.writer.next_offset(UPDATES, 0) == 5
    again.take(5)
    assert again.writer.flush()
    again.take(6, 7, value=NOTHING)
    again.passes(11.0)
    third = Writing(tmp_path)
    third.take(8)
    assert third.writer.flush()
    assert third.files() == [(0, 5), (6, 8)]
    assert Archive(tmp_path).holes(UPDATES) == []


# -------------------------------------------------------------------------------------------------------------- trouble
def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = Writing(tmp_path, rows=2)
    writing.take(0, 1)
    failing = [True]

    def fsync(descriptor: int) -> None:
        if failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ibook.edges.archive_files.os.fsync", fsync)
    before = metrics.ARCHIVE_WRITE_FAILURES._value.get()
    for _ in range(3):
        writing.passes(0.1)
    assert metrics.ARCHIVE_WRITE_FAILURES._value.get() == before + 1, "it waits before it tries again"
    assert writing.writer.trouble == f"The archive in {tmp_path} can't be written: No space left on device."
    assert writing.writer.full
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    failing.clear()
    writing.passes(31.0)
    assert not writing.writer.trouble
    assert offsets_in(tmp_path) == [0, 1]


def test_a_disk_that_fills_between_two_days_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = Writing(tmp_path)
    writing.take(0, ms=MIDNIGHT_MS - 1)
    writing.take(1, ms=MIDNIGHT_MS)
    rename, calls = Path.rename, []

    def once(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", once)
    assert not writing.writer.flush()
    assert writing.files() == [(0, 0)]
    writing.take(2)
    assert writing.writer.flush()
    assert writing.files() == [(0, 0), (1, 2)]
    assert offsets_in(tmp_path) == [0, 1, 2]


def test_half_written_files_are_ignored_and_removed(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    writing.take(0, 1)
    assert writing.writer.flush()
    (file,) = list_files(tmp_path / "entity_updates")
    half = file.path.with_name(".p0000-00000000000000000002-00000000000000000009-v1.parquet.tmp")
    half.write_bytes(file.path.read_bytes()[:100])
    (tmp_path / archive_files.POSITIONS).write_bytes(b'{"next": {"entity-up')
    assert offsets_in(tmp_path) == [0, 1]
    again = Writing(tmp_path)
    assert not half.exists()
    assert again.writer.next_offset(UPDATES, 0) == 2
