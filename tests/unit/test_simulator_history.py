"""The past of a world: repeatable, in order, whole, and silent about the truth."""

import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ibook import codec, topics
from ibook.messages import FraudLabel, InventoryChanged, PaymentOutcome, PurchaseRequested
from simulator.history import History, generate
from simulator.sinks import ParquetSink, Record, read_parquet, write_all
from simulator.truth import read_truth

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


@pytest.mark.parametrize(("hours", "purchases"), [(0.0, 10), (1.0, 0)])
def test_a_history_of_nothing_is_refused(hours: float, purchases: int) -> None:
    with pytest.raises(ValueError, match="needs time and purchases"):
        generate(1, END, hours, purchases)
