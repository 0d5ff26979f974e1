"""The archive's files and writer, without Kafka: cutting, durability, merging, checks."""

import errno
import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ibook import codec, metrics
from ibook.edges import archive_files, rebuild
from ibook.edges.archive import Archive
from ibook.edges.archive_checks import failures_of, list_rejects, read_rejects
from ibook.edges.archive_files import (
    ArchiveFile,
    Hole,
    counting,
    file_path,
    list_files,
    merge,
    name_holes,
    tidy,
    to_merge,
)
from ibook.edges.archive_schema import (
    ABOUT,
    DAY_MS,
    EVIDENCE,
    LogRecord,
    cut,
    day_of,
    payloads_of,
    table_of,
)
from ibook.edges.archive_writer import ArchiveWriter, Limits
from ibook.edges.backfill import backfill
from ibook.entities import EntityUpdate, EntityUpdates, Fact, Watermark, pack, source_slot, update_of
from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES
from ibook.settings import Settings
from ibook.topics import ENTITY_UPDATES, FRAUD_EVIDENCE
from tests.evidence import evidence_for
from tests.traffic import purchase

UPDATES, EVIDENCE_TOPIC = ENTITY_UPDATES.name, FRAUD_EVIDENCE.name
MIDNIGHT_MS = 20_000 * DAY_MS
DAY = date(2024, 10, 4)
NOW = datetime(2024, 10, 4, tzinfo=UTC)
NOTHING = pack(EntityUpdates([], [Watermark(0, 1, 1)]))


def record(*offsets: int) -> bytes:
    """A record with one update per offset of its source."""
    slot = source_slot("ticket-purchases", 0)
    return pack(
        EntityUpdates(
            [update_of(purchase(f"t-{n}", now=NOW), slot, n, MIDNIGHT_MS) for n in offsets], [Watermark(0, 1, 1)]
        )
    )


class Writing:
    """A writer whose time passes when told to."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self.now = 0.0
        self.folder = folder
        self.writer = ArchiveWriter(folder, Limits(**limits), lambda: self.now)  # type: ignore[arg-type]
        following = archive_files.next_offsets(folder, UPDATES)
        self.writer.begin(UPDATES, 0, following.get(0, 0))

    def take(self, *offsets: int, value: bytes | None = None, ms: int = MIDNIGHT_MS) -> None:
        for offset in offsets:
            self.writer.take(UPDATES, 0, offset, ms, record(offset) if value is None else value)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.writer.flush_due()

    def files(self) -> list[tuple[int, int]]:
        return [(file.first, file.last) for file in list_files(self.folder / "entity_updates")]


def offsets_in(folder: Path) -> list[int]:
    return [each.offset for each in Archive(folder).updates()]


# ----------------------------------------------------------------------------------------------------------- cutting
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


# --------------------------------------------------------------------------------------------------------------- holes
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


# ------------------------------------------------------------------------------------------------------------- rebuild
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


# ------------------------------------------------------------------------------------------------------------- trouble
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


# ------------------------------------------------------------------------------------------------------------- merging
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


# ----------------------------------------------------------------------------------------------- rows and what they say
def updates_of(*values: bytes) -> list[LogRecord]:
    return [LogRecord(offset, DAY, payloads_of(UPDATES, value)) for offset, value in enumerate(values)]


def test_columns_say_what_the_update_says() -> None:
    rows = table_of(UPDATES, 3, updates_of(record(7), record(8, 9))).to_pylist()
    assert [(row["partition"], row["offset"], row["index"], row["source_offset"]) for row in rows] == [
        (3, 0, 0, 7), (3, 1, 0, 8), (3, 1, 1, 9),
    ]  # fmt: skip
    assert rows[0]["source_topic"] == "ticket-purchases"
    assert rows[0]["occurred_at"] == NOW
    assert rows[0]["broker_at"] == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=MIDNIGHT_MS)
    assert rows[0]["entities"] == ["user", "card", "device", "ip", "subnet", "bin", "event"]
    assert dict(rows[0]["ids"])["subnet"] == "192.0.2.0/24"
    assert dict(rows[0]["numbers"]) == {"amount_minor": 5000, "n_tickets": 2}


def test_evidence_has_a_column_per_feature() -> None:
    evidence = evidence_for(purchase("t-1", now=NOW), 5)
    records = [LogRecord(0, DAY, [codec.encode(evidence)])]
    table = table_of(EVIDENCE_TOPIC, 0, records)
    (row,) = table.to_pylist()
    assert [row[name] for name in FEATURE_NAMES] == evidence.features
    assert (row["transaction_id"], row["card_id"], row["promoter_id"]) == ("t-1", "card-1", None)
    assert (row["occurred_at"], row["decided_at"]) == (NOW, evidence.occurred_at)
    assert len(set(EVIDENCE.names)) == len(EVIDENCE.names), "no feature has the name of another column"
    assert set(ABOUT.names) < set(EVIDENCE.names)
    assert failures_of(EVIDENCE_TOPIC, table) == []


def test_evidence_of_other_features_keeps_its_payload_and_claims_no_values() -> None:
    import msgspec

    evidence = msgspec.structs.replace(evidence_for(purchase("t-1", now=NOW), 5), feature_names_hash="other")
    (row,) = table_of(EVIDENCE_TOPIC, 0, [LogRecord(0, DAY, [codec.encode(evidence)])]).to_pylist()
    assert {row[name] for name in FEATURE_NAMES} == {None}
    assert row["payload"] == codec.encode(evidence)


def fact(**changes: object) -> EntityUpdate:
    fields = {"kind": "view", "message_id": "m", "occurred_us": 1_700_000_000_000_000, "numbers": {}, "ids": {}}
    return EntityUpdate(0, 1, MIDNIGHT_MS, [], Fact(**{**fields, **changes}))  # type: ignore[arg-type]


def test_an_unreadable_row_keeps_its_place_among_readable_ones(tmp_path: Path) -> None:
    too_large = pack(EntityUpdates([fact(numbers={"n": 2**63})], []))
    values = [record(0), b"\xc1", record(1), too_large, record(2)]
    table = table_of(UPDATES, 0, updates_of(*values))
    assert table["offset"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["kind"].to_pylist() == ["purchase", None, "purchase", None, "purchase"]
    assert table["payload"][1].as_py() == b"\xc1"
    checks = {each.check: (each.rows, each.first) for each in failures_of(UPDATES, table)}
    assert checks["kind:not_nullable"] == (2, 1)
    archive_files.write_table(file_path(tmp_path / "entity_updates", DAY, 0, 0, 4, "v1"), table)
    assert offsets_in(tmp_path) == [0, 2, 3, 4], "what the columns can't hold, the payload can"


def test_implausible_rows_are_named_by_check_and_place() -> None:
    far, before = fact(occurred_us=5_000_000_000_000_000), fact(numbers={"a": 1, "b": -1})
    values = [pack(EntityUpdates([each], [])) for each in (fact(), far, fact(numbers={"a": 1}), before)]
    table = table_of(UPDATES, 0, updates_of(*values))
    assert {(each.check, each.rows, each.first) for each in failures_of(UPDATES, table)} == {
        ("occurred_at:outside_2000_to_2100", 1, 1), ("numbers:negative", 1, 3),
    }  # fmt: skip


def test_a_count_that_is_missing_under_a_normal_posture_is_named() -> None:
    import msgspec

    good = evidence_for(purchase("t-1", now=NOW), 0)
    place = FEATURE_NAMES.index("card_attempts_1h")
    holes = [None if n == place else value for n, value in enumerate(good.features)]
    bad = msgspec.structs.replace(good, features=holes)
    stale = msgspec.structs.replace(bad, posture="stale_features")

    def failing(*evidence: object) -> list[str]:
        records = [LogRecord(n, DAY, [codec.encode(each)]) for n, each in enumerate(evidence)]  # type: ignore[arg-type]
        return [each.check for each in failures_of(EVIDENCE_TOPIC, table_of(EVIDENCE_TOPIC, 0, records))]

    assert failing(good, stale) == []
    assert failing(good, bad) == ["card_attempts_1h:null_rate"]


def test_a_failing_batch_is_counted_and_listed_with_its_first_row(tmp_path: Path) -> None:
    before = metrics.ARCHIVE_REJECTS.labels(UPDATES, "numbers:negative")._value.get()
    writing = Writing(tmp_path)
    writing.take(0)
    writing.take(1, 2, value=pack(EntityUpdates([fact(numbers={"a": -5})], [])))
    assert writing.writer.flush()
    assert offsets_in(tmp_path) == [0, 1, 2]
    assert metrics.ARCHIVE_REJECTS.labels(UPDATES, "numbers:negative")._value.get() == before + 2
    (reject,) = read_rejects(tmp_path)
    assert (reject.check, reject.rows, reject.row["offset"]) == ("numbers:negative", 2, 1)


def test_the_list_of_rejects_is_bounded_and_survives_a_cut_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = Writing(tmp_path)
    writing.take(0, value=pack(EntityUpdates([fact(numbers={"a": -5})], [])))
    assert writing.writer.flush()
    rejects = read_rejects(tmp_path)
    with (tmp_path / "rejects.jsonl").open("ab") as file:
        file.write(b'{"at": "2026')
    assert read_rejects(tmp_path) == rejects
    monkeypatch.setattr("ibook.edges.archive_checks.REJECTS_BYTES", 10)
    list_rejects(tmp_path, rejects)
    assert read_rejects(tmp_path) == rejects
    assert (tmp_path / "rejects.old.jsonl").exists()
