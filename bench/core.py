"""Where the time of a verdict goes, without Kafka and Redis: the core alone, at batches of several sizes.

The states are those of a simulated shop's hour. Then its last purchases are made once more, at 1,000/s, on states that
lag behind as the feature workers do: what the worker folds on top, is folded here. Times are of processor, so that
other work on the machine counts little; the least of a few repetitions is taken. Score and reasons are XGBoost's own
time, which `bench verdicts` tells.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from bench.stages import Stages
from ibook.clock import ManualClock, from_us, to_us
from ibook.codec import decode, encode
from ibook.edges.champion import Champion
from ibook.edges.feature_reader import Reading
from ibook.edges.policy_in_force import PolicyInForce
from ibook.edges.scoring import Asked, Scorer
from ibook.entities import EntityName, EntityUpdate, Source, source_slot, update_of
from ibook.features import ENTITY_FEATURES, entity_keys, vector
from ibook.fraud import decide, load_policy
from ibook.heartbeat import Heartbeat
from ibook.messages import PurchaseRequested
from ibook.own_purchases import OwnPurchases, update_of_purchase
from ibook.settings import Settings
from ibook.states import WindowState, decode_state, encode_state
from ibook.topics import FEATURE_SOURCES, TICKET_PURCHASES
from ibook.verdicts import evidence_of, verdict_of
from simulator.history import generate

BATCHES = (1, 16, 64)
RATE, LAG = 1000, 500
"""Purchases per second, and how many of them the states are behind."""
END = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = 1_000_000
REPETITIONS = 3

EntityKey = tuple[EntityName, str]


class Traffic(NamedTuple):
    """What was folded before, and the purchases to decide: each with its bytes, and its update."""

    states: dict[EntityKey, bytes]
    purchases: list[PurchaseRequested]
    payloads: list[bytes]
    updates: list[EntityUpdate]


def traffic(seed: int, past: int, count: int) -> Traffic:
    """An hour of a simulated shop with some `past` purchases, and `count` of them once more from its end on."""
    sources = {topic.name for topic in FEATURE_SOURCES}
    states, last = Folder({}), []
    for offset, (topic, _, message) in enumerate(generate(seed, END, 1.0, past)):
        if topic in sources:
            states.fold(update_of(_source(message), source_slot(topic, 0), offset, 0))
        if isinstance(message, PurchaseRequested):
            last.append(message)
    start_us = max(to_us(END), to_us(last[-1].occurred_at))
    again = [
        structs.replace(each, message_id=f"again-{n}", transaction_id=f"again-{n}",
                        occurred_at=from_us(start_us + n * SECOND // RATE))
        for n, each in enumerate(last[-count:])
    ]  # fmt: skip
    first = offset + 1
    updates = [update_of_purchase(each, 0, first + n) for n, each in enumerate(again)]
    return Traffic(states.encoded(), again, [encode(each) for each in again], updates)


def _source(message: object) -> Source:
    return message  # type: ignore[return-value]  # of a topic that features are made of


class Folder:
    """The feature workers: folds updates into states, whose bytes it gives."""

    def __init__(self, payloads: dict[EntityKey, bytes]) -> None:
        self._payloads = dict(payloads)
        self._states: dict[EntityKey, WindowState] = {}
        self._touched: set[EntityKey] = set()

    def fold(self, update: EntityUpdate) -> None:
        """Into the states of its entities."""
        for entity in update.entities:
            key = (entity, update.fact.ids[entity])
            layout = ENTITY_FEATURES[entity].layout
            if key not in self._states:
                known = self._payloads.get(key)
                self._states[key] = layout.empty() if known is None else decode_state(known)
            layout.fold(self._states[key], update)
            self._touched.add(key)

    def encoded(self) -> dict[EntityKey, bytes]:
        """The states as the online store has them."""
        for key in self._touched:
            self._payloads[key] = encode_state(self._states[key])
        self._touched.clear()
        return self._payloads


class Core:
    """What the verdict worker does with a batch, but for Kafka, Redis and the model."""

    def __init__(self, told: Traffic, settings: Settings) -> None:
        self._told, self._settings = told, settings
        self._clock = ManualClock(END)
        self._scorer = Scorer(settings, Champion(Path("none"), settings.model_name), PolicyInForce(), self._clock)

    def run(self, size: int) -> tuple[dict[str, float], list[NDArray[np.float32]]]:
        """Microseconds per purchase and stage, and the vectors."""
        stages, own, store = Stages(), OwnPurchases(), Folder(self._told.states)
        behind, folded = iter(self._told.updates), 0
        count, rows = len(self._told.purchases), list[NDArray[np.float32]]()
        for start in range(0, count, size):
            for update in islice(behind, max(0, start - LAG - folded)):
                store.fold(update)
            folded = max(folded, start - LAG)
            rows += self._decide(range(start, min(start + size, count)), store.encoded(), own, stages)
        return stages.microseconds(count), rows

    def _decide(
        self, batch: range, stored: dict[EntityKey, bytes], own: OwnPurchases, stages: Stages
    ) -> list[NDArray[np.float32]]:  # fmt: skip
        told, stage = self._told, stages.stage
        with stage("decode"):
            purchases: list[PurchaseRequested] = [decode(told.payloads[n], PurchaseRequested) for n in batch]
            sources = [(TICKET_PURCHASES.name, 0, told.updates[n].offset) for n in batch]
            asked = [Asked.of(*each) for each in zip(purchases, sources, strict=True)]
        now_us = to_us(asked[-1].purchase.occurred_at)
        self._clock.advance(asked[-1].purchase.occurred_at - self._clock.now())
        with stage("refresh"):
            for entity, key in dict.fromkeys(_due(asked, own, now_us)):
                own.refresh(entity, key, stored.get((entity, key)), now_us)
        with stage("vectors"):
            vectors = self._scorer.vectors(asked, own)
        with stage("decide"):
            beat = Heartbeat(now_us, {})
            done = self._scorer.decide_all(vectors, Reading({}, [beat] * self._settings.partitions))
        with stage("encode"):
            for scored in done.scored:
                encode(evidence_of(scored, done.about))
                encode(verdict_of(scored, done.about))
        return vectors.rows


def _due(asked: Sequence[Asked], own: OwnPurchases, now_us: int) -> Iterator[EntityKey]:
    for each in asked:
        for entity, key in each.keys.items():
            if own.is_due(entity, key, now_us):
                yield entity, key


def row_by_row(told: Traffic) -> tuple[float, list[NDArray[np.float32]]]:
    """The plain way: every state decoded, all that it lacks folded in, every feature computed anew. No evidence.

    Microseconds per purchase, and the vectors, which are those of `Core` bit for bit.
    """
    stages, policy, store = Stages(), load_policy(), Folder(told.states)
    lacking: dict[EntityKey, list[EntityUpdate]] = {}
    rows = []
    for n, payload in enumerate(told.payloads):
        if n >= LAG:
            store.fold(told.updates[n - LAG])
        stored = store.encoded()
        with stages.stage("all"):
            purchase: PurchaseRequested = decode(payload, PurchaseRequested)
            update = update_of_purchase(purchase, 0, told.updates[n].offset)
            states = {entity: _completed((entity, key), stored, lacking, update)
                      for entity, key in entity_keys(update.fact).items()}  # fmt: skip
            rows.append(vector(purchase, states))
            decide(None, rows[-1], purchase, policy, "rules_only", 0.5, purchase.occurred_at)
    return stages.microseconds(len(told.payloads))["all"], rows


def _completed(
    key: EntityKey, stored: dict[EntityKey, bytes], lacking: dict[EntityKey, list[EntityUpdate]], update: EntityUpdate
) -> WindowState:
    layout = ENTITY_FEATURES[key[0]].layout
    state = decode_state(stored[key]) if key in stored else layout.empty()
    known = state.positions.get(update.source, -1)
    lacking[key] = [each for each in lacking.get(key, []) if each.offset > known] + [update]
    for each in lacking[key]:
        layout.fold(state, each)
    return state


def measure(*, past: int, purchases: int, seed: int) -> dict[str, dict[str, float]]:
    """Microseconds per purchase: batch size -> stage; and row by row."""
    told = traffic(seed, past, purchases)
    core = Core(told, Settings())
    found = {}
    for size in BATCHES:
        runs = [core.run(size)[0] for _ in range(REPETITIONS)]
        found[f"batch_{size}"] = min(runs, key=lambda run: sum(run.values()))
    found["row_by_row"] = {"all": min(row_by_row(told)[0] for _ in range(REPETITIONS))}
    return found


def say(figures: dict[str, dict[str, float]]) -> None:
    """Print a row per batch size, with how many times the rate of row by row that is."""
    plain = figures["row_by_row"]["all"]
    for name, us in figures.items():
        total = sum(us.values())
        stages = "" if name == "row_by_row" else f": {us}"
        print(f"{name.replace('_', ' ')}: {total:.0f} µs per purchase, {plain / total:.1f} times{stages}", flush=True)
