"""What the price API knew is known to the next one while Kafka is away, and to nobody once Kafka says otherwise."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from ibook.clock import ManualClock
from ibook.codec import encode
from ibook.edges.kafka import Record
from ibook.edges.kept_topics import KeptTopics
from ibook.edges.price_snapshots import SnapshotReader, Snapshots
from ibook.messages import (
    ArmFigures,
    CompetitorPrices,
    ExperimentFigures,
    ExperimentShares,
    InventoryChanged,
    Message,
    PriceControlled,
    PriceExperiment,
    PricePolicy,
)
from ibook.settings import Settings
from ibook.topics import (
    COMPETITOR_PRICES,
    EVENT_INVENTORY,
    EVENT_LISTINGS,
    PRICE_CONTROLS,
    PRICE_EXPERIMENTS,
    PRICE_POLICIES,
    Topic,
)
from tests.unit.test_price_controls import LISTING

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PARTITIONS = 4
AWAY = "No Kafka broker answers."
SHARES = ExperimentShares(list_price=0.2, rules=0.2, bandit=0.6)
FREEZE = PriceControlled(message_id="c", occurred_at=NOW, event_id="", frozen=True)


def record(topic: Topic, key: str, message: Message | None, partition: int = 0) -> Record:
    return Record(
        topic=topic.name, partition=partition, offset=7, timestamp_ms=round(NOW.timestamp() * 1000), key=key.encode(),
        value=None if message is None else encode(message), headers=(),
    )  # fmt: skip


def listed(event_id: str) -> Record:
    return record(EVENT_LISTINGS, event_id, replace(LISTING, event_id=event_id))


def seats(remaining: int, at: datetime = NOW, partition: int = 0) -> Record:
    message = InventoryChanged(
        message_id="i", occurred_at=at, event_id=LISTING.event_id, capacity=100, remaining=remaining
    )  # fmt: skip
    return record(EVENT_INVENTORY, LISTING.event_id, message, partition)


def of_every_kind() -> list[Record]:
    key = LISTING.event_id
    policy = PricePolicy(
        message_id="p", occurred_at=NOW, event_id=key, version=4, slot_seconds=300.0, first_slot=1,
        currency="GBP", current=[], upcoming=[],
    )  # fmt: skip
    rivals = CompetitorPrices(message_id="r", occurred_at=NOW, event_id=key, currency="GBP", prices=[])
    order = PriceExperiment(
        message_id="e", occurred_at=NOW, version=2, shares=SHARES, begins_at=NOW, before=SHARES, before_version=1,
        counts_from=2,
    )  # fmt: skip
    arm = ArmFigures(arm="bandit", slots=1, offers=2, sales=1, revenue_per_offer=0.5)
    figures = ExperimentFigures(message_id="f", occurred_at=NOW, version=2, since=NOW, arms=[arm])
    return [
        listed(key), seats(90), seats(80, NOW - timedelta(minutes=1)), seats(70, partition=1),
        record(COMPETITOR_PRICES, key, rivals), record(PRICE_POLICIES, key, policy),
        record(PRICE_CONTROLS, "", FREEZE), record(PRICE_EXPERIMENTS, "shares", order),
        record(PRICE_EXPERIMENTS, "figures", figures),
    ]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "known-1.db"


def kept_in(path: Path, partitions: int = PARTITIONS) -> KeptTopics:
    return KeptTopics(path, partitions, ManualClock(NOW))


def keep(path: Path, *records: Record) -> None:
    kept = kept_in(path)
    kept.replace(records)
    kept.write()
    assert kept.problem == ""


def reader_of(path: Path) -> tuple[SnapshotReader, Snapshots]:
    snapshots = Snapshots()
    return SnapshotReader(Settings(), snapshots, kept=kept_in(path)), snapshots


def read(reader: SnapshotReader, *records: Record) -> None:
    """As the thread does when it has read all of Kafka."""
    reader._begin()
    reader._take(records)
    reader._keep()


# ------------------------------------------------------------------------------------------------------------ the file
def test_what_is_kept_gives_the_same_beliefs(path: Path) -> None:
    known, again = Snapshots(), Snapshots()
    known.take(of_every_kind())
    keep(path, *of_every_kind())
    found = kept_in(path).read()
    assert found is not None
    again.take(found.records)
    assert vars(again) == vars(known)
    assert (known.seats_left(LISTING.event_id), found.read_at) == (70, NOW)
    assert not list(path.parent.glob("*.new*"))


def test_of_each_key_and_partition_the_last_is_kept_in_the_order_they_came(path: Path) -> None:
    kept = kept_in(path)
    kept.replace([seats(90), seats(70, partition=1), listed("ball")])
    kept.write()
    kept.add([seats(60), listed("gone"), record(EVENT_LISTINGS, "gone", None)])
    kept.write()
    found = kept_in(path).read()
    assert found is not None
    assert found.records == [seats(70, partition=1), listed("ball"), seats(60)]


def test_what_was_taken_back_is_gone_in_all_partitions_and_what_came_after_is_kept(path: Path) -> None:
    nothing = record(EVENT_INVENTORY, LISTING.event_id, None)
    keep(path, seats(70, partition=1))
    kept = kept_in(path)
    kept.add([seats(90), nothing, seats(50)])
    kept.write()
    found = kept_in(path).read()
    assert found is not None
    assert found.records == [seats(50)]


def test_where_nothing_was_kept_there_is_nothing(path: Path) -> None:
    assert kept_in(path).read() is None


def spoilt(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))


def of_another_format(path: Path) -> None:
    with closing(sqlite3.connect(path)) as rows:
        rows.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("change", [spoilt, of_another_format, lambda path: path.write_text("nonsense")])
def test_a_file_that_is_of_no_use_is_put_aside_and_begun_anew(path: Path, change: object) -> None:
    keep(path, *of_every_kind())
    change(path)  # type: ignore[operator]
    assert kept_in(path).read() is None
    assert path.with_name("known-1.db.aside").exists()
    keep(path, listed("ball"))
    assert kept_in(path).read() is not None


def test_what_was_kept_with_other_partitions_is_of_no_use(path: Path) -> None:
    keep(path, listed("ball"))
    assert kept_in(path, partitions=7).read() is None
    assert path.with_name("known-1.db.aside").exists()


def test_a_disk_that_takes_nothing_is_told_and_what_was_read_is_written_later(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    kept = kept_in(path)
    kept.replace([listed("ball")])
    kept.write_if_due()
    assert "not kept on disk" in kept.problem
    kept.add([listed("gala")])
    path.parent.unlink()
    kept.write_if_due()
    assert not path.exists(), "a full disk is left to quotes for a while"
    kept.write()
    found = kept_in(path).read()
    assert found is not None
    assert (found.records, kept.problem) == ([listed("ball"), listed("gala")], "")


def test_a_file_that_has_gone_is_told_and_not_begun_with_a_part(path: Path) -> None:
    kept = kept_in(path)
    kept.replace([listed("ball")])
    kept.write()
    path.unlink()
    kept.add([listed("gala")])
    kept.write()
    assert "not kept on disk" in kept.problem
    assert not path.exists()


WRITES = """
import sys
from pathlib import Path
from tests.unit.test_kept_topics import keep, kept_in, listed
path = Path(sys.argv[1])
keep(path, *[listed(f"event-{number}") for number in range(500)])
print("begun", flush=True)
kept = kept_in(path)
while True:
    kept.add([listed(f"event-{number}") for number in range(500)])
    kept.write()
"""


def test_a_kill_in_the_middle_of_a_write_leaves_a_whole_file(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITES, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        child.send_signal(signal.SIGKILL)
    found = kept_in(path).read()
    assert found is not None
    assert {each.key for each in found.records} == {b"event-%d" % number for number in range(500)}


# ---------------------------------------------------------------------------------------------------------- the reader
def test_without_kafka_what_an_earlier_process_read_holds_and_says_since_when(path: Path) -> None:
    earlier, _ = reader_of(path)
    read(earlier, *of_every_kind())
    reader, snapshots = reader_of(path)
    assert not snapshots.begun
    reader._trouble(AWAY)
    assert (snapshots.begun, snapshots.loaded, snapshots.controls) == (True, False, {"": FREEZE})
    assert snapshots.problem == (
        f"Kafka was not read since the start, and what was known at 2026-03-01 12:00:00 UTC holds: {AWAY}"
    )


def test_what_kafka_says_replaces_all_that_was_kept(path: Path) -> None:
    keep(path, *of_every_kind())
    reader, snapshots = reader_of(path)
    reader._trouble(AWAY)
    listings = snapshots.listings
    read(reader, listed("ball"))
    assert list(listings) == [LISTING.event_id], "nobody saw it while it was read"
    assert (list(snapshots.listings), snapshots.policies, snapshots.controls) == (["ball"], {}, {})
    assert snapshots.seats_left(LISTING.event_id) is None
    assert (snapshots.loaded, snapshots.kept_from, snapshots.problem) == (True, None, "")
    found = kept_in(path).read()
    assert found is not None
    assert found.records == [listed("ball")]


def test_a_kafka_that_is_empty_now_leaves_nothing(path: Path) -> None:
    keep(path, *of_every_kind())
    reader, snapshots = reader_of(path)
    reader._trouble(AWAY)
    read(reader)
    found = kept_in(path).read()
    assert found is not None
    assert (snapshots.listings, snapshots.loaded, found.records) == ({}, True, [])


def test_a_kafka_that_goes_away_later_changes_nothing(path: Path) -> None:
    keep(path, *of_every_kind())
    reader, snapshots = reader_of(path)
    read(reader, listed("ball"))
    reader._trouble(AWAY)
    assert (list(snapshots.listings), snapshots.loaded) == (["ball"], True)


def test_what_can_not_be_read_spoils_nothing_that_was_kept(path: Path) -> None:
    reader, _ = reader_of(path)
    broken = Record(
        topic=EVENT_LISTINGS.name, partition=0, offset=8, timestamp_ms=0, key=b"ball", value=b"nonsense", headers=()
    )  # fmt: skip
    read(reader, listed("ball"), broken)
    found = kept_in(path).read()
    assert found is not None
    assert found.records == [listed("ball")]


def test_the_last_that_a_reader_does_is_to_keep_what_came(path: Path) -> None:
    reader, _ = reader_of(path)
    read(reader, listed("ball"))
    reader._take([listed("gala")])
    reader._keep()
    assert (found := kept_in(path).read()) is not None
    assert found.records == [listed("ball")], "it was written a moment ago"
    reader.stop()
    reader._keep()
    assert (found := kept_in(path).read()) is not None
    assert found.records == [listed("ball"), listed("gala")]


def test_a_disk_that_takes_nothing_is_told_where_prices_are_given(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    reader, snapshots = reader_of(path)
    read(reader, listed("ball"))
    assert "not kept on disk" in snapshots.unkept
    assert list(snapshots.listings) == ["ball"]
