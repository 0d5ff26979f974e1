"""A verdict misses no purchase its worker has read, even when the feature workers are behind.

What was read and lies beyond the position of a state is folded on top of it. Features therefore include the current
attempt, always, and a burst on one card is seen at full speed whatever the push delay.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from ibook import metrics
from ibook.entities import EntityName, EntityUpdate, source_of, updates_of
from ibook.features import ENTITY_FEATURES, keys_of
from ibook.messages import PurchaseRequested, StatePosition
from ibook.windows import Layout, WindowState, decode_state

MAX_KEYS = 50_000
"""Entities remembered; the ones untouched for longest go first, long after the feature workers have them."""
MAX_PENDING = 300
"""Purchases of one entity remembered beyond its state, oldest forgotten first."""
BUSY_PENDING, BUSY_REBASE_US = 32, 1_000_000
"""An entity with more pending purchases than this takes over a newer state at most once a second.

Folding them again costs more the further the feature workers are behind, and would hold them up further.
"""


@dataclass
class _Entity:
    base: bytes | None = None
    state: WindowState | None = None
    """The base with everything pending folded on top."""
    base_offset: int = -1
    rebased_us: int = 0
    pending: deque[EntityUpdate] = field(default_factory=lambda: deque(maxlen=MAX_PENDING))
    """What may have to be folded again onto the next base."""
    folded: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """What is folded onto the base: source -> first offset, last offset, how many."""

    def fold(self, update: EntityUpdate) -> None:
        """Fold onto the state, and note it."""
        if self.state is not None and ENTITY_FEATURES[update.entity].layout.fold(self.state, update):
            first, _, count = self.folded.get(update.source, (update.offset, 0, 0))
            self.folded[update.source] = (first, update.offset, count + 1)

    def is_current(self, base: bytes | None, now_us: int) -> bool:
        """Whether the state may go on as it is."""
        if self.state is None or self.base == base:
            return self.state is not None
        return len(self.pending) > BUSY_PENDING and now_us - self.rebased_us < BUSY_REBASE_US


class OwnPurchases:
    """Remembers the purchases read, and folds them onto the states that do not have them yet."""

    def __init__(self) -> None:
        self._entities: OrderedDict[tuple[EntityName, str], _Entity] = OrderedDict()

    def remember(self, purchase: PurchaseRequested, source: int, offset: int) -> None:
        """A purchase was read at this position; positions of one source must increase."""
        for update in updates_of(purchase, source, offset):
            entity = self._entity(update.entity, update.key)
            entity.pending.append(update)
            entity.fold(update)
        while len(self._entities) > MAX_KEYS:
            self._entities.popitem(last=False)

    def refresh(self, entity: EntityName, key: str, base: bytes | None, now_us: int) -> None:
        """The online store holds `base` for this entity now: drop what it has, fold the rest on top."""
        known = self._entity(entity, key)
        if known.is_current(base, now_us):
            return
        layout = ENTITY_FEATURES[entity].layout
        state = _decoded(base, layout)
        known.base, known.state, known.base_offset, known.rebased_us = base, state, state.updates_offset, now_us
        pending = [update for update in known.pending if update.offset > state.positions.get(update.source, -1)]
        known.pending = deque(pending, maxlen=MAX_PENDING)
        known.folded = {}
        for update in pending:
            known.fold(update)

    def keep(self, entity: EntityName, key: str) -> None:
        """The online store is away: go on with what is known, or with what was read here alone."""
        known = self._entity(entity, key)
        if known.state is None:
            self.refresh(entity, key, None, 0)

    def states(self, purchase: PurchaseRequested) -> dict[EntityName, WindowState | None]:
        """The states of a purchase's entities with all that was remembered folded in; read them before the next."""
        return {entity: self._entity(entity, key).state for entity, key in keys_of(purchase).items()}

    def positions(
        self, purchase: PurchaseRequested, updates_partition: Mapping[EntityName, int]
    ) -> list[StatePosition]:
        """For the evidence: which states these are, and what was folded on top."""
        return [
            StatePosition(
                entity=entity,
                key=key,
                updates_partition=updates_partition[entity],
                updates_offset=self._entity(entity, key).base_offset,
                folded=[(*source_of(source), *found) for source, found in self._entity(entity, key).folded.items()],
            )
            for entity, key in keys_of(purchase).items()
        ]

    def _entity(self, entity: EntityName, key: str) -> _Entity:
        known = self._entities.get((entity, key))
        if known is None:
            known = self._entities[entity, key] = _Entity()
        else:
            self._entities.move_to_end((entity, key))
        return known


def _decoded(base: bytes | None, layout: Layout) -> WindowState:
    """The stored state; an empty one where there is none, or none that these features can be read from."""
    if base is None:
        return layout.empty()
    try:
        state = decode_state(base)
    except msgspec.DecodeError:
        metrics.STATES_UNREADABLE.labels("malformed").inc()
        return layout.empty()
    if state.layout != layout.fingerprint:
        metrics.STATES_UNREADABLE.labels("other_layout").inc()
        return layout.empty()
    return state
