"""The consumers' helper on a real broker: each transaction once, whatever lies on the topic and whoever dies."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from random import Random

import pytest
from confluent_kafka import Consumer, TopicPartition

from ibook import codec
from ibook.edges.first_verdicts import FirstVerdicts
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.messages import Action, FraudVerdict
from ibook.settings import Settings
from ibook.topics import FRAUD_VERDICTS
from tests.workers import wait_until

TOPIC = FRAUD_VERDICTS.name
QUICK = {"session.timeout.ms": 60_000, "heartbeat.interval.ms": 500, "fetch.wait.max.ms": 50}
"""Who leaves says so, and who must wait for the processor is not taken for dead."""


def put(settings: Settings, verdicts: Iterable[tuple[str, Action]], *, partition: int = 0) -> None:
    """Write verdicts into a partition, in order."""
    publish(
        producer(settings),
        [
            Outgoing(topic=TOPIC, key=name.encode(), partition=partition, value=codec.encode(verdict(name, action)))
            for name, action in verdicts
        ],
    )


def verdict(transaction_id: str, action: Action) -> FraudVerdict:
    return FraudVerdict(
        message_id=f"verdict-{transaction_id}-{action}", occurred_at=datetime.now(UTC), transaction_id=transaction_id,
        action=action, score_band="low", posture="normal", model_version="1",
    )  # fmt: skip


def member(settings: Settings, *, remembered: int = 1000) -> FirstVerdicts:
    return FirstVerdicts(settings.kafka_bootstrap, "checkout", remembered=remembered, options=QUICK)


def taken(verdicts: FirstVerdicts, count: int) -> list[tuple[str, Action]]:
    """The next first verdicts, all of them handled but the last."""
    found: list[tuple[str, Action]] = []

    def has_all() -> bool:
        if len(found) < count and (verdict := verdicts.poll(0.1)) is not None:
            found.append((verdict.transaction_id, verdict.action))
        return len(found) == count

    wait_until(has_all, 30, f"{count} verdicts")
    return found


def nothing_more(verdicts: FirstVerdicts) -> bool:
    """Whether the group has read all there is and found no other first verdict; the last one counts as handled."""
    return all(verdicts.poll(0.2) is None for _ in range(3))


def committed(settings: Settings, partition: int = 0) -> int:
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "checkout"})
    try:
        return int(consumer.committed([TopicPartition(TOPIC, partition)], timeout=60)[0].offset)
    finally:
        consumer.close()


def test_repeats_and_contradictions_are_passed_over_and_counted(platform_settings: Settings) -> None:
    put(platform_settings, [("a", "decline"), ("b", "approve"), ("a", "decline"), ("a", "approve"), ("c", "review")])
    publish(producer(platform_settings), [Outgoing(topic=TOPIC, key=b"?", partition=0, value=b"no verdict")])
    put(platform_settings, [("d", "approve")])
    with member(platform_settings) as verdicts:
        assert taken(verdicts, 4) == [("a", "decline"), ("b", "approve"), ("c", "review"), ("d", "approve")]
        assert nothing_more(verdicts)
        assert (verdicts.repeats, verdicts.conflicts) == (1, 1)


def test_a_second_verdict_that_comes_after_a_restart_is_passed_over(platform_settings: Settings) -> None:
    put(platform_settings, [("a", "decline"), ("b", "approve")])
    with member(platform_settings) as verdicts:
        assert taken(verdicts, 2) == [("a", "decline"), ("b", "approve")]
    assert committed(platform_settings) == 2
    put(platform_settings, [("a", "approve"), ("b", "approve"), ("c", "approve")])
    with member(platform_settings) as again:
        assert taken(again, 1) == [("c", "approve")]
        assert (again.repeats, again.conflicts) == (1, 1)


def test_what_lies_further_back_than_is_remembered_counts_as_new(platform_settings: Settings) -> None:
    put(platform_settings, [("old", "approve"), ("newer", "approve")])
    with member(platform_settings, remembered=1) as verdicts:
        taken(verdicts, 2)
    put(platform_settings, [("newer", "decline"), ("old", "decline")])
    with member(platform_settings, remembered=1) as again:
        assert taken(again, 1) == [("old", "decline")]


def test_a_verdict_whose_handling_fails_is_given_again(platform_settings: Settings) -> None:
    put(platform_settings, [("a", "approve"), ("b", "decline")])
    with pytest.raises(OSError, match="orders"), member(platform_settings) as verdicts:
        for each in verdicts:
            if each.transaction_id == "b":
                raise OSError("orders can't be written")
    with member(platform_settings) as again:
        assert taken(again, 1) == [("b", "decline")]


CRASHES = """
import os, sys
from ibook.edges.first_verdicts import FirstVerdicts
verdicts = FirstVerdicts(sys.argv[1], "checkout", options={"session.timeout.ms": 6000})
for verdict in verdicts:
    print(verdict.transaction_id, verdict.action, flush=True)
    if verdict.transaction_id == "b":
        os._exit(9)
"""


def test_after_a_crash_between_handling_and_commit_the_same_verdict_is_given_again(platform_settings: Settings) -> None:
    put(platform_settings, [("a", "approve"), ("b", "decline"), ("b", "approve"), ("c", "approve")])
    command = [sys.executable, "-c", CRASHES, platform_settings.kafka_bootstrap]
    crashed = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (crashed.returncode, crashed.stdout.split("\n")[:2]) == (9, ["a approve", "b decline"])
    with member(platform_settings) as verdicts:
        given = taken(verdicts, 3) if committed(platform_settings) < 1 else taken(verdicts, 2)
        assert given[-2:] == [("b", "decline"), ("c", "approve")]
        assert nothing_more(verdicts)
        assert verdicts.conflicts == 1


def test_a_verdict_is_committed_without_waiting_for_the_next(platform_settings: Settings) -> None:
    put(platform_settings, [("a", "approve")])
    with member(platform_settings) as verdicts:
        taken(verdicts, 1)
        assert verdicts.poll(0.0) is None
        wait_until(lambda: committed(platform_settings) == 1, 20, "the commit")


def test_partitions_move_and_every_transaction_is_still_given_once(platform_settings: Settings) -> None:
    names = [f"t-{i}" for i in range(400)]
    given: list[tuple[str, Action]] = []
    lock, stop = threading.Lock(), threading.Event()
    one = Handler(platform_settings, given, lock, stop)
    two = Handler(platform_settings, given, lock, stop)
    put_everywhere(platform_settings, names[:200], "approve")
    try:
        one.start()
        wait_until(lambda: len(given) >= 200, 30, "the first member to have all")
        two.start()
        put_everywhere(platform_settings, names[200:], "approve")
        wait_until(lambda: len(given) >= 400, 30, "all transactions")
        wait_until(lambda: two.has_partitions(), 30, "the second member to hold partitions")
        put_everywhere(platform_settings, names, "decline")
        wait_until(lambda: one.conflicts() + two.conflicts() >= 400, 30, "the contradictions to be read")
        wait_until(lambda: two.conflicts() > 0, 30, "the second member to know what the first had handled")
    finally:
        stop.set()
        one.join(60)
        if two.ident is not None:
            two.join(60)
    assert Counter(given) == Counter((name, "approve") for name in names)


def put_everywhere(settings: Settings, names: list[str], action: Action) -> None:
    """Each transaction into a partition of its own choice, the same each time."""
    for partition in range(settings.partitions):
        mine = [name for name in names if Random(name).randrange(settings.partitions) == partition]
        put(settings, [(name, action) for name in mine], partition=partition)


class Handler(threading.Thread):
    """A member of the group that notes what it is given."""

    def __init__(
        self, settings: Settings, given: list[tuple[str, Action]], lock: threading.Lock, stop: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self._settings, self._given, self._lock, self._stop_asked = settings, given, lock, stop
        self._verdicts: FirstVerdicts | None = None

    def run(self) -> None:
        with member(self._settings) as verdicts:
            self._verdicts = verdicts
            while not self._stop_asked.is_set():
                if (each := verdicts.poll(0.1)) is not None:
                    with self._lock:
                        self._given.append((each.transaction_id, each.action))

    def conflicts(self) -> int:
        return self._verdicts.conflicts if self._verdicts else 0

    def has_partitions(self) -> bool:
        return bool(self._verdicts and self._verdicts.partitions)
