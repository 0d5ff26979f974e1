"""Rows of the archive say what their messages say, and implausible ones are named."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ibook import codec, metrics
from ibook.edges import archive_files
from ibook.edges.archive_checks import failures_of, list_rejects, read_rejects
from ibook.edges.archive_files import file_path
from ibook.edges.archive_schema import ABOUT, EVIDENCE, LogRecord, payloads_of, table_of
from ibook.entities import EntityUpdate, EntityUpdates, Fact, pack
from ibook.features import FEATURE_NAMES
from tests.archives import DAY, EVIDENCE_TOPIC, MIDNIGHT_MS, NOW, UPDATES, Writing, offsets_in, record
from tests.evidence import evidence_for
from tests.traffic import purchase


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
