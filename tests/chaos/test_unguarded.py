"""Why the guards are there: Faust without them loses or doubles messages when partitions move.

The day the unguarded half of this fails, upstream has mended it (faust-streaming/faust, issue 596) and
docs/adr/0004-quiesce-and-watchdog.md is to be looked at again.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer

from ibook.edges.kafka import Outgoing, producer, publish
from ibook.edges.kafka_admin import apply_topics
from ibook.settings import Settings
from ibook.topics import Topic, changelog
from tests.chaos.unguarded import HANDLED, INPUT, NAME
from tests.traffic import read_all
from tests.workers import WorkerProcess, wait_until

pytestmark = pytest.mark.timeout(300)

TOPICS = (
    *(Topic(name=name, message=None, key="", written_by="tests", read_by="tests") for name in (INPUT, HANDLED)),
    changelog(NAME, "counts"),
)
KEYS, BACKLOG, BLOCK, MOVES = 500, 3_000, 10, 3
DRAINED_SECONDS = 150.0


@contextmanager
def flowing(settings: Settings) -> Iterator[None]:
    """A backlog, so that much has been fetched when partitions move, and more all the time."""
    stop = threading.Event()

    def _publish(client: Producer, count: int) -> None:
        publish(client, [Outgoing(topic=INPUT, value=b"", key=str(key % KEYS).encode()) for key in range(count)])

    def _run() -> None:
        client = producer(settings)
        _publish(client, BACKLOG)
        while not stop.wait(0.1):
            _publish(client, BLOCK)

    thread = threading.Thread(target=_run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def worker(settings: Settings, number: str, *, guarded: bool) -> WorkerProcess:
    made = WorkerProcess(f"{NAME}-{number}", settings)
    made.arguments = ["tests.chaos.unguarded", number, *(["guarded"] if guarded else [])]
    return made


def move_partitions(settings: Settings, *, guarded: bool) -> tuple[int, int]:
    """Let a second worker come and go under load; how many messages were never handled, and how many twice."""
    apply_topics(settings, TOPICS)
    first, second = (worker(settings, number, guarded=guarded) for number in "12")
    first.start()
    try:
        with flowing(settings):
            for _ in range(MOVES):
                second.start()
                grows(settings)
                second.stop()
                grows(settings)
        sent = {(partition, offset) for partition, offset, _, _ in read_all(settings, INPUT)}
        wait_until(lambda: sent <= handled(settings).keys() or is_still(settings), DRAINED_SECONDS, "the end")
    finally:
        for each in (first, second):
            if each.alive():
                each.kill()
    found = handled(settings)
    return len(sent - found.keys()), sum(times - 1 for times in found.values())


def handled(settings: Settings) -> Counter[tuple[int, int]]:
    """How often each message was handled."""
    values = [value or b"" for _, _, _, value in read_all(settings, HANDLED)]
    return Counter((int(place.split(b":")[0]), int(place.split(b":")[1])) for place in values)


def grows(settings: Settings) -> None:
    before = handled(settings).total()
    wait_until(lambda: handled(settings).total() > before + 10 * BLOCK, 60, "messages to be handled")


def is_still(settings: Settings) -> bool:
    """Whether nothing more was handled for a while."""
    before = handled(settings).total()
    return not threading.Event().wait(8.0) and handled(settings).total() == before


@pytest.mark.chaos(scenario="Faust without our guard: loses or doubles")
def test_faust_alone_loses_or_doubles_when_partitions_move(platform_settings: Settings) -> None:
    lost, doubled = move_partitions(platform_settings, guarded=False)
    print(f"without the guard: {lost} lost, {doubled} doubled")
    assert lost or doubled, "upstream may have mended it: look at ADR 0004 again"


@pytest.mark.chaos(scenario="Faust with our guard: loses and doubles nothing")
def test_faust_with_the_guard_does_not(platform_settings: Settings) -> None:
    assert move_partitions(platform_settings, guarded=True) == (0, 0)
