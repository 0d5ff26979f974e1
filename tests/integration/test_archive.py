"""The archive against a real Kafka: each row once, whatever happens to the sink."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ibook import codec
from ibook.edges import archive_sink, kafka_admin
from ibook.edges.archive import Archive, archive_of, archive_to_the_end
from ibook.edges.archive_sink import ArchiveSink
from ibook.edges.archive_writer import Limits
from ibook.edges.kafka import extent, producer
from ibook.entities import EntityUpdates, Watermark, pack, source_slot, unpack, update_of
from ibook.errors import BrokerUnavailable, ConfigurationError
from ibook.messages import VerdictEvidence
from ibook.settings import Settings
from ibook.topics import ENTITY_UPDATES, FRAUD_EVIDENCE
from infra.local.processes import free_port
from tests.evidence import evidence_for
from tests.traffic import purchase, read_all
from tests.workers import WorkerProcess, environment, wait_until

NOW_MS = int(time.time() * 1000)
UPDATES, EVIDENCE = ENTITY_UPDATES.name, FRAUD_EVIDENCE.name


@pytest.fixture
def settings(platform_settings: Settings) -> Iterator[Settings]:
    yield platform_settings


def publish_updates(settings: Settings, count: int, *, seed: int = 0, partitions: int | None = None) -> int:
    """Records of one to five updates and now and then only a watermark, over all partitions; how many updates."""
    rng, client, sent = Random(seed), producer(settings), 0
    now = datetime.now(UTC)
    while sent < count:
        marks = [Watermark(source_slot("ticket-purchases", 0), sent, 0)]
        updates = [
            update_of(purchase(f"{seed}-{sent + n}", now=now), source_slot("ticket-purchases", 0), sent + n, NOW_MS)
            for n in range(rng.choice((0, 1, 5)))
        ]
        sent += len(updates)
        value = pack(EntityUpdates(updates, marks))
        client.produce(UPDATES, value, partition=rng.randrange(partitions or settings.partitions))
        client.poll(0)
    assert client.flush(120) == 0
    return sent


def publish_evidence(settings: Settings, count: int) -> None:
    client = producer(settings)
    for n in range(count):
        client.produce(EVIDENCE, codec.encode(evidence_for(purchase(f"t-{n}"), n)), b"t-%d" % n)
    assert client.flush(120) == 0


def logged(settings: Settings) -> Counter[tuple[int, int, str]]:
    """Partition, offset and message of every update in the topic."""
    return Counter(
        (partition, offset, update.fact.message_id)
        for partition, offset, _, value in read_all(settings, UPDATES)
        for update in unpack(value or b"").updates
    )


def archived(settings: Settings) -> Counter[tuple[int, int, str]]:
    """The same of the archive."""
    found = archive_of(settings).updates()
    return Counter((each.partition, each.offset, each.update.fact.message_id) for each in found)


def ends(settings: Settings, topic: str) -> dict[int, int]:
    """The end of every partition that has anything."""
    with ArchiveSinkless(settings) as consumer:
        return consumer.ends(topic)


class ArchiveSinkless:
    """A consumer that only looks."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = archive_sink._consumer(settings)

    def __enter__(self) -> "ArchiveSinkless":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def ends(self, topic: str) -> dict[int, int]:
        numbers = self._consumer.list_topics(topic, timeout=60).topics[topic].partitions
        return {n: extent(self._consumer, TopicPartition(topic, n), 60)[1] for n in numbers}


def test_what_was_published_is_archived_once_and_the_positions_are_the_ends(settings: Settings) -> None:
    sent = publish_updates(settings, 3000)
    publish_evidence(settings, 50)
    assert archive_to_the_end(settings) == sent + 50
    assert archive_to_the_end(settings) == 0
    archive = archive_of(settings)
    assert archived(settings) == logged(settings)
    assert archive.next_offsets(UPDATES) == ends(settings, UPDATES)
    assert archive.next_offsets(EVIDENCE) == ends(settings, EVIDENCE)
    evidence = list(archive.evidence())
    assert {each.transaction_id for each in evidence} == {f"t-{n}" for n in range(50)}
    assert len(evidence) == 50
    topic = sorted(read_all(settings, EVIDENCE), key=lambda row: row[:2])
    assert evidence == [codec.decode(value, VerdictEvidence) for _, _, _, value in topic]


def test_updates_come_in_the_order_of_the_log(settings: Settings) -> None:
    publish_updates(settings, 500)
    archive_to_the_end(settings)
    found = list(archive_of(settings).updates())
    assert [each[:2] for each in found] == sorted(each[:2] for each in found)
    by_record: dict[tuple[int, int], list[str]] = {}
    for each in found:
        by_record.setdefault((each.partition, each.offset), []).append(each.update.fact.message_id)
    for partition, offset, _, value in read_all(settings, UPDATES):
        expected = [update.fact.message_id for update in unpack(value or b"").updates]
        assert by_record.get((partition, offset), []) == expected
    one = list(archive_of(settings).updates(partition=2))
    assert one == [each for each in found if each.partition == 2]


def test_rows_of_a_few_entities_are_found(settings: Settings) -> None:
    client = producer(settings)
    for n in range(100):
        update = update_of(purchase(f"t-{n}", key=str(n % 10)), source_slot("ticket-purchases", 0), n, NOW_MS)
        client.produce(UPDATES, pack(EntityUpdates([update], [])), partition=n % 4)
    assert client.flush(120) == 0
    archive_to_the_end(settings)
    archive = archive_of(settings)
    keys = {"card-3", "card-7", "nobody"}
    assert list(archive.updates_of("card", keys)) == [
        each for each in archive.updates() if each.update.fact.ids["card"] in keys
    ]
    assert len(list(archive.updates_of("card", keys))) == 20


def test_a_killed_sink_loses_and_doubles_nothing(settings: Settings) -> None:
    sink = WorkerProcess("updates-to-archive", settings)
    rng = Random(7)
    for seed in range(4):
        publish_updates(settings, 4000, seed=seed)
        sink.start()
        publish_updates(settings, 4000, seed=seed + 100)
        time.sleep(rng.uniform(0.0, 3.0))  # somewhere: before, while or after files are written
        sink.kill()
    sink.start()
    wait_until(lambda: archive_of(settings).next_offsets(UPDATES) == ends(settings, UPDATES), 30, "the end")
    assert sink.stop() == 0
    assert archived(settings) == logged(settings)
    assert not list((settings.data_dir / "archive").rglob("*.tmp"))


def test_where_to_go_on_is_told_by_the_files_alone(settings: Settings) -> None:
    publish_updates(settings, 1000)
    archive_to_the_end(settings)
    (settings.data_dir / "archive" / "positions.json").unlink()
    sent = publish_updates(settings, 1000, seed=1)
    assert archive_to_the_end(settings) == sent, "nobody's commits are asked"
    assert archived(settings) == logged(settings)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    groups = admin.list_consumer_groups(request_timeout=60).result()
    assert "updates-to-archive" not in {group.group_id for group in groups.valid}


def test_sigterm_writes_what_is_in_memory(settings: Settings) -> None:
    sink = WorkerProcess("updates-to-archive", settings).start()
    publish_updates(settings, 2000)
    wait_until(lambda: _lag(settings) == 0 or any(_files(settings)), 20, "the sink to have read something")
    assert sink.stop() == 0
    first = sum(archived(settings).values())
    assert first > 0
    assert archive_to_the_end(settings) == sum(logged(settings).values()) - first
    assert archived(settings) == logged(settings)


def _files(settings: Settings) -> list[Path]:
    return list((settings.data_dir / "archive").rglob("*.parquet"))


def _lag(settings: Settings) -> int:
    known = archive_of(settings).next_offsets(UPDATES)
    return sum(end - known.get(partition, 0) for partition, end in ends(settings, UPDATES).items())


def test_soon_after_traffic_ends_everything_is_there(settings: Settings) -> None:
    sink = WorkerProcess("updates-to-archive", settings).start()
    publish_updates(settings, 200)
    publish_evidence(settings, 5)
    wait_until(lambda: _lag(settings) == 0 and len(list(archive_of(settings).evidence())) == 5, 30, "an idle flush")
    assert sink.stop() == 0


def test_a_second_sink_is_refused_in_one_sentence(settings: Settings) -> None:
    with ArchiveSink(settings):
        with pytest.raises(ConfigurationError, match="is being written by another process"):
            archive_to_the_end(settings)
        command = [sys.executable, "-m", "streams", "updates-to-archive"]
        ended = subprocess.run(command, env=environment(settings), capture_output=True, text=True, timeout=240)
    assert ended.returncode == 2
    assert (
        ended.stderr == f"The archive in {settings.data_dir.absolute()}/archive is being written by another process.\n"
    )


def test_transactions_leave_gaps_that_do_not_matter(settings: Settings) -> None:
    client = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap, "transactional.id": "tests-archive", "log_level": 0}
    )
    client.init_transactions(120)
    for n, keep in enumerate((True, False, True)):
        client.begin_transaction()
        update = update_of(purchase(f"t-{n}"), source_slot("ticket-purchases", 0), n, NOW_MS)
        client.produce(UPDATES, pack(EntityUpdates([update], [])), partition=0)
        client.flush(120)
        client.commit_transaction(120) if keep else client.abort_transaction(120)
    wait_until(lambda: ends(settings, UPDATES)[0] == 6, 20, "the last marker: it is written after its transaction")
    assert archive_to_the_end(settings) == 2
    found = [each.update.fact.message_id for each in archive_of(settings).updates()]
    assert found == ["t-0", "t-2"]
    assert archive_of(settings).next_offsets(UPDATES)[0] == 6
    assert archive_to_the_end(settings) == 0


def test_what_kafka_dropped_is_counted_and_the_rest_archived(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    from ibook import metrics

    publish_updates(settings, 300, partitions=1)
    archive_to_the_end(settings)
    known = archive_of(settings).next_offsets(UPDATES)[0]
    publish_updates(settings, 300, seed=1, partitions=1)
    _delete_before(settings, known + 10)
    gap = metrics.ARCHIVE_GAP.labels(UPDATES)._value.get()
    archive_to_the_end(settings)
    assert metrics.ARCHIVE_GAP.labels(UPDATES)._value.get() == gap + 10
    offsets = {offset for _, offset, _ in archived(settings)}
    assert not offsets & set(range(known, known + 10))
    assert {key for key in archived(settings) if key[1] >= known} == set(logged_from(settings, known + 10))
    assert [each[:3] for each in archive_of(settings).holes(UPDATES)] == [(0, known, known + 9)]


def test_starts_without_rows_leave_nothing_out(settings: Settings) -> None:
    client = producer(settings)
    for seed in range(3):
        for partition in range(settings.partitions):
            client.produce(UPDATES, pack(EntityUpdates([], [Watermark(0, 1, 1)])), partition=partition)
        assert client.flush(120) == 0
        assert archive_to_the_end(settings) == 0
        if seed == 1:
            publish_updates(settings, 100, seed=seed)
            assert archive_to_the_end(settings) > 0
    assert archive_of(settings).holes(UPDATES) == []
    assert archive_of(settings).next_offsets(UPDATES) == ends(settings, UPDATES)


def logged_from(settings: Settings, offset: int) -> Counter[tuple[int, int, str]]:
    with ArchiveSinkless(settings) as looking:
        consumer = looking._consumer
        end = looking.ends(UPDATES)[0]
        consumer.assign([TopicPartition(UPDATES, 0, offset)])
        found: Counter[tuple[int, int, str]] = Counter()
        while True:
            for message in consumer.consume(1000, 0.2):
                if message.error():
                    continue
                value = message.value()
                assert isinstance(value, bytes)
                for update in unpack(value).updates:
                    found[0, int(message.offset() or 0), update.fact.message_id] += 1
            if consumer.position([TopicPartition(UPDATES, 0)])[0].offset >= end:
                return found


def _delete_before(settings: Settings, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    for future in admin.delete_records([TopicPartition(UPDATES, 0, offset)]).values():
        future.result(120)


def step_until(sink: ArchiveSink, offset: int) -> None:
    deadline = time.monotonic() + 120
    while sink._writer.next_offset(UPDATES, 0) != offset:
        assert time.monotonic() < deadline
        sink.step()


def test_a_sink_that_kafka_overtakes_while_it_reads_goes_on(settings: Settings) -> None:
    from ibook import metrics

    gap = metrics.ARCHIVE_GAP.labels(UPDATES)._value.get()
    publish_updates(settings, 100, partitions=1)
    with ArchiveSink(settings, Limits(idle_seconds=0.0)) as sink:
        sink.assign()
        end = ends(settings, UPDATES)[0]
        step_until(sink, end)
        sink._consumer.pause([TopicPartition(UPDATES, 0)])
        publish_updates(settings, 200, seed=1, partitions=1)
        _delete_before(settings, end + 20)
        sink._consumer.seek(TopicPartition(UPDATES, 0, end))
        sink._consumer.resume([TopicPartition(UPDATES, 0)])
        last = ends(settings, UPDATES)[0]
        step_until(sink, last)
        sink.to_the_end()
    assert metrics.ARCHIVE_GAP.labels(UPDATES)._value.get() == gap + 20
    assert {key for key in archived(settings) if key[1] >= end} == set(logged_from(settings, end + 20))


def test_a_topic_made_anew_is_not_taken_for_the_archived_one(settings: Settings) -> None:
    publish_updates(settings, 100)
    archive_to_the_end(settings)
    kafka_admin.delete_topics(settings, [UPDATES])
    wait_until(lambda: UPDATES not in kafka_admin.list_topics(settings), 10, "the topic to be gone")
    kafka_admin.apply_topics(settings)
    with pytest.raises(ConfigurationError, match=r"is not the one whose archive is in .*: move that folder away"):
        archive_to_the_end(settings)


def test_a_missing_topic_and_an_absent_broker_are_one_sentence_each(settings: Settings) -> None:
    kafka_admin.delete_topics(settings, [EVIDENCE])
    with pytest.raises(ConfigurationError, match="fraud-evidence does not exist"):
        archive_to_the_end(settings)
    away = settings.model_copy(update={"kafka_bootstrap": f"127.0.0.1:{free_port()}"})
    with pytest.raises(BrokerUnavailable, match="No Kafka broker answers on"):
        archive_to_the_end(away)


def test_what_fails_a_check_is_archived_counted_and_listed(settings: Settings) -> None:
    from ibook.edges.archive_checks import read_rejects

    client = producer(settings)
    wrong = evidence_for(purchase("wrong"), 1, score=3.0)
    client.produce(EVIDENCE, codec.encode(wrong), b"wrong", partition=1)
    client.produce(EVIDENCE, b"no json", b"broken", partition=1)
    client.produce(UPDATES, b"\xc1", partition=1)
    assert client.flush(120) == 0
    assert archive_to_the_end(settings) == 3
    archive = archive_of(settings)
    assert [each.transaction_id for each in archive.evidence()] == ["wrong"]
    assert list(archive.updates()) == []
    payloads = [pq.read_table(path)["payload"].to_pylist() for path in archive.files(EVIDENCE)]
    assert payloads == [[codec.encode(wrong), b"no json"]]
    rejects = {(each.topic, each.check): each for each in read_rejects(settings.data_dir / "archive")}
    assert rejects[EVIDENCE, "score:outside_0_to_1"].row["transaction_id"] == "wrong"
    assert rejects[EVIDENCE, "transaction_id:not_nullable"].row["offset"] == 1
    assert (UPDATES, "kind:not_nullable") in rejects


def test_a_reader_beside_a_busy_sink_sees_no_row_twice(settings: Settings) -> None:
    sink = WorkerProcess("updates-to-archive", settings).start()
    try:
        for seed in range(5):
            publish_updates(settings, 500, seed=seed)
            time.sleep(0.3)
            found = Counter(
                (each.partition, each.offset, each.update.offset) for each in archive_of(settings).updates()
            )
            assert not found or max(found.values()) == 1
    finally:
        sink.send(signal.SIGTERM)
        sink.stop()


def test_the_folder_is_read_without_any_kafka(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    assert list(archive.updates()) == []
    assert list(archive.evidence()) == []
    assert archive.next_offsets(UPDATES) == {}
