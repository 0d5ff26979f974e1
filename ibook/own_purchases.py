"""A verdict misses no purchase its worker has read, even when the feature workers are behind.

What was read and lies beyond the position of a state is folded on top of it. Features therefore include the current
attempt, always, and a burst on one card is seen at full speed whatever the push delay.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from ibook import metrics
from ibook.declarations import EntityFeatures
from ibook.entities import EntityName, EntityUpdate, source_of, source_slot, update_of
from ibook.features import BUSY, MODEL_FEATURES
from ibook.messages import PurchaseRequested, StatePosition
from ibook.partitioning import partition_of
from ibook.running import RunningState
from ibook.states import WindowState, decode_state
from ibook.topics import TICKET_PURCHASES
from ibook.windows import Layout

MAX_KEYS = 50_000
"""Entities remembered; the ones untouched for longest go first, long after the feature workers have them."""
MAX_PENDING = 300
"""Purchases of one entity remembered beyond its state, oldest forgotten first."""
BUSY_PENDING, BUSY_REBASE_US = 32, 1_000_000
"""An entity with more pending purchases than this takes over a newer state at most once a second, and so does one that
many buyers share (an event, a promoter, a BIN, a subnet): nobody need ask the store for it more often.

Folding pending purchases again costs more the further the feature workers are behind, and would hold them up further.
"""


@dataclass(slots=True)
class _Entity:
    features: EntityFeatures
    base: bytes | None = None
    running: RunningState | None = None
    """The base with everything pending folded on top."""
    base_offset: int = -1
    rebased_us: int = 0
    pending: list[EntityUpdate] = field(default_factory=list)
    """What may have to be folded again onto the next base."""
    folded: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """What is folded onto the base: source -> first offset, last offset, how many."""
    home: tuple[int, int] = (0, 0)
    """Of how many partitions of `entity-updates` which one is its own."""

    def remember(self, update: EntityUpdate) -> None:
        """Fold now, and again onto the next base if it has to be."""
        self.pending.append(update)
        if len(self.pending) > MAX_PENDING:
            del self.pending[0]
        self.fold(update)

    def fold(self, update: EntityUpdate) -> None:
        """Fold onto the state, and note it."""
        if self.running is not None and self.running.fold(update) != "redelivered":
            first, _, count = self.folded.get(update.source, (update.offset, 0, 0))
            self.folded[update.source] = (first, update.offset, count + 1)

    def is_due(self, now_us: int) -> bool:
        """Whether a newer state is to be taken over, if there is one."""
        if self.running is None or now_us - self.rebased_us >= BUSY_REBASE_US:
            return True
        return len(self.pending) <= BUSY_PENDING and self.features.entity not in BUSY


class OwnPurchases:
    """Remembers the purchases read, and folds them onto the states that do not have them yet."""

    def __init__(self) -> None:
        self._entities: OrderedDict[tuple[EntityName, str], _Entity] = OrderedDict()

    def remember(self, update: EntityUpdate) -> None:
        """The purchase of this update was read; positions of one source must increase."""
        ids = update.fact.ids
        for name in update.entities:
            self._entity(name, ids[name]).remember(update)
        while len(self._entities) > MAX_KEYS:
            self._entities.popitem(last=False)

    def refresh(self, entity: EntityName, key: str, base: bytes | None, now_us: int) -> None:
        """The online store holds `base` for this entity now: drop what it has, fold the rest on top."""
        known = self._entity(entity, key)
        if not known.is_due(now_us):
            return
        known.rebased_us = now_us
        if known.running is not None and known.base == base:
            return
        state = _decoded(base, known.features.layout)
        known.base, known.running, known.base_offset = base, RunningState(known.features, state), state.updates_offset
        pending = [update for update in known.pending if update.offset > state.positions.get(update.source, -1)]
        known.pending = pending
        known.folded = {}
        for update in pending:
            known.fold(update)

    def keep(self, entity: EntityName, key: str) -> None:
        """The online store is away: go on with what is known, or with what was read here alone."""
        known = self._entity(entity, key)
        if known.running is None:
            self.refresh(entity, key, None, 0)

    def is_due(self, entity: EntityName, key: str, now_us: int) -> bool:
        """Whether the online store is to be asked for this entity."""
        return self._entity(entity, key).is_due(now_us)

    def compute(self, keys: Mapping[EntityName, str], as_of_us: int) -> dict[EntityName, list[float]]:
        """The model's features of a purchase's entities, as of it, with all that was remembered folded in."""
        values: dict[EntityName, list[float]] = {}
        for place in keys.items():
            known = self._entities.get(place)
            if known is not None and known.running is not None:
                values[place[0]] = known.running.compute(as_of_us)
        return values

    def positions(self, keys: Mapping[EntityName, str], partitions: int) -> list[StatePosition]:
        """For the evidence: which states these are, and what was folded on top."""
        return [self._position(entity, key, partitions) for entity, key in keys.items()]

    def _position(self, entity: EntityName, key: str, partitions: int) -> StatePosition:
        known = self._entities.get((entity, key)) or _Entity(MODEL_FEATURES[entity])
        if known.home[0] != partitions:
            known.home = partitions, partition_of(f"{entity}:{key}", partitions)
        folded = [(*source_of(source), *found) for source, found in known.folded.items()]
        return StatePosition(
            entity=entity, key=key, updates_partition=known.home[1], updates_offset=known.base_offset, folded=folded
        )

    def _entity(self, entity: EntityName, key: str) -> _Entity:
        known = self._entities.get((entity, key))
        if known is None:
            known = self._entities[entity, key] = _Entity(MODEL_FEATURES[entity])
        else:
            self._entities.move_to_end((entity, key))
        return known


def update_of_purchase(purchase: PurchaseRequested, partition: int, offset: int) -> EntityUpdate:
    """What a purchase says of its entities, read at this place of `ticket-purchases`."""
    return update_of(purchase, source_slot(TICKET_PURCHASES.name, partition), offset, 0)


def _decoded(base: bytes | None, layout: Layout) -> WindowState:
    """The stored state in this layout; an empty one where there is none, or none that can be read."""
    if base is None:
        return layout.empty()
    try:
        state = decode_state(base)
        adopted = layout.adopt(state)
    except msgspec.DecodeError:
        metrics.STATES_UNREADABLE.labels("malformed").inc()
        return layout.empty()
    if adopted is not state:
        metrics.STATES_ADOPTED.labels("read").inc()
    return adopted
