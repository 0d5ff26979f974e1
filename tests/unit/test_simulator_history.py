"""The past of a world: repeatable, in order, whole, and silent about the truth."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from ibook import codec, topics
from ibook.clock import from_us, to_us
from ibook.errors import ConfigurationError
from ibook.messages import EventListed, FraudLabel, InventoryChanged, PaymentOutcome, PurchaseRequested
from simulator import truth_files
from simulator.attention import DAY_US
from simulator.history import History, generate
from simulator.past import HistoryOptions, history_of, write_history
from simulator.sinks import ParquetSink, Record, read_parquet, write_all
from simulator.standin import StandInPolicy
from simulator.truth import DemandTruth, TransactionTruth, read_truth
from simulator.truth_files import TruthFiles

END = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def past() -> History:
    return generate(11, END, hours=6, purchases=1500)


@pytest.fixture(scope="module")
def records(past: History) -> list[Record]:
    return list(past)


def as_bytes(records: list[Record]) -> list[tuple[str, str, bytes]]:
    return [(topic, key, codec.encode(message)) for topic, key, message in records]


def test_same_seed_and_end_give_the_same_bytes(records: list[Record]) -> None:
    again = list(generate(11, END, hours=6, purchases=1500))
    assert as_bytes(again) == as_bytes(records)


def test_another_process_with_another_hash_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for number in ("1", "2"):
        folder = tmp_path / number
        subprocess.run(
            [sys.executable, "-m", "simulator", "history", "--hours", "1", "--purchases", "200", "--seed", "3",
             "--end", END.isoformat(), "--output", str(folder)],
            env={**os.environ, "PYTHONHASHSEED": number}, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        digests.add(tuple(as_bytes(list(read_parquet(folder)))))
    assert len(digests) == 1


def test_another_seed_gives_other_messages(records: list[Record]) -> None:
    other = list(generate(12, END, hours=6, purchases=1500))
    assert not {message.message_id for _, _, message in other} & {message.message_id for _, _, message in records}


def test_messages_come_in_the_order_of_event_time(records: list[Record]) -> None:
    times = [message.occurred_at for _, _, message in records]
    assert times == sorted(times)
    assert times[0] == END - timedelta(hours=6)
    assert END - timedelta(minutes=1) < times[-1] <= END


def test_message_ids_are_unique(records: list[Record]) -> None:
    ids = [message.message_id for _, _, message in records]
    assert len(set(ids)) == len(ids)


def test_every_message_is_one_of_its_topic_and_keyed_as_declared(records: list[Record]) -> None:
    for topic, key, message in records:
        declared = topics.BY_NAME[topic]
        assert codec.decode(codec.encode(message), declared.message) == message
        assert getattr(message, declared.key) == key


def test_the_last_minutes_are_as_busy_as_the_rest(records: list[Record]) -> None:
    """Windows are full when realtime takes over."""
    late = [m for t, _, m in records if t == "ticket-purchases" and m.occurred_at > END - timedelta(minutes=30)]
    assert len(late) > 1500 / 12 * 0.4


def test_purchases_are_as_many_as_asked(past: History, records: list[Record]) -> None:
    n = sum(isinstance(message, PurchaseRequested) for _, _, message in records)
    assert n == len(past.truth.transactions)
    assert 0.95 * 1500 < n < 1.08 * 1500


def test_truth_names_every_purchase_and_no_message_names_truth(past: History, records: list[Record]) -> None:
    words = (b"fraudster", b"card-testing", b"account-takeover", b"stolen-card", b"honest", b"friendly", b"look_alike")
    for _, _, message in records:
        payload = codec.encode(message)
        assert not any(word in payload for word in words)
        if isinstance(message, PurchaseRequested):
            assert message.transaction_id in past.truth.transactions


def test_labels_have_matured_before_the_end(past: History, records: list[Record]) -> None:
    labels = [message for _, _, message in records if isinstance(message, FraudLabel)]
    sources = Counter(label.source for label in labels)
    assert sources["chargeback"] > 0 and sources["early_warning"] > 0
    assert all(label.effective_at < label.occurred_at for label in labels)


def test_what_was_turned_down_never_gets_a_chargeback(records: list[Record]) -> None:
    settled = {m.transaction_id for _, _, m in records if isinstance(m, PaymentOutcome) and m.status == "settled"}
    disputed = {m.transaction_id for _, _, m in records if isinstance(m, FraudLabel) and m.source == "chargeback"}
    assert disputed <= settled


def test_inventory_is_never_negative_and_never_above_capacity(records: list[Record]) -> None:
    levels = [message for _, _, message in records if isinstance(message, InventoryChanged)]
    assert all(0 <= level.remaining <= level.capacity for level in levels)


def test_a_history_survives_parquet(tmp_path: Path, past: History, records: list[Record]) -> None:
    assert write_all(records, ParquetSink(tmp_path)) == len(records)
    assert list(read_parquet(tmp_path)) == records
    past.truth.write(tmp_path / "truth.jsonl")
    transactions, demand = read_truth(tmp_path / "truth.jsonl")
    assert transactions == past.truth.transactions
    assert demand == past.truth.demand


def test_a_new_past_replaces_the_old_one_and_nothing_else_in_the_folder(tmp_path: Path, records: list[Record]) -> None:
    (tmp_path / "prices-of-last-year.parquet").write_bytes(b"somebody's")
    write_all(records, ParquetSink(tmp_path))
    write_all(records[:1], ParquetSink(tmp_path))
    assert {path.stem for path in tmp_path.iterdir()} == {"prices-of-last-year", records[0][0]}


@pytest.mark.parametrize(("hours", "purchases"), [(0.0, 10), (1.0, 0)])
def test_a_history_of_nothing_is_refused(hours: float, purchases: int) -> None:
    with pytest.raises(ValueError, match="needs time and purchases"):
        generate(1, END, hours, purchases)


# ----------------------------------------------------------------------------------------------- a past of many days
@pytest.fixture(scope="module")
def season() -> tuple[History, list[Record]]:
    past = history_of(HistoryOptions(seed=11, days=90, end=END, purchases=4000, events=80, users=600, fraud_rate=0.03))
    return past, list(past)


def bought(records: list[Record]) -> list[PurchaseRequested]:
    return [message for _, _, message in records if isinstance(message, PurchaseRequested)]


def test_a_season_has_the_events_users_purchases_and_fraud_asked_for(season: tuple[History, list[Record]]) -> None:
    past, records = season
    purchases, truth = bought(records), past.truth.transactions
    assert len(past.world.events) == 80
    assert 0.95 * 4000 < len(purchases) < 1.05 * 4000
    assert sum(one.is_fraud for one in truth.values()) / len(truth) == pytest.approx(0.03, abs=0.012)
    honest = {one.transaction_id for one in truth.values() if not one.is_fraud and not one.is_abuse}
    coming_back = {p.user_id for p in purchases if p.transaction_id in honest
                   and truth[p.transaction_id].look_alike != "new_user"}  # fmt: skip
    assert 350 < len(coming_back) < 900


def test_in_a_season_sales_open_and_events_are_over(season: tuple[History, list[Record]]) -> None:
    past, records = season
    listed = {m.event_id: m.occurred_at for _, _, m in records if isinstance(m, EventListed)}
    start = END - timedelta(days=90)
    opened = [one for one in listed if start < from_us(past.world.by_id[one].on_sale_us) < END]
    over = [one for one in listed if start < from_us(past.world.by_id[one].starts_us) < END]
    assert len(opened) >= 20 and len(over) >= 20
    for purchase in bought(records):
        event = past.world.by_id[purchase.event_id]
        assert event.on_sale_us <= to_us(purchase.occurred_at) < event.starts_us
        assert listed[purchase.event_id] <= purchase.occurred_at
        assert purchase.account_opened_at <= purchase.occurred_at


def test_in_a_season_over_half_of_an_ordinary_events_tickets_go_in_its_last_week(
    season: tuple[History, list[Record]],
) -> None:
    past, records = season
    start_us, end_us = to_us(END) - 90 * DAY_US, to_us(END)
    whole = {event.event_id: event.starts_us for event in past.world.events if event.on_sale_us > start_us
             and event.starts_us < end_us and event.appeal.sells_out_us == event.starts_us}  # fmt: skip
    sold = [(purchase.n_tickets, whole[purchase.event_id] - to_us(purchase.occurred_at))
            for purchase in bought(records) if purchase.event_id in whole]  # fmt: skip
    total = sum(n for n, _ in sold)
    assert total > 1000
    assert 0.45 < sum(n for n, left_us in sold if left_us < 7 * DAY_US) / total < 0.68


def test_in_a_season_hot_events_sell_out_when_their_sales_open(season: tuple[History, list[Record]]) -> None:
    past, records = season
    start_us, end_us = to_us(END) - 90 * DAY_US, to_us(END)
    hot = {event.event_id: event for event in past.world.events
           if start_us < event.on_sale_us < end_us - DAY_US
           and event.appeal.sells_out_us < event.on_sale_us + DAY_US}  # fmt: skip
    assert len(hot) >= 2
    nearly_gone = {m.event_id for _, _, m in records if isinstance(m, InventoryChanged) and m.event_id in hot
                   and m.remaining < 0.1 * m.capacity
                   and to_us(m.occurred_at) < hot[m.event_id].on_sale_us + DAY_US}  # fmt: skip
    assert len(nearly_gone) >= len(hot) / 2
    levels = [message for _, _, message in records if isinstance(message, InventoryChanged)]
    assert all(0 <= level.remaining <= level.capacity for level in levels)


def test_in_a_season_labels_take_the_time_they_take_in_life(season: tuple[History, list[Record]]) -> None:
    _, records = season
    waits = [(m.occurred_at - m.effective_at).total_seconds() / 86_400 for _, _, m in records
             if isinstance(m, FraudLabel) and m.source == "chargeback"]  # fmt: skip
    assert len(waits) >= 20
    assert 12 < sorted(waits)[len(waits) // 2] < 40


def test_a_season_fills_the_evening_more_than_the_night(season: tuple[History, list[Record]]) -> None:
    hours = Counter(purchase.occurred_at.hour for purchase in bought(season[1]))
    assert sum(hours[hour] for hour in (17, 18, 19)) > 2 * sum(hours[hour] for hour in (4, 5, 6))


def command(folder: Path, *options: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulator", "history", "--days", "30", "--purchases", "400", "--seed", "3",
         "--output", str(folder), *options],
        env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_same_command_writes_the_same_bytes_truth_included(tmp_path: Path) -> None:
    """Without an end, too: it hangs on the day."""

    def written(number: str) -> dict[Path, bytes]:
        folder = tmp_path / number
        done = command(folder, hash_seed=number)
        assert done.returncode == 0, done.stderr
        return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    first, second = written("1"), written("2")
    if first != second:  # midnight may have passed between the two, but not twice
        first = written("1")
    assert first == second
    assert {str(path) for path in first} >= {
        "ticket-purchases.parquet", "fraud-labels.parquet", "competitor-prices.parquet",
        "truth/transactions.parquet", "truth/demand.parquet",
    }  # fmt: skip


def test_truth_as_parquet_is_the_truth_and_stands_apart_from_the_messages(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    options = HistoryOptions(seed=3, days=30, end=END, purchases=400, output=tmp_path)
    done = write_history(options)
    past = history_of(options)
    records = list(past)
    assert done.messages == len(records)
    assert done.purchases == len(past.truth.transactions)
    assert done.shares == pytest.approx(past.truth.shares())
    assert as_bytes(list(read_parquet(tmp_path))) == as_bytes(records)
    rows = pq.read_table(tmp_path / "truth" / "transactions.parquet").to_pylist()
    assert [TransactionTruth(**row) for row in rows] == list(past.truth.transactions.values())
    curves = pq.read_table(tmp_path / "truth" / "demand.parquet").to_pylist()
    assert [msgspec.convert(row | {"kind": "demand"}, DemandTruth) for row in curves] == past.truth.demand
    attacks = pq.read_table(tmp_path / "truth" / "attacks.parquet").to_pylist()
    assert [row["pattern"] for row in attacks] == [attack.pattern for attack in past.truth.attacks.values()]


def test_writing_keeps_no_truth_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth_files, "ROWS_PER_GROUP", 50)
    files, past, most = TruthFiles(tmp_path), history_of(HistoryOptions(days=30, end=END, purchases=600)), 0
    for _ in past:
        files.take(past.truth)
        most = max(most, len(past.truth.transactions))
    files.close(past.truth)
    assert files.patterns.total() > 500
    assert most <= 50


def test_impossible_pasts_are_refused_in_one_sentence(tmp_path: Path) -> None:
    done = command(tmp_path, "--hours", "3")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "simulator: A history is so many --hours long or so many --days, not both.\n"
    with pytest.raises(ConfigurationError, match="Nothing is on sale"):
        history_of(HistoryOptions(seed=2, days=1, end=END, events=1))


def test_jsonl_and_a_file_for_the_truth_can_be_had_too(tmp_path: Path) -> None:
    options = HistoryOptions(
        seed=3, hours=1, end=END, purchases=50, to="jsonl", output=tmp_path / "past.jsonl",
        truth=tmp_path / "truth.jsonl",
    )  # fmt: skip
    done = write_history(options)
    assert len((tmp_path / "past.jsonl").read_bytes().splitlines()) == done.messages
    assert len(read_truth(tmp_path / "truth.jsonl")[0]) == done.purchases


def test_a_stand_in_forgets_devices_that_are_quiet() -> None:
    policy = StandInPolicy(Random(1))
    past = history_of(HistoryOptions(days=30, end=END, purchases=600))
    for purchase in bought(list(past)):
        policy.decide(purchase)
    assert len(policy._recent) < 30


# ----------------------------------------------------------------------------------------------------- how it ends
def purchase_ids(folder: Path) -> set[str]:
    return {m.transaction_id for _, _, m in read_parquet(folder) if isinstance(m, PurchaseRequested)}


def true_ids(folder: Path) -> set[str]:
    import pyarrow.parquet as pq

    return set(pq.read_table(folder / "truth" / "transactions.parquet")["transaction_id"].to_pylist())


def test_a_past_that_is_stopped_is_as_whole_as_a_shorter_one(tmp_path: Path) -> None:
    asked: list[tuple[int, float]] = []

    def go_on(messages: int, share: float) -> bool:
        asked.append((messages, share))
        return len(asked) < 3

    options = HistoryOptions(seed=3, days=30, end=END, purchases=2000, output=tmp_path)
    done = write_history(options, go_on)
    records = list(read_parquet(tmp_path))
    assert [messages for messages, _ in asked] == [1024, 2048, 3072]
    shares = [share for _, share in asked]
    assert 0 <= shares[0] <= shares[1] <= shares[2] < 0.9
    assert not done.whole
    assert 3072 <= done.messages == len(records) < 6000
    assert purchase_ids(tmp_path) == true_ids(tmp_path)
    assert done.purchases == len(true_ids(tmp_path)) > 0
    assert as_bytes(records) == as_bytes(list(history_of(options))[: len(records)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_closes_its_files_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", "history", "--days", "60", "--purchases", "40000", "--output",
         str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "messages" in process.stdout.readline()  # a line of progress
        process.send_signal(number)
        printed, error = process.communicate(timeout=200)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert error == "simulator: Stopped before the end: what is written is a part of the past asked for.\n"
    assert f"{len(list(read_parquet(tmp_path)))} messages with {len(true_ids(tmp_path))} purchases" in printed
    assert purchase_ids(tmp_path) == true_ids(tmp_path)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"output": Path("/dev/null/x")}, "The past can't be written: .*Not a directory"),
        ({"output": Path("/dev/full"), "to": "jsonl"}, "The past can't be written: .*No space left"),
        ({"truth": Path("/dev/full")}, "The past can't be written: .*No space left"),
        ({"end": datetime(1, 1, 1, tzinfo=UTC)}, "in the years 1 to 9999"),
        ({"end": datetime(9999, 12, 31, tzinfo=UTC)}, "in the years 1 to 9999"),
    ],
    ids=str,
)
def test_a_past_that_cannot_be_written_is_one_sentence(tmp_path: Path, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        write_history(HistoryOptions(**{"hours": 1, "purchases": 50, "end": END, "output": tmp_path, **asked}))
