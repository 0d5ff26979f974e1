"""Features of any key at any instant, computed from the log of updates by the functions that serve them.

Time is event time: the value at an instant is made of what had happened by then, whenever it arrived. As served means
the state as it was some seconds earlier, with the entity's own purchases since then folded on top.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ibook.declarations import EntityFeatures
from ibook.entities import EntityName, EntityUpdate, Fact
from ibook.features import ENTITY_FEATURES
from ibook.measures import message_hash
from ibook.states import StoredState, WindowState, decode_state, decode_stored, encode_state, encode_stored
from ibook.windows import RECENT_MESSAGES

OWN = "purchase"
"""The kind of fact that is folded on top of a state."""
BATCH = 20_000
"""Updates whose entities' states are decoded at once when a log is folded to its end."""
EntityKey = tuple[EntityName, str]


class Wanted(NamedTuple):
    """One entity at one instant."""

    entity: EntityName
    key: str
    as_of_us: int
    seen_us: int
    """Event time up to which the state goes; `as_of_us` is no lag at all."""


class _History:
    """What happened to one entity: each message once, as the feature workers see it."""

    __slots__ = ("_kinds", "_positions", "_recent", "facts")

    def __init__(self, kinds: frozenset[str]) -> None:
        self.facts: list[Fact] = []
        self._kinds = kinds
        self._positions: dict[int, int] = {}
        self._recent: list[int] = []

    @property
    def known(self) -> bool:
        """Whether anything was heard of it."""
        return bool(self._positions)

    def hear(self, update: EntityUpdate, known: int) -> None:
        """Take an update unless it was delivered before, or its message, `known` by its hash, is one sent again."""
        if update.offset <= self._positions.get(update.source, -1):
            return
        self._positions[update.source] = update.offset
        if known in self._recent:
            return
        self._recent.append(known)
        if len(self._recent) > RECENT_MESSAGES:
            del self._recent[0]
        if update.fact.kind in self._kinds:
            self.facts.append(update.fact)


def values_at(updates: Iterable[EntityUpdate], wanted: Sequence[Wanted]) -> list[list[float]]:
    """The features of each wanted entity, in the order of `ENTITY_FEATURES[entity].names`, in the order asked for.

    `updates` come in the order of the log, each partition after the other or mixed; what concerns nobody wanted is
    passed over. Memory grows with the facts of the wanted entities.
    """
    values: list[list[float]] = [[] for _ in wanted]
    for index, state in states_at(updates, wanted):
        one = wanted[index]
        values[index] = ENTITY_FEATURES[one.entity].compute(state, one.as_of_us)
    return values


def states_at(
    updates: Iterable[EntityUpdate], wanted: Sequence[Wanted], *, known_only: bool = False
) -> Iterator[tuple[int, WindowState]]:
    """Index and state of each wanted entity, in no particular order; a state is good until the next one is taken.

    With `known_only`, entities that these updates do not mention are left out: they may lie in another partition.
    """
    asked: dict[EntityKey, list[int]] = {}
    for index, one in enumerate(wanted):
        asked.setdefault((one.entity, one.key), []).append(index)
    histories = _heard(updates, asked.keys())
    for key, indexes in asked.items():
        history = histories.pop(key)
        if known_only and not history.known:
            continue
        facts = history.facts
        facts.sort(key=lambda fact: fact.occurred_us)
        indexes.sort(key=lambda index: wanted[index].seen_us)
        yield from _replayed(ENTITY_FEATURES[key[0]], facts, [(index, wanted[index]) for index in indexes])


def _heard(updates: Iterable[EntityUpdate], keys: Iterable[EntityKey]) -> dict[EntityKey, _History]:
    histories = {key: _History(_kinds(ENTITY_FEATURES[key[0]])) for key in keys}
    entities = {entity for entity, _ in histories}
    for update in updates:
        fact, known = update.fact, 0
        for entity in update.entities:
            if entity in entities and (history := histories.get((entity, fact.ids[entity]))) is not None:
                known = known or message_hash(fact.kind, fact.message_id)
                history.hear(update, known)
    return histories


def _kinds(features: EntityFeatures) -> frozenset[str]:
    return frozenset(kind for measure in features.layout.measures for kind in measure.kinds)


def _replayed(
    features: EntityFeatures, facts: Sequence[Fact], wanted: Iterable[tuple[int, Wanted]]
) -> Iterator[tuple[int, WindowState]]:
    """One entity in the order of event time, which gives the same tiles as the order of arrival."""
    layout, place = features.layout, 0
    state = layout.empty()
    for index, one in wanted:
        while place < len(facts) and facts[place].occurred_us <= one.seen_us:
            layout.fold_fact(state, facts[place])
            place += 1
        own = _own(facts, place, one.as_of_us)
        if not own:
            yield index, state
            continue
        onto = decode_state(encode_state(state))
        for fact in own:
            layout.fold_fact(onto, fact)
        yield index, onto


def _own(facts: Sequence[Fact], place: int, as_of_us: int) -> list[Fact]:
    own = []
    while place < len(facts) and facts[place].occurred_us <= as_of_us:
        if facts[place].kind == OWN:
            own.append(facts[place])
        place += 1
    return own


# ---------------------------------------------------------------------------------------------------- to the log's end
def fold_log(updates: Iterable[tuple[int, EntityUpdate]]) -> Mapping[EntityKey, bytes]:
    """The `StoredState` of every entity after a log of (offset in `entity-updates`, update), as bytes.

    Each partition in its order; an entity's updates all lie in one. Memory holds every state once, encoded.
    """
    stored: dict[EntityKey, bytes] = {}
    batch: dict[EntityKey, StoredState] = {}
    for count, (offset, update) in enumerate(updates, 1):
        for entity in update.entities:
            key = (entity, update.fact.ids[entity])
            found = batch.get(key)
            if found is None:
                found = batch[key] = _stored(stored.get(key), entity)
            ENTITY_FEATURES[entity].layout.fold_stored(found, update, offset)
        if count % BATCH == 0:
            stored.update((key, encode_stored(found)) for key, found in batch.items())
            batch.clear()
    stored.update((key, encode_stored(found)) for key, found in batch.items())
    return stored


def _stored(payload: bytes | None, entity: EntityName) -> StoredState:
    return StoredState(ENTITY_FEATURES[entity].layout.empty(), []) if payload is None else decode_stored(payload)
