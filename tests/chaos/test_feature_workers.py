"""The feature workers, killed, stopped, frozen and doubled while a shop publishes; Redis taken away and emptied.

After each of it the online store, the changelog and the table are the fold of the log, and the log is the sources.
"""

import shutil
import signal
import threading
from collections.abc import Iterator
from itertools import count

import pytest
from redis import Redis

from ibook.edges.lag import features_behind, lag_of_groups
from ibook.edges.online_store import OnlineStore
from ibook.errors import FeatureUnavailable
from ibook.settings import Settings
from ibook.states import decode_state
from infra.local.redis import LocalRedis
from tests.feature_log import (
    States,
    changelog,
    differing_online,
    expected_table,
    folded,
    publish_all,
    shop_messages,
    tables,
    unaccounted,
)
from tests.workers import WorkerProcess, log_of, wait_until

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
chaos = pytest.mark.chaos

_seeds = count(1)
PATIENCE_SECONDS = 40.0


class Shop:
    """Publishes an hour of a shop as fast as it can, beside what the test does."""

    def __init__(self, settings: Settings) -> None:
        messages = shop_messages(next(_seeds))
        self._thread = threading.Thread(target=publish_all, args=(settings, messages))

    def __enter__(self) -> "Shop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


class Redises:
    """A Redis of our own, that can be taken away."""

    def __init__(self, settings: Settings) -> None:
        self.local = LocalRedis(settings.data_dir)
        self._child = self.local.start()

    def stop(self) -> None:
        self._child.stop()

    def start(self) -> None:
        self._child = self.local.start()


@pytest.fixture(scope="module")
def redis_server(shared_platform_settings: Settings) -> Iterator[Redises]:
    server = Redises(shared_platform_settings)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def settings(shared_platform_settings: Settings, redis_server: Redises) -> Settings:
    return shared_platform_settings.model_copy(update={"redis_url": redis_server.local.url})


@pytest.fixture(scope="module")
def sender(settings: Settings) -> Iterator[WorkerProcess]:
    worker = WorkerProcess("activity-to-entities", settings).start()
    yield worker
    worker.kill()


@pytest.fixture(scope="module")
def folder(settings: Settings, sender: WorkerProcess) -> Iterator[WorkerProcess]:
    worker = WorkerProcess("entities-to-features", settings).start()
    yield worker
    worker.kill()


@pytest.fixture(scope="module")
def second(settings: Settings, folder: WorkerProcess) -> Iterator[WorkerProcess]:
    """Another worker of the same kind, not started."""
    worker = WorkerProcess("entities-to-features", settings, IBOOK_WORKER_NAME="2")
    yield worker
    if worker.alive():
        worker.kill()


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[OnlineStore]:
    online = OnlineStore(settings.model_copy(update={"feature_read_seconds": 5.0}))
    yield online
    online.close()


def assert_whole(settings: Settings, store: OnlineStore, *workers: WorkerProcess) -> None:
    """Everything published is vouched for, and what is in the stores is the fold of the log."""
    try:
        wait_until(lambda: _behind(settings, store) == 0, PATIENCE_SECONDS, "heartbeats to reach the ends")
    except AssertionError as error:
        facts = [repr(lag_of_groups(settings)), repr(store.read_heartbeats(settings.partitions))]
        raise AssertionError("\n".join([str(error), *facts, *(log_of(worker.log) for worker in workers)])) from error
    states = folded(settings)
    assert unaccounted(settings) == (0, 0)
    wait_until(lambda: not differing_online(store, states), 10, lambda: _differences(store, states))
    assert changelog(settings) == expected_table(states)


def _differences(store: OnlineStore, states: States) -> str:
    """What to say when the store is not the fold of the log: the first few rows, as they are and should be."""
    said = ["every state online to be the fold of the log"]
    for entity, key in differing_online(store, states)[:3]:
        row = store.read_states({entity: [key]})[entity][0]
        said += [f"{entity} {key}", f"  {decode_state(row) if row else None}", f"  {states[entity, key].state}"]
    return "\n".join(said)


def _behind(settings: Settings, store: OnlineStore) -> int | None:
    try:
        return features_behind(settings, store)
    except FeatureUnavailable:
        return None


@pytest.mark.parametrize(
    ("how", "wiped"),
    [
        pytest.param(
            "kill",
            False,
            id="killed",
            marks=chaos(scenario="feature workers killed with a backlog"),
        ),
        pytest.param(
            "kill",
            True,
            id="killed, its tables lost",
            marks=chaos(scenario="feature workers killed with a backlog, tables lost", short=True),
        ),
        pytest.param(
            "stop",
            False,
            id="stopped",
            marks=chaos(scenario="feature workers stopped with a backlog"),
        ),
        pytest.param(
            "stop",
            True,
            id="stopped, its tables lost",
            marks=chaos(scenario="feature workers stopped with a backlog, tables lost"),
        ),
    ],
)
def test_a_worker_that_ends_with_a_backlog_loses_and_doubles_nothing(
    settings: Settings, sender: WorkerProcess, folder: WorkerProcess, store: OnlineStore, how: str, wiped: bool
) -> None:
    with Shop(settings):
        wait_until(lambda: bool(changelog(settings)), 30, "the first states")
        for worker in (folder, sender):
            getattr(worker, how)()
    if wiped:
        shutil.rmtree(settings.data_dir / "tables" / "entities-to-features-1")
    for worker in (sender, folder):
        worker.start()
    assert_whole(settings, store, folder)


@chaos(scenario="feature partitions move")
def test_partitions_move_between_two_workers_while_traffic_flows(
    settings: Settings, folder: WorkerProcess, second: WorkerProcess, store: OnlineStore
) -> None:
    with Shop(settings):
        second.start()
    with Shop(settings):
        folder.stop()
    assert_whole(settings, store, second)
    with Shop(settings):
        folder.start()
    assert_whole(settings, store, second)


@chaos(scenario="feature worker frozen, wakes")
def test_a_frozen_worker_leaves_when_it_wakes_and_undoes_nothing(
    settings: Settings, folder: WorkerProcess, second: WorkerProcess, store: OnlineStore
) -> None:
    with Shop(settings):
        wait_until(lambda: (_behind(settings, store) or 0) > 0, 30, "traffic to flow")
        folder.send(signal.SIGSTOP)
    assert_whole(settings, store, second)  # the second worker has taken over all of it
    folder.send(signal.SIGCONT)
    wait_until(lambda: not folder.alive(), 10, "the woken worker to leave")
    assert "stood still" in log_of(folder.log)
    assert_whole(settings, store)
    folder.start()
    assert_whole(settings, store)


@chaos(scenario="Redis away and back empty, all states", short=True)
def test_redis_away_and_back_empty_is_made_whole_before_heartbeats_vouch_for_it(
    settings: Settings, folder: WorkerProcess, store: OnlineStore, redis_server: Redises
) -> None:
    with Shop(settings):
        redis_server.stop()
    redis_server.start()
    assert_whole(settings, store, folder)


@chaos(scenario="Redis flushed five times, all states")
def test_redis_flushed_under_traffic_is_made_whole(
    settings: Settings, folder: WorkerProcess, store: OnlineStore
) -> None:
    with Redis.from_url(settings.redis_url) as client, Shop(settings):
        for _ in range(5):
            client.flushall()
            wait_until(lambda: client.dbsize() > 0, 30, "pushes to go on")
    assert_whole(settings, store, folder)


@chaos(scenario="tables of stopped workers")
def test_the_tables_of_stopped_workers_are_the_fold_too(
    settings: Settings, folder: WorkerProcess, second: WorkerProcess, store: OnlineStore
) -> None:
    with Shop(settings):
        second.stop()
    assert_whole(settings, store, folder)  # it holds every partition now
    assert folder.stop() == 0
    last = changelog(settings)
    own = [rows for rows in tables(settings, ["1"]) if rows]
    assert {key: value for rows in own for key, value in rows.items()} == last
    assert sum(map(len, own)) == len(last)
