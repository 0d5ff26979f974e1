"""Purchases in, verdicts out, on real Kafka and Redis with real worker processes."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from redis import Redis

from ibook import codec
from ibook import messages as m
from ibook.clock import SystemClock
from ibook.edges.dead_letters import DeadLetters, redrive
from ibook.edges.kafka import producer
from ibook.entities import EntityUpdate, EntityUpdates, unpack
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES
from ibook.settings import Settings
from ibook.states import StoredState, encode_state
from ibook.topics import TICKET_PURCHASES
from tests.traffic import missing, publish, purchase, purchases, read_all, verdicts
from tests.workers import WorkerProcess, environment, running_workers, wait_until

Workers = dict[str, WorkerProcess]
NAMES = ("activity-to-entities", "entities-to-features", "purchases-to-verdicts")


@pytest.fixture(scope="module")
def workers(shared_platform_settings: Settings) -> Iterator[Workers]:
    """The three workers of the verdict path."""
    with running_workers(shared_platform_settings, NAMES) as running:
        yield running


def evidence(settings: Settings) -> dict[str, m.VerdictEvidence]:
    found: dict[str, m.VerdictEvidence] = {}
    for _, _, _, value in read_all(settings, "fraud-evidence"):
        each: m.VerdictEvidence = codec.decode(value, m.VerdictEvidence)
        found[each.transaction_id] = each
    return found


def answered(settings: Settings, sent: list[m.PurchaseRequested], seconds: float = 60) -> None:
    wait_until(lambda: not missing(sent, verdicts(settings)), seconds, f"{len(sent)} verdicts")


def test_every_purchase_gets_one_verdict_with_evidence(shared_platform_settings: Settings, workers: Workers) -> None:
    sent = purchases("plain", 300)
    publish(shared_platform_settings, sent)
    answered(shared_platform_settings, sent)
    found = verdicts(shared_platform_settings)
    assert all(len(found[each.transaction_id]) == 1 for each in sent)
    proof = evidence(shared_platform_settings)
    assert all(proof[each.transaction_id].action == found[each.transaction_id][0].action for each in sent)


def test_a_verdict_lies_in_the_partition_of_its_purchase(shared_platform_settings: Settings, workers: Workers) -> None:
    sent = purchases("partition", 50, seed=1)
    publish(shared_platform_settings, sent)
    answered(shared_platform_settings, sent)
    bought = {
        codec.decode(value, m.PurchaseRequested).transaction_id: partition
        for partition, _, _, value in read_all(shared_platform_settings, "ticket-purchases")
    }
    for partition, _, key, _ in read_all(shared_platform_settings, "fraud-verdicts"):
        assert key is not None
        assert bought[key.decode()] == partition


def test_a_burst_on_one_card_is_counted_at_full_speed(shared_platform_settings: Settings, workers: Workers) -> None:
    start = datetime.now(UTC) - timedelta(seconds=10)
    sent = [purchase(f"burst-{i}", key="burst", now=start + timedelta(milliseconds=i)) for i in range(20)]
    publish(shared_platform_settings, sent)
    answered(shared_platform_settings, sent)
    proof = evidence(shared_platform_settings)
    attempts = [proof[each.transaction_id].features[FEATURE_NAMES.index("card_attempts_1m")] for each in sent]
    assert attempts == [float(i + 1) for i in range(20)]


def test_a_purchase_published_twice_is_answered_once(shared_platform_settings: Settings, workers: Workers) -> None:
    once = purchase("twice", key="twice")
    publish(shared_platform_settings, [once, once])
    after = purchase("after-twice", key="twice")
    publish(shared_platform_settings, [after])
    answered(shared_platform_settings, [once, after])
    assert len(verdicts(shared_platform_settings)["twice"]) == 1


def test_a_known_transaction_with_another_payload_is_a_dead_letter(
    shared_platform_settings: Settings, workers: Workers
) -> None:
    first = purchase("conflict", key="conflict")
    publish(shared_platform_settings, [first, purchase("conflict", key="conflict", amount_minor=999_999)])
    wait_until(lambda: "conflict" in reasons(shared_platform_settings), 30, "a dead letter")
    assert len(verdicts(shared_platform_settings)["conflict"]) == 1


def reasons(settings: Settings) -> list[str]:
    letters = [codec.decode_letters(value) for _, _, _, value in read_all(settings, "dead-letters")]
    return [letter.reason for letter in letters if isinstance(letter, m.DeadLetter)]


def test_unreadable_purchases_go_to_dead_letters_and_the_stream_goes_on(
    shared_platform_settings: Settings, workers: Workers
) -> None:
    before = Counter(reasons(shared_platform_settings))
    client = producer(shared_platform_settings)
    naive = codec.encode(purchase("naive", key="naive")).replace(b"Z", b"")
    for payload in (b"{", b"null", naive, b'{"type":"purchase_requested.v9"}', b"x" * 70_000, b"\xff\xfe"):
        client.produce(TICKET_PURCHASES.name, payload, b"card-bad")
    client.produce(TICKET_PURCHASES.name, b"{", b"card-bad", headers=[("transaction_id", b"unreadable-1")])
    client.produce(TICKET_PURCHASES.name, b"{", b"k" * 900_000)
    assert client.flush(120) == 0
    good = purchase("good-after-bad", key="bad")
    publish(shared_platform_settings, [good])
    answered(shared_platform_settings, [good])
    wait_until(lambda: len(reasons(shared_platform_settings)) >= before.total() + 8, 30, "eight dead letters")
    assert set(Counter(reasons(shared_platform_settings)) - before) == {"malformed", "invalid", "oversize"}
    wait_until(lambda: "unreadable-1" in verdicts(shared_platform_settings), 30, "the unreadable one's verdict")
    assert verdicts(shared_platform_settings)["unreadable-1"][0].action == "review"


def test_a_redriven_purchase_that_is_still_unreadable_is_refused_again_and_its_attempts_are_counted(
    shared_platform_settings: Settings, workers: Workers
) -> None:
    settings = shared_platform_settings
    client = producer(settings)
    client.produce(TICKET_PURCHASES.name, b"[1", b"card-redriven", headers=[("trace", b"7")])
    assert client.flush(120) == 0
    attempts: list[int] = []
    for attempt in range(settings.redrive_attempts + 1):
        wait_until(lambda attempt=attempt: len(letters_of(settings, b"[1")) > attempt, 30, "a letter")  # type: ignore[misc]
        attempts = [letter.attempt for letter in letters_of(settings, b"[1")]
        done = redriven(settings, letters_of(settings, b"[1")[-1].message_id)
        assert (done["redriven"], done["attempts"]) == ((0, 1) if attempt == settings.redrive_attempts else (1, 0))
    assert attempts == [0, 1, 2, 3]
    last = letters_of(settings, b"[1")[-1]
    assert (last.key, last.headers) == (b"card-redriven", [("trace", b"7"), ("redrive-attempt", b"3")])


def letters_of(settings: Settings, payload: bytes) -> list[m.DeadLetter]:
    found = [codec.decode_letters(value) for _, _, _, value in read_all(settings, "dead-letters")]
    return [each for each in found if isinstance(each, m.DeadLetter) and each.payload == payload]


def redriven(settings: Settings, letter: str) -> Counter[str]:
    with DeadLetters(settings) as letters:
        return Counter(redrive(letters, letters.book().named(letter), settings, SystemClock()).fates)


def test_a_restarted_worker_knows_what_was_answered(shared_platform_settings: Settings, workers: Workers) -> None:
    sent = [purchase(f"known-{i}", key=f"known-{i}") for i in range(20)]
    publish(shared_platform_settings, sent)
    answered(shared_platform_settings, sent)
    workers["purchases-to-verdicts"].kill()
    publish(shared_platform_settings, sent)  # the shop, too, had trouble, and sends everything again
    last = purchase("known-last", key="known-0")
    publish(shared_platform_settings, [last])
    workers["purchases-to-verdicts"].start()
    ends = [purchase(f"known-end-{i}", key=f"known-{i}") for i in range(20)]  # one behind each repeat
    publish(shared_platform_settings, ends)
    answered(shared_platform_settings, [last, *ends])
    found = verdicts(shared_platform_settings)
    assert [len(found[each.transaction_id]) for each in sent] == [1] * 20


def test_a_restarted_worker_counts_what_the_online_store_has_not_seen(
    shared_platform_settings: Settings, workers: Workers
) -> None:
    workers["entities-to-features"].kill()
    before = [purchase(f"unseen-{i}", key="unseen") for i in range(5)]
    publish(shared_platform_settings, before)
    answered(shared_platform_settings, before)
    workers["purchases-to-verdicts"].kill()
    workers["purchases-to-verdicts"].start()
    after = purchase("unseen-after", key="unseen")
    publish(shared_platform_settings, [after])
    answered(shared_platform_settings, [after])
    attempts = evidence(shared_platform_settings)["unseen-after"].features[FEATURE_NAMES.index("card_attempts_1h")]
    workers["entities-to-features"].start()
    assert attempts == 6.0


def test_answered_purchases_that_are_delivered_again_still_count(
    shared_platform_settings: Settings, workers: Workers
) -> None:
    workers["entities-to-features"].kill()
    before = [purchase(f"again-{i}", key="again") for i in range(5)]
    publish(shared_platform_settings, before)
    answered(shared_platform_settings, before)
    workers["purchases-to-verdicts"].kill()
    _rewind(shared_platform_settings, "again-0")  # as if it had been killed before its commit
    workers["purchases-to-verdicts"].start()
    after = purchase("again-after", key="again")
    publish(shared_platform_settings, [after])
    answered(shared_platform_settings, [after])
    attempts = evidence(shared_platform_settings)["again-after"].features[FEATURE_NAMES.index("card_attempts_1h")]
    workers["entities-to-features"].start()
    assert attempts == 6.0
    assert [len(verdicts(shared_platform_settings)[each.transaction_id]) for each in before] == [1] * 5


def _rewind(settings: Settings, transaction_id: str) -> None:
    """Commit the offset of a purchase for the verdict workers; waits until the dead one's session has expired."""
    [(partition, offset)] = [
        (partition, offset)
        for partition, offset, _, value in read_all(settings, TICKET_PURCHASES.name)
        if value and f'"transaction_id":"{transaction_id}"'.encode() in value
    ]
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    place = ConsumerGroupTopicPartitions(
        "purchases-to-verdicts", [TopicPartition(TICKET_PURCHASES.name, partition, offset)]
    )

    def _committed() -> bool:
        try:
            admin.alter_consumer_group_offsets([place])["purchases-to-verdicts"].result()
        except KafkaException:
            return False
        return True

    wait_until(_committed, 30, "the session of the killed worker to expire")


def _updates(settings: Settings, entity: str, key: str) -> list[EntityUpdate]:
    found = []
    for _, _, _, value in sorted(read_all(settings, "entity-updates"), key=lambda row: (row[0], row[1])):
        record: EntityUpdates = unpack(value or b"")
        found += [u for u in record.updates if entity in u.entities and u.fact.ids[entity] == key]
    return found


def _fold(settings: Settings, entity: str, key: str) -> StoredState:
    """The oracle: all updates of an entity folded from the log."""
    layout = ENTITY_FEATURES[entity].layout  # type: ignore[index]
    stored = StoredState(layout.empty(), [])
    for update in _updates(settings, entity, key):
        layout.fold_stored(stored, update)
    return stored


def test_online_store_equals_a_fold_of_the_log(shared_platform_settings: Settings, workers: Workers) -> None:
    from ibook.edges.online_store import OnlineStore
    from ibook.states import decode_state

    store = OnlineStore(shared_platform_settings)

    def same() -> bool:
        found = store.read_states({"card": ["card-burst"]})["card"][0]
        if found is None:
            return False
        state, expected = decode_state(found), _fold(shared_platform_settings, "card", "card-burst").state
        state.updates_offset = expected.updates_offset
        return encode_state(state) == encode_state(expected)

    wait_until(same, 30, "the online state to equal the fold")


def test_flushed_redis_means_no_features_until_the_store_is_whole_again(
    shared_platform_settings: Settings, workers: Workers
) -> None:
    from ibook.edges.online_store import OnlineStore

    store = OnlineStore(shared_platform_settings)
    with Redis.from_url(shared_platform_settings.redis_url) as client:
        client.flushall()
    wait_until(lambda: None not in store.read_heartbeats(shared_platform_settings.partitions), 30, "heartbeats")
    assert store.read_states({"card": ["card-burst"], "event": ["event-1"]})["card"][0] is not None


def test_verdicts_go_on_without_features_while_redis_is_silent(
    shared_platform_settings: Settings, workers: Workers
) -> None:
    workers["purchases-to-verdicts"].stop()
    hurried = shared_platform_settings.model_copy(update={"feature_read_seconds": 0.25})
    workers["purchases-to-verdicts"] = WorkerProcess("purchases-to-verdicts", hurried).start()
    numbers = count()

    def posture() -> str:
        """Of a new purchase, asked again and again, as the shop would."""
        asked = purchase(f"redis-{next(numbers)}", key="redis")
        publish(shared_platform_settings, [asked])
        answered(shared_platform_settings, [asked])
        return verdicts(shared_platform_settings)[asked.transaction_id][0].posture

    def is_answered_while_redis_is_silent() -> bool:
        with Redis.from_url(shared_platform_settings.redis_url) as client:
            client.execute_command("CLIENT", "PAUSE", 4000, "ALL")
        return posture() == "no_features"

    wait_until(lambda: posture() == "rules_only", 30, "features")  # no model was released here
    wait_until(is_answered_while_redis_is_silent, 30, "a verdict without features")
    wait_until(lambda: posture() == "rules_only", 30, "Redis to answer again")


def test_a_second_worker_of_the_same_name_is_refused(shared_platform_settings: Settings, workers: Workers) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "streams", "activity-to-entities"],
        env=environment(shared_platform_settings),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert second.returncode == 2
    assert "another IBOOK_WORKER_NAME" in second.stderr


def test_workers_stop_cleanly_on_sigterm(shared_platform_settings: Settings, workers: Workers) -> None:
    with ThreadPoolExecutor() as pool:
        assert set(pool.map(WorkerProcess.stop, workers.values())) == {0}
