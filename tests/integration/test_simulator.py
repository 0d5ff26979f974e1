"""The simulator against real Kafka: what it publishes, what it hears, and how it ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from ibook import codec, topics
from ibook.edges.kafka import BroadcastReader, Record, producer
from ibook.edges.kafka_admin import delete_topics
from ibook.errors import BrokerUnavailable, ConfigurationError, InvalidMessage
from ibook.messages import Action, FraudVerdict, PurchaseRequested
from ibook.settings import Settings
from simulator.broken import samples
from simulator.history import generate
from simulator.mix import NO_FRAUD
from simulator.realtime import RealtimeShop
from simulator.shop import ShopRules
from simulator.sinks import KafkaSink, write_all
from simulator.stats import ShopStats
from simulator.truth import read_truth
from simulator.world import World

END = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SHOP_TOPICS = ("ticket-activity", "ticket-purchases", "payment-outcomes", "fraud-labels", "event-listings",
               "event-inventory", "competitor-prices")  # fmt: skip
QUICK = ShopRules(patience=600.0, settle=(0.05, 0.1), review=(0.05, 0.1), challenge=(0.05, 0.1), authorise=(0.01, 0.02))
"""A shop where all is quick but what it waits for: a busy machine's verdict is still a verdict."""
IMPATIENT = replace(QUICK, patience=1.0)


def everything(settings: Settings, *names: str) -> list[Record]:
    with BroadcastReader(settings, *names) as reader:
        return reader.load()


def murmur2(data: bytes) -> int:
    """Java's client: MurmurHash2, 32 bit, seed 0x9747b28c (Austin Appleby, public domain)."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        h = h * m & mask ^ (k ^ k >> 24) * m & mask
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


class Answerer:
    """Stands where the verdict worker stands: answers each purchase once, or as often as told.

    What can't be read it answers by the transaction of its header, where there is one.
    """

    def __init__(self, settings: Settings, decide: Callable[[PurchaseRequested], list[Action]]) -> None:
        self._settings, self._decide = settings, decide
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        client = producer(self._settings)
        name = topics.TICKET_PURCHASES.name
        consumer = Consumer({"bootstrap.servers": self._settings.kafka_bootstrap, "group.id": "answerer"})
        consumer.assign([TopicPartition(name, number, 0) for number in range(self._settings.partitions)])
        while not self._ending.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            transaction_id, actions = self._answer(message)
            for number, action in enumerate(actions):
                verdict = FraudVerdict(
                    message_id=f"{transaction_id}/{number}", occurred_at=datetime.now(UTC),
                    transaction_id=transaction_id, action=action, score_band="low", posture="normal",
                    model_version="test",
                )  # fmt: skip
                client.produce(
                    topics.FRAUD_VERDICTS.name, codec.encode(verdict), transaction_id,
                    partition=message.partition() or 0,
                )  # fmt: skip
            client.poll(0)
        client.flush(60)
        consumer.close()

    def _answer(self, message: Message) -> tuple[str, list[Action]]:
        try:
            purchase = codec.decode(message.value(), PurchaseRequested)
        except InvalidMessage:
            headers: Any = message.headers() or []
            named = [value for _, value in headers]
            return (named[0].decode(), ["review"]) if named else ("", [])
        return purchase.transaction_id, self._decide(purchase)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()


@contextmanager
def open_shop(settings: Settings, rate: float = 40.0, **options: object) -> Iterator[RealtimeShop]:
    options = {"rules": QUICK, "ask_quotes": False, **options}
    shop = RealtimeShop(World(4, datetime.now(UTC)), settings, rate, 4, **options)  # type: ignore[arg-type]
    try:
        shop.start()
        yield shop
    finally:
        shop.stop()


def all_that_was_due(stats: ShopStats) -> bool:
    """Whether purchases follow the rate of 40 a second; half a second's may still be on the way."""
    return bool(stats.purchases == pytest.approx(40 * stats.seconds, abs=20))


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_history_arrives_whole_and_where_java_clients_would_put_it(platform_settings: Settings) -> None:
    past = generate(4, END, hours=3, purchases=300)
    expected = list(past)
    assert write_all(expected, KafkaSink(platform_settings)) == len(expected)
    found = everything(platform_settings, *SHOP_TOPICS)
    assert Counter(record.topic for record in found) == Counter(topic for topic, _, _ in expected)
    sent, read = defaultdict(list), defaultdict(list)
    for topic, key, message in expected:
        sent[topic, key].append(codec.encode(message))
    for record in found:
        assert record.key is not None
        assert record.partition == (murmur2(record.key) & 0x7FFFFFFF) % platform_settings.partitions
        read[record.topic, record.key.decode()].append(record.value)
    assert read == sent  # and in order, key by key


def test_purchases_carry_their_transaction_id_as_a_header(platform_settings: Settings) -> None:
    write_all(generate(4, END, hours=1, purchases=50), KafkaSink(platform_settings))
    for record in everything(platform_settings, *SHOP_TOPICS):
        if record.topic == "ticket-purchases":
            purchase = codec.decode(record.value, PurchaseRequested)
            assert record.headers == (("transaction_id", purchase.transaction_id.encode()),)
        else:
            assert record.headers == ()


def test_every_purchase_is_answered_settled_and_counted(platform_settings: Settings) -> None:
    bought: list[str] = []
    heard: list[float] = []
    with (
        Answerer(platform_settings, lambda _: ["approve"]),
        open_shop(
            platform_settings, on_purchase=lambda purchase: bought.append(purchase.transaction_id),
            on_verdict=lambda _, latency: heard.append(latency),
        ) as shop,
    ):  # fmt: skip
        wait_for(lambda: shop.stats().purchases >= 120)
        wait_for(lambda: all_that_was_due(shop.stats()))
        shop.end_load()
        assert shop.drain(120)
        stats = shop.stats()
        latencies = shop.latencies()
    assert (stats.missing, stats.conflicting, stats.duplicated, stats.undelivered) == (0, 0, 0, 0)
    assert stats.purchases == stats.verdicts == stats.actions["approve"] == len(bought) == len(latencies)
    assert heard == latencies and min(latencies) > 0
    assert stats.sales + stats.outcomes.get("declined", 0) + stats.outcomes.get("refunded", 0) >= stats.purchases
    assert 0 <= stats.pacing_error_ms["p50"] <= stats.pacing_error_ms["p95"] <= stats.pacing_error_ms["p99"]
    assert stats.messages["ticket-purchases"] == stats.purchases
    assert stats.messages["ticket-activity"] > 2 * stats.purchases
    found = Counter(record.topic for record in everything(platform_settings, *SHOP_TOPICS))
    assert dict(found) == shop.stats().messages


def test_repeated_and_contradicting_verdicts_are_told_apart_and_the_first_counts(platform_settings: Settings) -> None:
    seen: Counter[str] = Counter()

    def decide(purchase: PurchaseRequested) -> list[Action]:
        seen["purchases"] += 1
        if seen["purchases"] % 3 == 0:
            return ["decline", "approve"]
        return ["approve", "approve"] if seen["purchases"] % 3 == 1 else ["approve"]

    with Answerer(platform_settings, decide), open_shop(platform_settings, mix=NO_FRAUD) as shop:
        wait_for(lambda: shop.stats().purchases >= 60)
        shop.end_load()
        shop.drain(120)
        n = shop.stats().purchases
        wait_for(lambda: shop.stats().duplicated + shop.stats().conflicting >= n * 2 // 3)
        stats = shop.stats()
    assert stats.conflicting == n // 3
    assert stats.duplicated == (n + 2) // 3
    assert stats.missing == 0
    assert stats.outcomes["refused"] == n // 3


def test_a_launched_attack_is_reported_with_who_was_caught(platform_settings: Settings) -> None:
    shop: RealtimeShop

    def decide(purchase: PurchaseRequested) -> list[Action]:
        return ["decline" if shop.truth.transactions[purchase.transaction_id].is_fraud else "approve"]

    with open_shop(platform_settings, mix=NO_FRAUD) as shop, Answerer(platform_settings, decide):
        number = shop.launch_attack("card-testing")
        wait_for(lambda: shop.stats().attacks[0].purchases >= 10)
        with pytest.raises(ConfigurationError, match="no attack 'sneezing'"):
            shop.launch_attack("sneezing")
        shop.end_load()
        assert shop.drain(120)
        stats = shop.stats()
        with pytest.raises(ConfigurationError, match="closed"):
            shop.launch_attack("card-testing")
    (report,) = stats.attacks
    assert report.number == number and report.pattern == "card-testing"
    assert len(report.caught) == report.purchases >= 10 and not report.missed
    assert stats.recall == stats.precision == 1.0


def test_without_verdicts_the_shop_follows_its_own_rule(platform_settings: Settings) -> None:
    with open_shop(platform_settings, rules=IMPATIENT) as shop:
        wait_for(lambda: shop.stats().approved_without_verdict > 5 and shop.stats().held_without_verdict > 5)
        shop.end_load()
        assert not shop.drain(0.2)
        assert shop.stats().missing == shop.stats().purchases


def test_a_machine_that_falls_behind_is_noticed_sends_late_and_leaves_nothing_out(platform_settings: Settings) -> None:
    slow = threading.Event()
    slow.set()

    def work(_: PurchaseRequested) -> None:
        if slow.is_set():
            time.sleep(0.1)

    with Answerer(platform_settings, lambda _: ["approve"]), open_shop(platform_settings, on_purchase=work) as shop:
        wait_for(lambda: shop.stats().seconds_behind >= 2)
        behind = shop.stats()
        assert not behind.holds_the_rate and behind.pacing_error_ms["p99"] > 500
        slow.clear()
        wait_for(lambda: shop.stats().holds_the_rate)
        wait_for(lambda: all_that_was_due(shop.stats()))
        caught_up = shop.stats()
    assert not caught_up.held_the_rate
    assert caught_up.purchases > 1.5 * behind.purchases


def test_truth_never_travels(platform_settings: Settings) -> None:
    with Answerer(platform_settings, lambda _: ["approve"]), open_shop(platform_settings) as shop:
        shop.launch_attack("account-takeover")
        shop.launch_attack("card-testing")
        wait_for(lambda: shop.stats().purchases >= 100)
        shop.end_load()
        shop.drain(120)
    words = (b"card-testing", b"account-takeover", b"stolen-card", b"honest", b"friendly", b"look_alike", b"elasticity")
    for record in everything(platform_settings, *SHOP_TOPICS):
        assert record.value is not None
        assert not any(word in record.value for word in words)


def test_two_runs_of_one_seed_share_people_and_no_message(platform_settings: Settings) -> None:
    for _ in range(2):
        with open_shop(platform_settings, rules=IMPATIENT) as shop:
            wait_for(lambda: shop.stats().purchases >= 40)
    purchases = [
        codec.decode(record.value, PurchaseRequested) for record in everything(platform_settings, "ticket-purchases")
    ]
    assert len({purchase.message_id for purchase in purchases}) == len(purchases)
    assert len({purchase.transaction_id for purchase in purchases}) == len(purchases)
    assert {purchase.event_id for purchase in purchases} <= set(World(4, datetime.now(UTC)).by_id)


def test_broken_messages_go_out_as_they_are(platform_settings: Settings) -> None:
    broken = samples(1)
    with open_shop(platform_settings, mix=NO_FRAUD) as shop:
        for topic, key, payload, _ in broken:
            shop.publish_raw(topic, key, payload)
    payloads = [record.value for record in everything(platform_settings, *SHOP_TOPICS)]
    assert all(payload in payloads or (not payload and None in payloads) for _, _, payload, _ in broken)


def test_kafka_away_is_one_sentence(tmp_path: Path) -> None:
    settings = Settings(kafka_bootstrap="127.0.0.1:1", data_dir=tmp_path)
    shop = RealtimeShop(World(4, END), settings, 10, 4, ask_quotes=False)
    with pytest.raises(BrokerUnavailable, match=r"No Kafka broker answers on 127\.0\.0\.1:1"):
        shop.start()
    shop.stop()


def test_a_missing_topic_is_one_sentence(platform_settings: Settings) -> None:
    delete_topics(platform_settings, [topics.FRAUD_VERDICTS.name])
    shop = RealtimeShop(World(4, END), platform_settings, 10, 4, ask_quotes=False)
    with pytest.raises(ConfigurationError, match="fraud-verdicts does not exist"):
        shop.start()
    shop.stop()


def test_sigterm_ends_at_a_message_boundary_with_everything_delivered(
    platform_settings: Settings, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.jsonl"
    environment = {**os.environ, "IBOOK_KAFKA_BOOTSTRAP": platform_settings.kafka_bootstrap, "IBOOK_SERVING_PORT": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", "realtime", "--rate", "30", "--duration", "100", "--truth", str(truth)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: len(everything(platform_settings, "ticket-purchases")) > 30)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, output
    assert "purchases in" in output and "without a quote" in output
    transactions, _ = read_truth(truth)
    purchases = [codec.decode(r.value, PurchaseRequested) for r in everything(platform_settings, "ticket-purchases")]
    assert {purchase.transaction_id for purchase in purchases} == set(transactions)
