"""Are the values that were served the ones the log gives? Recomputed from the recorded positions, and compared.

A verdict's evidence names for each entity the state it was computed from: how far in `entity-updates` that state had
folded, and the purchases the worker folded on top. Both are done again here, from an empty state on, and every number
must come out the same, bit by bit.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ibook.clock import to_us
from ibook.declarations import EntityFeatures
from ibook.entities import ENTITIES, EntityName, EntityUpdate, source_slot, update_of
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES, FEATURE_NAMES_HASH, REQUEST_FEATURES, keys_of
from ibook.features import request_features as of_request
from ibook.messages import PurchaseRequested, VerdictEvidence
from ibook.states import StoredState, WindowState, decode_state, encode_state

SERVED = ("normal", "stale_features", "rules_only")
"""Postures whose verdict used the features; without a model, the rules did."""
PROMPT_US = 60_000_000
"""A purchase decided so long after it happened was not decided as it happened."""
EntityKey = tuple[EntityName, str]


class Range(NamedTuple):
    """The purchases of one source that were folded on top of a state: how many between two offsets."""

    source: int
    first: int
    last: int
    n_purchases: int


class Look(NamedTuple):
    """One entity of one served verdict: what it was computed from, and what came out."""

    transaction_id: str
    entity: EntityName
    key: str
    updates_partition: int
    updates_offset: int
    folded: tuple[Range, ...]
    as_of_us: int
    decided_us: int
    recorded: NDArray[np.float32]
    """Of shape ``(len(ENTITY_FEATURES[entity].model_names),)``; NaN is missing."""


class Example(NamedTuple):
    """One disagreement in full."""

    transaction_id: str
    entity: str
    key: str
    recorded: float
    recomputed: float


@dataclass
class Values:
    """What comparing the values of served verdicts came to."""

    verdicts: int = 0
    verdicts_of_other_features: int = 0
    """Decided by other declarations than today's: their values are not ours to recompute."""
    values_checked: int = 0
    mismatches_by_feature: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Example] = field(default_factory=dict)
    """The first disagreement of each feature."""
    miscounted_by_entity: Counter[str] = field(default_factory=Counter)
    """States for which the log does not hold the purchases, or the position, that the evidence names."""
    miscounted: dict[str, str] = field(default_factory=dict)
    """The first of each entity, in words."""
    staleness_s: "array[float]" = field(default_factory=lambda: array("d"))
    """Decision time minus the oldest heartbeat, as the evidence has it; of purchases decided as they happened."""
    staleness_all_s: "array[float]" = field(default_factory=lambda: array("d"))
    """The same of all, a past that was loaded at once, or a backlog, among them."""
    missed_s: "dict[EntityName, array[float]]" = field(default_factory=lambda: {e: array("d") for e in ENTITIES})
    """Per entity: how long the broker had held the oldest update of it that the verdict did not see; 0 for none. Of
    purchases decided as they happened."""

    @property
    def mismatches(self) -> int:
        """Values that differ, and states whose ingredients can't be found."""
        return self.mismatches_by_feature.total() + self.miscounted_by_entity.total()

    def compare(self, names: Sequence[str], recorded: NDArray[np.float32], found: NDArray[np.float32],
                transaction_id: str, entity: str, key: str) -> None:  # fmt: skip
        """Compare values as 32-bit floats; missing equals missing."""
        self.values_checked += len(names)
        differs = ~((recorded == found) | (np.isnan(recorded) & np.isnan(found)))
        for index in np.flatnonzero(differs).tolist():
            self.mismatches_by_feature[names[index]] += 1
            example = Example(transaction_id, entity, key, float(recorded[index]), float(found[index]))
            self.examples.setdefault(names[index], example)

    def miscount(self, entity: str, sentence: str) -> None:
        """Something a state was made of can't be found."""
        self.miscounted_by_entity[entity] += 1
        self.miscounted.setdefault(entity, sentence)


def _places() -> dict[str, slice]:
    """Where the features of each entity, and those of the request, lie in a vector."""
    places, start = {}, 0
    sizes = [(entity, len(each.model_names)) for entity, each in ENTITY_FEATURES.items()]
    for name, size in [*sizes, ("request", len(REQUEST_FEATURES))]:
        places[name] = slice(start, start + size)
        start += size
    return places


_PLACES = _places()
_COLUMNS = {entity: [each.names.index(name) for name in each.model_names] for entity, each in ENTITY_FEATURES.items()}


def looks_of(evidence: VerdictEvidence, values: Values) -> Iterator[Look]:
    """What is to be recomputed of a verdict, one entity at a time; the request's own features are compared here."""
    purchase = evidence.purchase
    if purchase is None or evidence.posture not in SERVED:
        return
    if evidence.feature_names_hash != FEATURE_NAMES_HASH or len(evidence.features) != len(FEATURE_NAMES):
        values.verdicts_of_other_features += 1
        return
    values.verdicts += 1
    if evidence.staleness_seconds is not None:
        values.staleness_all_s.append(evidence.staleness_seconds)
        if to_us(evidence.occurred_at) - to_us(purchase.occurred_at) <= PROMPT_US:
            values.staleness_s.append(evidence.staleness_seconds)
    recorded = np.array([np.nan if each is None else each for each in evidence.features], np.float32)
    values.compare(list(REQUEST_FEATURES), recorded[_PLACES["request"]], np.array(of_request(purchase), np.float32),
                   evidence.transaction_id, "request", purchase.transaction_id)  # fmt: skip
    keys = keys_of(purchase)
    states = {position.entity: position for position in evidence.states}
    for entity in ENTITIES:
        if entity not in keys or entity not in states or states[entity].key != keys[entity]:
            _left_out(evidence, entity, keys, recorded, values)
            continue
        position = states[entity]
        yield Look(
            evidence.transaction_id, entity, position.key, position.updates_partition, position.updates_offset,
            tuple(Range(source_slot(topic, p), *rest) for topic, p, *rest in position.folded),
            to_us(purchase.occurred_at), to_us(evidence.occurred_at), recorded[_PLACES[entity]],
        )  # fmt: skip


def _left_out(
    evidence: VerdictEvidence, entity: EntityName, keys: Mapping[EntityName, str], recorded: NDArray[np.float32],
    values: Values,
) -> None:  # fmt: skip
    """An entity without a state in the evidence: right when the purchase does not name one, and nothing was known."""
    if entity in keys:
        values.miscount(entity, f"{evidence.transaction_id} has no state of {entity} {keys[entity]}")
    declared = ENTITY_FEATURES[entity]
    nothing = np.array(declared.compute(None, 0), np.float32)[_COLUMNS[entity]]
    values.compare(declared.model_names, recorded[_PLACES[entity]], nothing, evidence.transaction_id, entity, "")


class Purchases:
    """The purchases of every entity by where they lie, to be folded on top of states."""

    def __init__(self) -> None:
        self._of: dict[EntityKey, dict[int, list[tuple[int, bool, EntityUpdate]]]] = {}
        self._decided: dict[int, set[int]] = {}

    def decided(self, purchase: PurchaseRequested, source: int, offset: int) -> None:
        """A purchase with a verdict; one decided twice (after a kill) is one purchase."""
        known = self._decided.setdefault(source, set())
        if offset not in known:
            known.add(offset)
            self._add(update_of(purchase, source, offset, 0), True)

    def seen(self, update: EntityUpdate) -> None:
        """A purchase as its topic has it, with a verdict or (the shop's repeats, refused ones) without."""
        if update.offset not in self._decided.get(update.source, ()):
            self._add(update, False)

    def _add(self, update: EntityUpdate, decided: bool) -> None:
        for entity in update.entities:
            lies = self._of.setdefault((entity, update.fact.ids[entity]), {}).setdefault(update.source, [])
            entry = (update.offset, decided, update)
            if not lies or lies[-1][0] < update.offset:
                lies.append(entry)
            else:
                insort(lies, entry, key=lambda each: each[0])

    def of(self, key: EntityKey, wanted: Range) -> list[EntityUpdate] | None:
        """The purchases of an entity in a range; None when no reading of it gives their number.

        A worker folds what it decides, and not what it knows as a repeat. Of a partition that has just moved to it, it
        knows only as repeats those whose first lies in what it has read again; or none.
        """
        lies = self._of.get(key, {}).get(wanted.source, [])
        begin = bisect_left(lies, wanted.first, key=lambda each: each[0])
        inside = lies[begin : bisect_right(lies, wanted.last, key=lambda each: each[0])]
        everything = [update for _, _, update in inside]
        decided = [update for _, is_decided, update in inside if is_decided]
        once: dict[str, EntityUpdate] = {}
        for update in everything:
            once.setdefault(update.fact.message_id, update)
        return next(
            (each for each in (decided, list(once.values()), everything) if len(each) == wanted.n_purchases), None
        )


@dataclass
class _Onto:
    """A copy of a state with purchases folded on top; the next verdict's are mostly those and a few more."""

    state: WindowState
    folded: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Source -> first and last offset."""

    def can_grow_to(self, wanted: Sequence[Range]) -> bool:
        ranges = {each.source: each for each in wanted}
        return all(
            source in ranges and ranges[source].first == first and ranges[source].last >= last
            for source, (first, last) in self.folded.items()
        )


@dataclass
class _Waiting:
    """A verdict that waits for the first update it did not see."""

    decided_us: int
    folded: dict[int, tuple[int, int]]

    def saw(self, update: EntityUpdate) -> bool:
        first, last = self.folded.get(update.source, (0, -1))
        return first <= update.offset <= last


class _Entity:
    """One entity on its way through the log."""

    def __init__(self, features: EntityFeatures) -> None:
        self.features = features
        self.stored = StoredState(features.layout.empty(), [])
        self.looks: list[Look] = []
        self.onto: _Onto | None = None
        self.waiting: list[_Waiting] = []


class Recomputation:
    """One partition of `entity-updates`, folded once; each verdict is judged when its position is reached.

    Memory grows with the entities and verdicts looked at, not with the log.
    """

    def __init__(self, looks: Iterable[Look], purchases: Purchases, values: Values) -> None:
        self._purchases = purchases
        self._values = values
        self._entities: dict[EntityKey, _Entity] = {}
        self._last = -1
        for look in looks:
            key = (look.entity, look.key)
            known = self._entities.get(key)
            if known is None:
                known = self._entities[key] = _Entity(ENTITY_FEATURES[look.entity])
            known.looks.append(look)
        for known in self._entities.values():
            known.looks.sort(key=lambda look: (look.updates_offset, look.decided_us), reverse=True)

    def feed(self, offset: int, update: EntityUpdate) -> None:
        """The next update of the log, from the record at `offset`."""
        self._last = offset
        for entity in update.entities:
            key = (entity, update.fact.ids[entity])
            known = self._entities.get(key)
            if known is None:
                continue
            while known.looks and known.looks[-1].updates_offset < offset:
                self._judge(key, known, known.looks.pop())
            if known.waiting:
                self._missed(entity, known, update)
            if known.looks:
                known.features.layout.fold_stored(known.stored, update)
                known.onto = None
            elif not known.waiting:
                del self._entities[key]

    def finish(self, end: int) -> None:
        """The log has ended; it held everything below `end`. Judges what is left."""
        for key, known in self._entities.items():
            while known.looks:
                look = known.looks.pop()
                if look.updates_offset >= end:
                    self._values.miscount(look.entity, f"{look.transaction_id} read {look.entity} {look.key} at offset "
                                          f"{look.updates_offset}, and the log ends before {end}")  # fmt: skip
                self._judge(key, known, look)
            self._values.missed_s[key[0]].extend(0.0 for _ in known.waiting)

    def _missed(self, entity: EntityName, known: _Entity, update: EntityUpdate) -> None:
        if update.offset <= known.stored.state.positions.get(update.source, -1):
            return  # delivered again: nothing new
        still = []
        for each in known.waiting:
            if each.saw(update):
                still.append(each)
            else:
                self._values.missed_s[entity].append(max(0.0, (each.decided_us - update.broker_ms * 1000) / 1e6))
        known.waiting = still

    def _judge(self, key: EntityKey, known: _Entity, look: Look) -> None:
        state = self._with_purchases(key, known, look) if look.folded else known.stored.state
        found = known.features.compute(state, look.as_of_us)
        recomputed = np.array([found[column] for column in _COLUMNS[look.entity]], np.float32)
        names = known.features.model_names
        self._values.compare(names, look.recorded, recomputed, look.transaction_id, look.entity, look.key)
        if look.decided_us - look.as_of_us <= PROMPT_US:
            folded = {each.source: (each.first, each.last) for each in look.folded}
            known.waiting.append(_Waiting(look.decided_us, folded))

    def _with_purchases(self, key: EntityKey, known: _Entity, look: Look) -> WindowState:
        onto = known.onto
        if onto is None or not onto.can_grow_to(look.folded):
            onto = known.onto = _Onto(decode_state(encode_state(known.stored.state)))
        for wanted in look.folded:
            updates = self._purchases.of(key, wanted)
            if updates is None:
                self._values.miscount(look.entity, f"{look.transaction_id} folded {wanted.n_purchases} purchases of "
                                      f"{look.entity} {look.key}, and the log holds another number")  # fmt: skip
                continue
            done = onto.folded.get(wanted.source, (0, -1))[1]
            for update in updates:
                if update.offset > done:
                    known.features.layout.fold(onto.state, update)
            onto.folded[wanted.source] = (wanted.first, wanted.last)
        return onto.state


class Parity:
    """All served verdicts against the log: first every verdict, then every partition of `entity-updates`."""

    def __init__(self) -> None:
        self.values = Values()
        self.purchases = Purchases()
        self._looks: dict[int, list[Look]] = {}

    def take(self, evidence: VerdictEvidence) -> None:
        """A verdict, of any posture: its purchase may be part of another's."""
        if evidence.purchase is not None:
            topic, partition, offset = evidence.source
            self.purchases.decided(evidence.purchase, source_slot(topic, partition), offset)
        for look in looks_of(evidence, self.values):
            self._looks.setdefault(look.updates_partition, []).append(look)

    def furthest(self) -> dict[int, int]:
        """Per partition, the last offset of `entity-updates` that a verdict was computed from."""
        return {p: max(look.updates_offset for look in looks) for p, looks in self._looks.items()}

    def partition(self, partition: int) -> Recomputation:
        """To be fed with the updates of a partition, in order; takes its verdicts away."""
        return Recomputation(self._looks.pop(partition, []), self.purchases, self.values)
