"""The online store beside itself: every state written anew into another Redis database, compared, and moved over.

Moving is row by row and loses nothing to workers that go on pushing. A row that is not there is set by HSETNX, which
yields to one that comes first; one that differs is replaced in a transaction that fails when it changes meanwhile; one
that is newer is left alone. Heartbeats are the workers' own: a store filled here without them stays `no_features`.
"""

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from ibook.backfill import fold_log
from ibook.edges.archive import archive_of
from ibook.edges.archive_files import name_holes
from ibook.edges.bulk import read_bulk, spans
from ibook.edges.feast_config import PROJECT
from ibook.edges.feast_format import column_field, row_key, stamp_field
from ibook.edges.feast_views import STATE_VIEWS
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.edges.kafka_admin import list_topics
from ibook.edges.online_store import OnlineStore
from ibook.edges.parity import archived
from ibook.entities import EntityName
from ibook.errors import BrokerUnavailable, ConfigurationError, FeatureUnavailable
from ibook.partitioning import partition_of
from ibook.settings import Settings
from ibook.states import decode_state, state_in
from ibook.topics import CHANGELOGS, ENTITY_UPDATES

CHUNK = 1000
ANSWER_SECONDS = 5.0
"""Longest we wait for one answer of Redis: nobody waits for us."""
WORKERS_SECONDS = 120.0
"""Longest we wait for workers to push every state again before we do it."""
PUSH_SECONDS = 1.0
"""A state reaches the store so long after the changelog, at most."""
LOOKS = 5
"""How often a row that differs is looked at again before it counts: workers push after they have logged."""
GROUP_SECONDS = 30.0
"""Longest we wait for Kafka to say who is in a group: its coordinator may have to be elected first."""
LINGER_SECONDS = 5.0
"""So long beyond their session, workers that were killed are members of their group."""
STATES_CHANGELOG = CHANGELOGS[0].name
FOLDING_GROUP = "entities-to-features"
OFFSET_KEY_PREFIX = b"__faust"
EntityKey = tuple[EntityName, str]
States = Mapping[EntityKey, bytes]
"""Entity and key -> encoded stored state."""


@dataclass
class Changelog:
    """The feature workers' changelog, read once."""

    states: dict[EntityKey, bytes] = field(default_factory=dict)
    twice: list[EntityKey] = field(default_factory=list)
    """Entities with a state in two partitions: two workers fold halves of them."""


def read_changelog(settings: Settings) -> Changelog:
    """The last state of every entity. Raises BrokerUnavailable, ConfigurationError."""
    found = Changelog()
    homes: dict[EntityKey, int] = {}
    for _, lying in read_bulk(settings, spans(settings, [STATES_CHANGELOG])):
        if lying.key is None or lying.key.startswith(OFFSET_KEY_PREFIX):
            continue
        entity, _, name = lying.key.decode().partition(":")
        key: EntityKey = (entity, name)  # type: ignore[assignment]
        if lying.value is None:
            if homes.get(key) == lying.partition:
                found.states.pop(key, None)
            continue
        if homes.setdefault(key, lying.partition) != lying.partition:
            found.twice.append(key)
        homes[key] = lying.partition
        found.states[key] = lying.value
    return found


@dataclass
class Comparison:
    """The states of a log against those of the live store."""

    equal: int = 0
    newer: int = 0
    """The live state has gone on since."""
    missing: list[EntityKey] = field(default_factory=list)
    differing: list[EntityKey] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """The store has every state, none older or other than the log's."""
        return not (self.missing or self.differing)

    def sentence(self) -> str:
        """In words."""
        return (
            f"{self.equal:,} states equal, {self.newer:,} newer in the live store, {len(self.differing):,} differing, "
            f"{len(self.missing):,} missing."
        )


def compare(store: OnlineStore, states: States) -> Comparison:
    """Look at every state in the live store; at those that differ again, since pushes follow the log."""
    found = _compare(store, states, states)
    for _ in range(LOOKS):
        again = [*found.missing, *found.differing]
        if not again or len(again) > CHUNK:
            break
        time.sleep(PUSH_SECONDS / LOOKS)
        later = _compare(store, states, again)
        found = Comparison(found.equal + later.equal, found.newer + later.newer, later.missing, later.differing)
    return found


def _compare(store: OnlineStore, states: States, keys: Sequence[EntityKey] | States) -> Comparison:
    found = Comparison()
    for entity, names in _chunks(keys):
        for name, live in zip(names, store.read_states({entity: names})[entity], strict=True):
            wanted, head = state_in(states[entity, name])
            if live is None:
                found.missing.append((entity, name))
            elif live == wanted:
                found.equal += 1
            else:
                state = decode_state(live)
                if state == decode_state(wanted):
                    found.equal += 1
                elif state.stamp_us > head.stamp_us:
                    found.newer += 1
                else:
                    found.differing.append((entity, name))
    return found


def _chunks(keys: Sequence[EntityKey] | States) -> Iterator[tuple[EntityName, list[str]]]:
    by_entity: dict[EntityName, list[str]] = {}
    for entity, name in keys:
        by_entity.setdefault(entity, []).append(name)
    for entity, names in by_entity.items():
        left = iter(names)
        while chunk := list(islice(left, CHUNK)):
            yield entity, chunk


def patient(settings: Settings) -> Settings:
    """The same settings, for commands that have time."""
    return settings.model_copy(update={"feature_read_seconds": ANSWER_SECONDS})


class Rebuilt:
    """States written into another database of the live store's Redis, to be compared and moved."""

    def __init__(self, settings: Settings, database: int | None = None) -> None:
        """Raises ConfigurationError when the other database holds anything."""
        from redis import Redis

        live_database = int(urlsplit(settings.redis_url).path.strip("/") or 0)
        number = live_database + 1 if database is None else database
        if number == live_database:
            raise ConfigurationError(f"Redis database {number} is the live one: name another with --database.")
        beside = urlsplit(settings.redis_url)._replace(path=f"/{number}").geturl()
        bounds = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
        self.live: Any = Redis.from_url(settings.redis_url, **bounds)
        self.beside: Any = Redis.from_url(beside, **bounds)
        self.store = OnlineStore(patient(settings).model_copy(update={"redis_url": beside}))
        with _answering():
            if self.beside.dbsize():
                raise ConfigurationError(f"Redis database {number} is not empty: name another with --database.")

    def fill(self, states: States) -> None:
        """Write every state beside the live ones. Raises FeatureUnavailable."""
        for entity, names in _chunks(states):
            heads = [(name, *state_in(states[entity, name])) for name in names]
            self.store.write_states(entity, [(name, state, head.stamp_us) for name, state, head in heads])

    def move(self, found: Comparison, states: States) -> int:
        """Move what the live store lacks, or has otherwise; how many rows did. Raises FeatureUnavailable."""
        moved = 0
        with _answering():
            for entity, names in _chunks(found.missing):
                moved += self._set_missing(entity, names)
            for entity, name in found.differing:
                moved += self._replace(entity, name, state_in(states[entity, name])[1].stamp_us)
        return moved

    def _set_missing(self, entity: EntityName, names: Sequence[str]) -> int:
        time_field, value_field = _fields(entity)
        with self.beside.pipeline(transaction=False) as asked:
            for name in names:
                asked.hmget(_redis_key(entity, name), time_field, value_field)
            rows = asked.execute()
        with self.live.pipeline(transaction=True) as pipe:
            for name, (at, value) in zip(names, rows, strict=True):
                pipe.hsetnx(_redis_key(entity, name), time_field, at)
                pipe.hsetnx(_redis_key(entity, name), value_field, value)
            return sum(pipe.execute()[::2])

    def _replace(self, entity: EntityName, name: str, stamp_us: int) -> int:
        from redis.exceptions import WatchError

        time_field, value_field = _fields(entity)
        key = _redis_key(entity, name)
        at, value = self.beside.hmget(key, time_field, value_field)
        with self.live.pipeline() as pipe:
            pipe.watch(key)
            live = pipe.hget(key, time_field)
            if live is not None and _stamp_us(live) > stamp_us:
                return 0
            pipe.multi()
            pipe.hset(key, mapping={time_field: at, value_field: value})
            try:
                pipe.execute()
            except WatchError:
                return 0  # the workers have just written it
        return 1

    def close(self) -> None:
        """Remove what was written beside."""
        with _answering():
            self.beside.flushdb()  # it was empty when we began
        self.store.close()
        self.live.close()
        self.beside.close()


def rebuild(
    settings: Settings, *, live: bool, from_log: bool = False, database: int | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Comparison:  # fmt: skip
    """Fill, compare and move; how the live store compares in the end.

    `live`: the workers run. They fill a store that lost its rows by themselves, and are given the time for it. States
    come from their changelog, or with `from_log` from the archive. Raises BrokerUnavailable, ConfigurationError (also
    when another rebuild is at work), FeatureUnavailable.
    """
    with _alone(settings):
        return _rebuild(settings, live=live, from_log=from_log, database=database, say=say)


def _rebuild(
    settings: Settings, *, live: bool, from_log: bool, database: int | None, say: Callable[[str], None]
) -> Comparison:
    store = OnlineStore(patient(settings))
    if live:
        _wait_for_workers(settings, store, say)
    states = _folded(settings, live=live) if from_log else read_changelog(settings).states
    say(f"{len(states):,} states from the {'archive' if from_log else 'changelog'}, written beside the live ones.")
    beside = Rebuilt(settings, database)
    try:
        beside.fill(states)
        written = compare(beside.store, states)
        if not written.is_equal:
            raise FeatureUnavailable(f"Redis does not hold what was written: {written.sentence()}")
        found = compare(store, states)
        say(f"Live store: {found.sentence()}")
        if not found.is_equal:
            say(f"{beside.move(found, states):,} states moved.")
            found = compare(store, states)
            say(f"Live store: {found.sentence()}")
    finally:
        beside.close()
        store.close()
    return found


def give_to_workers(settings: Settings, *, live: bool) -> int:
    """Write the states that the archive gives into the workers' changelog; how many there were.

    Workers restore from there: the one way to correct what they know, or to give it windows that they never kept.
    They must be stopped, and still be when the states are folded. What they have not acknowledged is delivered to them
    again, and recognised by its position. Raises BrokerUnavailable, ConfigurationError.
    """
    with _alone(settings):
        return _give_to_workers(settings, live=live)


def _give_to_workers(settings: Settings, *, live: bool) -> int:
    if live:
        _refuse_members(settings, 0.0)
    states = _folded(settings, live=live)
    partitions = list_topics(settings)[STATES_CHANGELOG]
    _refuse_members(settings, settings.session_timeout_seconds + LINGER_SECONDS)  # folding takes minutes
    return publish(producer(settings), (
        Outgoing(topic=STATES_CHANGELOG, key=f"{entity}:{name}".encode(), value=stored,
                 partition=partition_of(f"{entity}:{name}", partitions))
        for (entity, name), stored in states.items()
    ))  # fmt: skip


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Two rebuilds at once would take each other's states for the live ones, or empty them."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with (settings.data_dir / "rebuild.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"Another rebuild is at work on {settings.data_dir}.") from None
        yield


def _refuse_members(settings: Settings, patience_seconds: float) -> None:
    """Raises ConfigurationError when workers run, and go on being members for so long."""
    deadline = time.monotonic() + patience_seconds
    while _members(settings):
        if time.monotonic() >= deadline:
            raise ConfigurationError("The feature workers run: stop them first, and those who watch over them.")
        time.sleep(0.5)


def _members(settings: Settings) -> int:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        client = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 0})  # kept until it answers
        asked = client.describe_consumer_groups([FOLDING_GROUP], request_timeout=GROUP_SECONDS)
        return len(asked[FOLDING_GROUP].result(GROUP_SECONDS + 1).members)
    except TimeoutError as error:
        raise BrokerUnavailable(f"Kafka does not tell who is in {FOLDING_GROUP}.") from error
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:  # nobody was ever in it
            return 0
        raise BrokerUnavailable(f"Kafka does not tell who is in {FOLDING_GROUP}: {error}.") from error


def _wait_for_workers(settings: Settings, store: OnlineStore, say: Callable[[str], None]) -> None:
    deadline, told = time.monotonic() + WORKERS_SECONDS, False
    while None in store.read_heartbeats(settings.partitions) and time.monotonic() < deadline:
        if not told:
            say("Heartbeats are gone, so the workers are pushing every state again: waiting for them.")
            told = True
        time.sleep(0.2)


def _folded(settings: Settings, *, live: bool) -> States:
    archived(settings, live=live)
    archive = archive_of(settings)
    if found := archive.holes(ENTITY_UPDATES.name):
        raise ConfigurationError(
            f"The archive lacks {name_holes(found, ENTITY_UPDATES.name)}, and states folded from it would lack them, "
            "too: rebuild from the changelog instead."
        )
    return fold_log((logged.offset, logged.update) for logged in archive.updates())


@contextmanager
def _answering() -> Iterator[None]:
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise FeatureUnavailable(f"Redis does not do what is asked: {error}.") from error


def _fields(entity: EntityName) -> tuple[bytes, bytes]:
    """The fields of a state's row, as Feast names them: event timestamp and value."""
    view = STATE_VIEWS[entity]
    (column,) = view.columns
    return stamp_field(view.name).encode(), column_field(view.name, column)


def _redis_key(entity: EntityName, name: str) -> bytes:
    return row_key(PROJECT, STATE_VIEWS[entity].join_key, name)


def _stamp_us(timestamp: bytes) -> int:
    from google.protobuf.timestamp_pb2 import Timestamp

    parsed = Timestamp()
    parsed.ParseFromString(timestamp)
    return int(parsed.ToMicroseconds())
