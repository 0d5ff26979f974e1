"""A history of messages to feature vectors: replayed in event time through the very functions that serve.

Every message is folded where a live one is, each purchase before its vector is read as of its `occurred_at`; so a row
holds what the verdict worker would have seen without lag.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ibook.clock import to_us
from ibook.entities import EntityName, Source, source_slot, update_of
from ibook.features import MODEL_FEATURES, entity_keys, vector_of
from ibook.messages import PurchaseRequested
from ibook.running import RunningState
from ibook.topics import FEATURE_SOURCES

SOURCE_NAMES = frozenset(topic.name for topic in FEATURE_SOURCES)
"""Topics that features are made of; messages of others have no place in a replay."""
Row = tuple[PurchaseRequested, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message and the topic it was read from."""

    topic: str
    message: Source


def _every(_: PurchaseRequested) -> bool:
    return True


def replay(history: Iterable[Recorded], *, wanted: Callable[[PurchaseRequested], bool] = _every) -> Iterator[Row]:
    """Each wanted purchase of a history with its feature vector; `history` must be in the order of `occurred_at`."""
    states: dict[tuple[EntityName, str], RunningState] = {}
    offsets: defaultdict[str, int] = defaultdict(int)
    for recorded in history:
        offset = offsets[recorded.topic]
        offsets[recorded.topic] += 1
        update = update_of(recorded.message, source_slot(recorded.topic, 0), offset, 0)
        for entity in update.entities:
            key = update.fact.ids[entity]
            state = states.get((entity, key))
            if state is None:
                features = MODEL_FEATURES[entity]
                state = states[entity, key] = RunningState(features, features.layout.empty())
            state.fold(update)
        if isinstance(recorded.message, PurchaseRequested) and wanted(recorded.message):
            as_of_us, keys = to_us(recorded.message.occurred_at), entity_keys(update.fact)
            computed = {entity: states[entity, key].compute(as_of_us) for entity, key in keys.items()}
            yield recorded.message, vector_of(recorded.message, computed)
