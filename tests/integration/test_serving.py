"""The price API as a process, with a Kafka that comes, goes and comes back."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ibook.clock import SystemClock
from ibook.codec import decode, encode
from ibook.edges import kafka_admin
from ibook.edges.kafka import BroadcastReader, Outgoing, producer, publish
from ibook.edges.kept_topics import KeptTopics
from ibook.messages import QuoteIssued
from ibook.partitioning import partition_of
from ibook.settings import Settings
from ibook.topics import EVENT_LISTINGS, PRICE_POLICIES, QUOTE_JOURNAL
from infra.local.kafka import LocalKafka
from infra.local.processes import Child, free_port, start, wait_until
from infra.local.state import environment
from serving.journal import KafkaJournal
from tests.integration.test_pricing_workers import listing

pytestmark = pytest.mark.slow


class Broker:
    """A Kafka that can be stopped and started on what it holds."""

    def __init__(self, folder: Path) -> None:
        self._kafka = LocalKafka(folder)
        self._child: Child | None = None
        self.bootstrap = self._kafka.bootstrap

    def start(self) -> None:
        self._child = self._kafka.start()

    def stop(self) -> None:
        if self._child:
            self._child.stop()


class Api:
    """`python -m serving`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.base = f"http://{settings.serving_host}:{settings.serving_port}"
        argv = [sys.executable, "-m", "serving"]
        self.child: Child = start("serving", argv, log=folder / "serving.log", env=environment(settings))

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON; (0, None) while nobody listens."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def quote(self, key: str) -> dict[str, Any]:
        status, body = self.ask("/v1/quotes", {"event_id": "gala", "ticket_type": "stalls", "idempotency_key": key})
        assert status == 200, body
        return body  # type: ignore[no-any-return]

    def status_becomes(self, path: str, status: int) -> bool:
        return wait_until(lambda: self.ask(path)[0] == status, timeout_seconds=150)


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "parts")
    yield broker
    broker.stop()


@pytest.fixture
def api(kafka: Broker, tmp_path: Path) -> Iterator[Api]:
    settings = Settings(kafka_bootstrap=kafka.bootstrap, serving_port=free_port(), data_dir=tmp_path)
    running = Api(settings, tmp_path)
    yield running
    running.child.stop()


def journalled(settings: Settings) -> dict[str, int]:
    """Quote -> partition, as far as the journal has them."""
    with BroadcastReader(settings, QUOTE_JOURNAL.name) as reader:
        entries: list[tuple[QuoteIssued, int]] = [
            (decode(record.value, QuoteIssued), record.partition) for record in reader.load()
        ]
    return {entry.quote_id: partition for entry, partition in entries}


def kept_topics(settings: Settings) -> set[str]:
    """Of which a start without Kafka would know something."""
    path = settings.data_dir / "serving" / f"known-{settings.worker_name}.db"
    kept = KeptTopics(path, settings.partitions, SystemClock()).read()
    return {record.topic for record in kept.records} if kept else set()


def test_prices_are_given_while_kafka_comes_and_goes(kafka: Broker, api: Api) -> None:
    assert api.status_becomes("/healthz", 200)
    status, body = api.ask("/readyz")
    assert (status, body["status"]) == (503, "not ready")
    assert body["degraded"]
    assert api.ask("/v1/events/gala/price")[0] == 503

    kafka.start()
    kafka_admin.apply_topics(api.settings)
    assert api.status_becomes("/startupz", 200)
    assert api.ask("/readyz")[0] == 503
    announced = Outgoing(topic=EVENT_LISTINGS.name, key=b"gala", value=encode(listing("gala")))
    broken = Outgoing(topic=PRICE_POLICIES.name, key=b"gala", value=b"nonsense")
    publish(producer(api.settings), [announced, broken])
    assert api.status_becomes("/readyz", 200)
    assert api.status_becomes("/v1/events/gala/price", 200)
    assert api.ask("/v1/events/nope/price")[0] == 404
    given = [api.quote(f"before-{n}")["quote_id"] for n in range(20)]

    kafka.stop()
    began = time.monotonic()
    given += [api.quote(f"away-{n}")["quote_id"] for n in range(50)]
    assert time.monotonic() - began < 50, "nobody waits for Kafka, not even a second"
    assert wait_until(lambda: "Kafka does not answer" in str(api.ask("/readyz")[1]["degraded"]), timeout_seconds=150)
    assert api.ask("/readyz")[0] == 200

    kafka.start()
    assert wait_until(lambda: set(journalled(api.settings)) == set(given), timeout_seconds=150)
    found = journalled(api.settings)
    assert set(found.values()) == {partition_of("gala", api.settings.partitions)}
    assert datetime.fromisoformat(api.quote("after")["expires_at"]) > datetime.now(UTC)


def test_a_journal_of_other_partitions_than_the_settings_say_makes_the_api_say_so(
    platform_settings: Settings, tmp_path: Path
) -> None:
    settings = platform_settings.model_copy(update={"partitions": 7, "data_dir": tmp_path})
    journal = KafkaJournal(settings)
    journal.start()
    assert wait_until(lambda: "IBOOK_PARTITIONS says 7" in journal.problem(), timeout_seconds=60)
    journal.stop()


def test_prices_go_on_and_quotes_reach_kafka_once_after_a_kill_without_it(
    kafka: Broker, api: Api, tmp_path: Path
) -> None:
    kafka.start()
    kafka_admin.apply_topics(api.settings)
    announced = Outgoing(topic=EVENT_LISTINGS.name, key=b"gala", value=encode(listing("gala")))
    publish(producer(api.settings), [announced])
    assert api.status_becomes("/readyz", 200)
    given = [api.quote(f"before-{n}")["quote_id"] for n in range(20)]
    assert wait_until(lambda: len(journalled(api.settings)) == 20, timeout_seconds=150)
    assert wait_until(lambda: "event-listings" in kept_topics(api.settings), timeout_seconds=150)
    kafka.stop()
    given += [api.quote(f"away-{n}")["quote_id"] for n in range(50)]
    api.child.kill()
    again = Api(api.settings, tmp_path)
    try:
        assert again.status_becomes("/healthz", 200)
        assert wait_until(lambda: again.ask("/readyz")[1]["journal_waiting"] >= 50, timeout_seconds=150)
        assert again.status_becomes("/readyz", 200), "by what the killed one knew"
        since = "Kafka was not read since the start"
        assert wait_until(lambda: since in str(again.ask("/readyz")[1]["degraded"]), timeout_seconds=150)
        assert again.ask("/v1/events/gala/price")[0] == 200
        given += [again.quote(f"restarted-{n}")["quote_id"] for n in range(20)]
        kafka.start()
        assert wait_until(lambda: "Kafka" not in str(again.ask("/readyz")[1]["degraded"]), timeout_seconds=150)
        assert wait_until(lambda: again.ask("/readyz")[1]["journal_waiting"] == 0, timeout_seconds=150)
    finally:
        again.child.stop()
    with BroadcastReader(api.settings, QUOTE_JOURNAL.name) as reader:
        found = [decode(record.value, QuoteIssued).quote_id for record in reader.load()]
    assert sorted(found) == sorted(given)


def run(settings: Settings) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "serving"]
    return subprocess.run(argv, env=environment(settings), capture_output=True, text=True, timeout=240, check=False)


def test_a_port_in_use_is_one_sentence_and_exit_code_two() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run(Settings(serving_port=port))
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == (
        f"The price API can't listen on 127.0.0.1:{port} (set IBOOK_SERVING_PORT): Address already in use.\n"
    )


def test_the_development_secret_is_refused_beyond_this_machine() -> None:
    ended = run(Settings(serving_port=free_port(), serving_host="0.0.0.0"))
    assert (ended.returncode, ended.stderr) == (
        2, "Set IBOOK_QUOTE_SECRET to 32 random characters or more before the price API listens on 0.0.0.0.\n",
    )  # fmt: skip
