"""What the feature workers must come to, from the logs alone: every state folded anew, every update accounted for."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import rocksdict

from ibook import codec
from ibook.edges.kafka import producer
from ibook.edges.online_store import OnlineStore
from ibook.entities import ENTITIES, EntityName, source_message, source_slot, unpack, update_of
from ibook.features import ENTITY_FEATURES
from ibook.messages import Message
from ibook.settings import Settings
from ibook.states import StoredState, encode_state, encode_stored
from ibook.topics import ENTITY_UPDATES, FEATURE_SOURCES
from simulator.history import generate
from streams.recovery import OFFSET_KEY
from tests.traffic import read_all

CHANGELOG = "entities-to-features-states-changelog"
Sent = tuple[str, str, Message]
States = dict[tuple[EntityName, str], StoredState]


@cache
def shop_messages(seed: int, purchases: int = 300) -> tuple[Sent, ...]:
    """A shop's hour: (topic, key, message) of what the features read, in order."""
    sources = {topic.name for topic in FEATURE_SOURCES}
    return tuple(each for each in generate(seed, datetime.now(UTC), 1.0, purchases) if each[0] in sources)


def publish_all(settings: Settings, sent: Iterable[Sent]) -> None:
    """Publish and wait until the broker has them."""
    client = producer(settings)
    for topic, key, message in sent:
        client.produce(topic, codec.encode(message), key.encode())
        client.poll(0)
    assert client.flush(120) == 0


def folded(settings: Settings) -> States:
    """The fold of `entity-updates`, entity by entity, in the order of the log."""
    states: States = {}
    for _, offset, _, value in sorted(read_all(settings, ENTITY_UPDATES.name), key=lambda row: row[:2]):
        for update in unpack(value or b"").updates:
            for entity in update.entities:
                layout = ENTITY_FEATURES[entity].layout
                stored = states.setdefault((entity, update.fact.ids[entity]), StoredState(layout.empty(), []))
                layout.fold_stored(stored, update, offset)
    return states


def unaccounted(settings: Settings) -> tuple[int, int]:
    """How many (message, entity) pairs of the sources `entity-updates` lacks, and how many it has beyond them."""
    wanted, found = set(), set()
    for topic in (topic.name for topic in FEATURE_SOURCES):
        for partition, offset, _, value in read_all(settings, topic):
            update = update_of(codec.decode(value, source_message(topic)), source_slot(topic, partition), offset, 0)
            wanted |= {(update.source, update.offset, entity, update.fact.ids[entity]) for entity in update.entities}
    for _, _, _, value in read_all(settings, ENTITY_UPDATES.name):
        for each in unpack(value or b"").updates:
            found |= {(each.source, each.offset, entity, each.fact.ids[entity]) for entity in each.entities}
    return len(wanted - found), len(found - wanted)


def differing_online(store: OnlineStore, states: States) -> list[tuple[EntityName, str]]:
    """Entities whose row in the online store is not their fold."""
    differing: list[tuple[EntityName, str]] = []
    for entity in ENTITIES:
        keys = [key for name, key in states if name == entity]
        rows = store.read_states({entity: keys})[entity]
        expected = (encode_state(states[entity, key].state) for key in keys)
        differing += [(entity, key) for key, row, want in zip(keys, rows, expected, strict=True) if row != want]
    return differing


def changelog(settings: Settings) -> dict[bytes, bytes]:
    """The last value of every key of the changelog; the partition of each is checked against its others."""
    last: dict[bytes, tuple[int, bytes]] = {}
    for partition, _, key, value in sorted(read_all(settings, CHANGELOG), key=lambda row: row[:2]):
        assert key is not None and value is not None
        assert last.get(key, (partition,))[0] == partition, f"{key!r} lies in two partitions"
        last[key] = (partition, value)
    return {key: value for key, (_, value) in last.items()}


def expected_table(states: States) -> dict[bytes, bytes]:
    """What table and changelog must hold."""
    return {f"{entity}:{key}".encode(): encode_stored(stored) for (entity, key), stored in states.items()}


def tables(settings: Settings, names: Sequence[str]) -> list[dict[bytes, bytes]]:
    """The rows of every partition's RocksDB of stopped workers."""
    found = []
    for name in names:
        for path in sorted((settings.data_dir / "tables" / f"entities-to-features-{name}").rglob("*.db")):
            found.append(rows_of(str(path)))
    return found


def rows_of(path: str) -> dict[bytes, bytes]:
    """All rows of a RocksDB folder but the one with the changelog offset."""
    db = rocksdict.Rdict(path, rocksdict.Options(raw_mode=True))
    try:
        rows: Any = db.items()
        return {key: value for key, value in rows if key != OFFSET_KEY}
    finally:
        db.close()
