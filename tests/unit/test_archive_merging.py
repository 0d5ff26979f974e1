"""Small files of the archive become few large ones, and no row is lost or shown twice."""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ibook.edges import archive_files
from ibook.edges.archive import Archive
from ibook.edges.archive_files import ArchiveFile, counting, file_path, list_files, merge, tidy, to_merge
from tests.archives import DAY, UPDATES, Writing, offsets_in


def named(first: int, last: int, size: int, columns: str = "v1") -> ArchiveFile:
    return ArchiveFile(file_path(Path("x"), DAY, 0, first, last, columns), DAY, 0, first, last, columns, size)


def row_of(sizes: Sequence[int]) -> list[ArchiveFile]:
    return [named(n, n, size) for n, size in enumerate(sizes)]


def test_eight_neighbours_of_a_size_are_merged_and_fewer_are_not() -> None:
    small, larger = 1000, archive_files.SMALL_BYTES * 3
    assert to_merge(row_of([small] * 7), day_over=False) == []
    assert len(to_merge(row_of([small] * 8), day_over=False)) == 8
    files = row_of([larger] * 3 + [small] * 8)
    assert to_merge(files, day_over=False) == files[3:]
    assert to_merge(row_of([larger] * 7 + [small] * 3), day_over=False) == []
    assert len(to_merge(row_of([larger] * 7 + [small] * 3 + [larger]), day_over=False)) == 11


def test_gaps_and_other_columns_are_not_merged_over() -> None:
    gap = [named(n if n < 4 else n + 1, n if n < 4 else n + 1, 10) for n in range(8)]
    assert to_merge(gap, day_over=False) == []
    other = [named(n, n, 10, "v1" if n < 4 else "v2") for n in range(8)]
    assert to_merge(other, day_over=False) == []
    assert to_merge(other, day_over=True) == other[4:]


@given(st.lists(st.integers(100, archive_files.LARGEST_BYTES * 2), max_size=60))
def test_a_day_that_is_over_ends_in_few_files_none_too_large(sizes: list[int]) -> None:
    files = row_of(sizes)
    while run := to_merge(files, day_over=True):
        merged = named(run[0].first, run[-1].last, sum(file.size for file in run))
        assert merged.size <= archive_files.LARGEST_BYTES
        files = sorted([merged, *(file for file in files if file not in run)], key=lambda file: file.first)
    for one, two in pairwise(files):
        assert one.size + two.size > archive_files.LARGEST_BYTES


def test_a_long_day_of_small_files_stays_few_and_rewrites_each_row_rarely() -> None:
    files: list[ArchiveFile] = []
    rewritten = 0
    for n in range(2000):
        files.append(named(n, n, 20_000))
        while run := to_merge(files, day_over=False):
            size = sum(file.size for file in run)
            rewritten += size
            files = [*(file for file in files if file not in run), named(run[0].first, run[-1].last, size)]
        assert len(files) < 40
    assert rewritten < 5 * 2000 * 20_000


def seven_of_eight(folder: Path) -> Writing:
    writing = Writing(folder)
    for offset in range(7):
        writing.take(offset)
        assert writing.writer.flush()
    return writing


def test_small_files_are_merged_while_the_sink_runs(tmp_path: Path) -> None:
    writing = seven_of_eight(tmp_path)
    writing.take(7)
    writing.passes(3.0)
    assert writing.files() == [(0, 7)]
    assert offsets_in(tmp_path) == list(range(8))


def stops_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power fails at the step-th change a merge makes to the folder."""
    done = [0]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def change(*arguments: object, **options: object) -> object:
            done[0] += 1
            if done[0] > step:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return change

    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr("ibook.edges.archive_files.os.fsync", counted(os.fsync))


@pytest.mark.parametrize("step", range(11))
def test_a_merge_interrupted_anywhere_shows_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    seven_of_eight(tmp_path)
    files = list_files(tmp_path / "entity_updates")
    with monkeypatch.context() as patched:
        stops_after(step, patched)
        with pytest.raises(KeyboardInterrupt):
            merge(files)
            raise KeyboardInterrupt  # after the last step
    assert offsets_in(tmp_path) == list(range(7))
    assert archive_files.next_offsets(tmp_path, UPDATES) == {0: 7}
    again = Writing(tmp_path)
    assert again.writer.next_offset(UPDATES, 0) == 7
    assert offsets_in(tmp_path) == list(range(7))
    kept, inside = counting(list_files(tmp_path / "entity_updates"))
    assert inside == []
    assert list(tmp_path.rglob("*.tmp")) == []
    assert kept[-1].last == 6


def test_a_reader_goes_on_when_its_files_are_merged_under_it(tmp_path: Path) -> None:
    seven_of_eight(tmp_path)
    reading = Archive(tmp_path).updates()
    first = [next(reading).offset for _ in range(3)]
    merge(list_files(tmp_path / "entity_updates"))
    assert first + [each.offset for each in reading] == list(range(7))


def test_merging_keeps_rows_columns_and_order(tmp_path: Path) -> None:
    seven_of_eight(tmp_path)
    files = list_files(tmp_path / "entity_updates")
    before = [row for file in files for row in pq.ParquetFile(file.path).read().to_pylist()]
    assert pq.ParquetFile(merge(files)).read().to_pylist() == before
    assert tidy(tmp_path / "entity_updates") == 0


@pytest.mark.parametrize("spoil", [lambda whole: whole[: len(whole) // 2], lambda whole: spoilt_inside(whole)])
def test_a_spoilt_file_is_told_once_and_stays_beside_what_is_merged(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    writing = seven_of_eight(tmp_path)
    path = list_files(tmp_path / "entity_updates")[3].path
    path.write_bytes(spoil(path.read_bytes()))
    with structlog.testing.capture_logs() as logs:
        for offset in range(7, 30):
            writing.take(offset)
            writing.passes(3.0)
            assert list(tmp_path.rglob("*.tmp")) == []
    assert [each["event"] for each in logs if each["log_level"] != "info"] == ["an archive file can't be read"]
    assert path.exists()
    assert len(writing.files()) < 16, "the others are merged"
    assert Archive(tmp_path).holes(UPDATES) == []


def spoilt_inside(whole: bytes) -> bytes:
    """The footer stays readable."""
    return whole[:4] + bytes(len(whole) // 3) + whole[4 + len(whole) // 3 :]


def test_nothing_half_written_stays_whatever_went_wrong(tmp_path: Path) -> None:
    def fill(file: IO[bytes]) -> None:
        file.write(b"half")
        raise pa.ArrowInvalid("spoilt")

    with pytest.raises(pa.ArrowInvalid):
        archive_files.write_durably(tmp_path / "x", fill)
    assert list(tmp_path.iterdir()) == []
