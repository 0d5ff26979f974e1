"""Updates folded over what a table holds: pure but for the reads, so that it can be stepped through without Kafka."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from ibook import metrics
from ibook.entities import EntityName, EntityUpdate
from ibook.features import ENTITY_FEATURES
from ibook.states import StoredState, decode_stored, encode_both
from ibook.windows import FoldResult
from streams.push import EntityKey, Row

CACHE_BYTES = 4 << 20
"""Of encoded states; in memory they take some twenty times as much."""


class StateCache:
    """States as the table has them, decoded: a busy event's takes longer to decode than to fold into.

    A state that is taken out is to be put back when the table has been written; if that fails the process ends.
    """

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._states: OrderedDict[bytes, tuple[StoredState, int]] = OrderedDict()

    def take(self, key: bytes) -> StoredState | None:
        """The state of a table key, if it is here; it is not any more."""
        found = self._states.pop(key, None)
        if found is None:
            return None
        self._size -= found[1]
        return found[0]

    def put(self, key: bytes, stored: StoredState, size: int) -> None:
        """Keep a state of so many bytes encoded; those untouched for longest make room."""
        self.take(key)
        self._states[key] = (stored, size)
        self._size += size
        while self._size > self._limit:
            _, (_, freed) = self._states.popitem(last=False)
            self._size -= freed

    def clear(self) -> None:
        """Somebody else may write the table from here on."""
        self._states.clear()
        self._size = 0


class Folding:
    """The fold of a few records of one partition over what its table holds."""

    def __init__(self, cache: StateCache, read: Callable[[bytes], bytes | None]) -> None:
        self._cache = cache
        self._read = read
        self._stored: dict[EntityKey, StoredState] = {}
        self._occurred: dict[EntityKey, int] = {}
        self._results: Counter[tuple[EntityName, FoldResult]] = Counter()

    def fold(self, offset: int, updates: Sequence[EntityUpdate]) -> None:
        """Fold the updates of the record at `offset`, each into the states of its entities."""
        stored_of, occurred, results = self._stored, self._occurred, self._results
        for update in updates:
            fact = update.fact
            for entity in update.entities:
                key = (entity, fact.ids[entity])
                stored = stored_of.get(key)
                if stored is None:
                    stored = stored_of[key] = self._load(key)
                result = ENTITY_FEATURES[entity].layout.fold_stored(stored, update, offset)
                results[entity, result] += 1
                if result == "folded" and fact.occurred_us > occurred.get(key, 0):
                    occurred[key] = fact.occurred_us

    def encode(self) -> tuple[dict[bytes, bytes], dict[EntityKey, Row]]:
        """Table rows, and rows for the online store: of every state that was touched, changed or not."""
        self._count()
        table: dict[bytes, bytes] = {}
        rows: dict[EntityKey, Row] = {}
        for key, stored in self._stored.items():
            table_key = _table_key(key)
            payload, table[table_key] = encode_both(stored)
            rows[key] = Row(payload, stored.state.stamp_us, self._occurred.get(key, 0))
            self._cache.put(table_key, stored, len(table[table_key]))
        return table, rows

    def _load(self, key: EntityKey) -> StoredState:
        """A stored state, or an empty one; a state of older declarations keeps what these declare too."""
        table_key = _table_key(key)
        stored = self._cache.take(table_key)
        if stored is not None:
            return stored
        layout, payload = ENTITY_FEATURES[key[0]].layout, self._read(table_key)
        if payload is None:
            return StoredState(layout.empty(), [])
        stored = decode_stored(payload)
        if stored.state.layout != layout.fingerprint:
            metrics.STATES_ADOPTED.labels("folded").inc()
            stored.state = layout.adopt(stored.state)
        return stored

    def _count(self) -> None:
        for (entity, result), count in self._results.items():
            if result == "folded":
                metrics.UPDATES_FOLDED.labels(entity).inc(count)
            else:
                metrics.UPDATES_SKIPPED.labels(result).inc(count)


def _table_key(key: EntityKey) -> bytes:
    return f"{key[0]}:{key[1]}".encode()
