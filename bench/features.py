"""How fast the feature worker folds, how fresh and how large its states are, and how soon it is back."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition

from bench import feature_log
from bench.feature_freshness import Freshness, measure_freshness
from bench.feature_usual import updates_per_second
from ibook.backfill import Wanted, values_at
from ibook.edges import kafka_admin
from ibook.edges.online_store import OnlineStore
from ibook.entities import EntityUpdate, EntityUpdates, pack, unpack
from ibook.errors import ConfigurationError
from ibook.features import ENTITY_FEATURES
from ibook.settings import Settings
from ibook.states import state_in
from infra.local.backends import local_parts
from infra.local.state import mark_data_dir
from streams.folding import Folding, StateCache
from streams.push import PUSH_ROWS

WORKER = "entities-to-features"
USUAL_SECONDS = 10.0
STATE_BYTES = 300
"""Size of the states in the recovery, about a card's."""
READY_SECONDS = 300.0


@dataclass
class Figures:
    """What the bench prints."""

    updates_per_s: float = 0.0
    """Updates of one entity each, folded, in the changelog and pushed, by one worker that finds a backlog."""
    stages_us: dict[str, float] = field(default_factory=dict)
    """Microseconds per update."""
    freshness_ms: dict[str, float] = field(default_factory=dict)
    freshness_load: dict[str, float] = field(default_factory=dict)
    freshness_half_load_ms: dict[str, float] = field(default_factory=dict)
    hot_event: dict[str, float] = field(default_factory=dict)
    usual_way_updates_per_s: float = 0.0
    times_the_usual_way: float = 0.0
    backfill_messages_per_s: float = 0.0
    recovery_s: dict[str, float] = field(default_factory=dict)
    """From the start of the worker's process until it reads its partitions again."""
    recovered_states: int = 0
    state_bytes: dict[str, float] = field(default_factory=dict)
    state_bytes_of: dict[str, dict[str, float]] = field(default_factory=dict)


def measure(settings: Settings, *, purchases: int, states: int, seconds: float, seed: int) -> Figures:
    """All of it: the worker alone first, then the whole platform under load."""
    figures = Figures()
    mark_data_dir(settings.data_dir)
    shutil.rmtree(settings.data_dir / "features", ignore_errors=True)
    alone = settings.model_copy(update={"data_dir": settings.data_dir / "features"})
    with local_parts(alone, alone.data_dir, backend="processes") as parts:
        alone = parts.settings(alone)
        kafka_admin.apply_topics(alone)
        updates = feature_log.shop_updates(seed, purchases, alone.partitions)
        _throughput(alone, updates, figures)
        _sizes(alone, figures)
        _stages(alone, updates[: len(updates) // 4], figures)
        _usual(alone, updates, figures)
        _recovery(alone, states, figures)
    _backfill(updates, figures)
    _fresh(settings, seconds, seed, figures)
    return figures


# ----------------------------------------------------------------------------------------------------- one worker alone
@contextmanager
def _worker(settings: Settings) -> Iterator[float]:
    """The feature worker as a process of its own; yields how many seconds it took to get its partitions."""
    ready, log = settings.data_dir / "bench.ready", settings.data_dir / "logs" / f"{WORKER}.log"
    ready.unlink(missing_ok=True)
    env = {
        **os.environ, "IBOOK_KAFKA_BOOTSTRAP": settings.kafka_bootstrap, "IBOOK_REDIS_URL": settings.redis_url,
        "IBOOK_DATA_DIR": str(settings.data_dir), "IBOOK_READY_FILE": str(ready),
    }  # fmt: skip
    began = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", "streams", WORKER], env=env, stdout=output, stderr=output)
    try:
        _wait(lambda: ready.exists(), READY_SECONDS, f"the worker to be ready, see {log}", every=0.01)
        yield time.perf_counter() - began
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(holds: Any, seconds: float, what: str, every: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise ConfigurationError(f"The bench waited {seconds:.0f} s for {what}.")
        time.sleep(every)


def _throughput(settings: Settings, updates: Sequence[EntityUpdate], figures: Figures) -> None:
    feature_log.preload_updates(settings, updates)
    store, count = OnlineStore(settings), feature_log.count_of(updates)
    with _worker(settings):
        began = time.perf_counter()
        _wait(lambda: None not in store.read_heartbeats(settings.partitions), 120, "the heartbeats of a finished fold")
        seconds = time.perf_counter() - began
    figures.updates_per_s = round(count / seconds, 1)
    _say(
        f"One worker, a backlog of {len(updates)} messages: {count} updates folded, changelogged and pushed in "
        f"{seconds:.1f} s: {figures.updates_per_s:.0f}/s."
    )


def _sizes(settings: Settings, figures: Figures) -> None:
    """Sizes of the states as pushed, of every entity the run made."""
    last = {key: len(state_in(value)[0]) for key, value in _changelog(settings)}
    of: dict[str, list[int]] = {}
    for key, size in last.items():
        of.setdefault(key.decode().partition(":")[0], []).append(size)
    figures.state_bytes = _spread(list(last.values()))
    figures.state_bytes_of = {entity: _spread(of[entity]) for entity in ENTITY_FEATURES if entity in of}
    _say(f"State bytes of {len(last)} entities: {_named(figures.state_bytes)}.")
    for entity, spread in figures.state_bytes_of.items():
        _say(f"  {entity}: {_named(spread)} of {len(of[entity])}")


def _spread(sizes: Sequence[int]) -> dict[str, float]:
    return {"p50": float(np.percentile(sizes, 50)), "p99": float(np.percentile(sizes, 99)), "max": float(max(sizes))}


def _changelog(settings: Settings) -> Iterator[tuple[bytes, bytes]]:
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap, "group.id": "bench", "enable.partition.eof": True,
         "enable.auto.commit": False}
    )  # fmt: skip
    try:
        awaited = set(range(settings.partitions))
        consumer.assign([TopicPartition(feature_log.CHANGELOG, p, 0) for p in awaited])
        while awaited:
            for message in consumer.consume(10_000, 0.2):
                error = message.error()
                if error is None:
                    yield message.key() or b"", message.value() or b""
                elif error.code() == KafkaError._PARTITION_EOF:
                    awaited.discard(int(message.partition() or 0))
    finally:
        consumer.close()


def _stages(settings: Settings, updates: Sequence[EntityUpdate], figures: Figures) -> None:
    """The stages one after the other, in this process, in batches like the worker's."""
    spent = asyncio.run(_staged(settings, updates))
    count = feature_log.count_of(updates)
    figures.stages_us = {name: round(seconds / count * 1e6, 2) for name, seconds in spent.items()}
    _say(f"  µs per update: {_named(figures.stages_us)}")


async def _staged(settings: Settings, updates: Sequence[EntityUpdate]) -> dict[str, float]:
    from streams.app import create_app
    from streams.state_table import StateTable

    app = create_app(WORKER, settings.model_copy(update={"worker_name": "stages"}))
    table, store, cache = StateTable(app, "states", settings.partitions), OnlineStore(settings), StateCache()
    await app.producer.start()
    spent = dict.fromkeys(("decode", "fold", "encode", "changelog and table", "push"), 0.0)
    step = feature_log.BATCH_MESSAGES * settings.partitions
    for start in range(0, len(updates), step):
        for partition, group in feature_log.by_partition(updates[start : start + step], settings.partitions).items():
            payload = pack(EntityUpdates(group, []))
            at = time.perf_counter()
            record = unpack(payload)
            spent["decode"] += (now := time.perf_counter()) - at
            folding = Folding(cache, lambda key, p=partition: table.get(p, key))  # type: ignore[misc]
            folding.fold(start, record.updates)
            spent["fold"] += (then := time.perf_counter()) - now
            stored, rows = folding.encode()
            spent["encode"] += (now := time.perf_counter()) - then
            await table.write(partition, stored)
            spent["changelog and table"] += (then := time.perf_counter()) - now
            _push(store, rows)
            spent["push"] += time.perf_counter() - then
    await app.producer.stop()
    return spent


def _push(store: OnlineStore, rows: Any) -> None:
    by_entity: dict[Any, list[tuple[str, bytes, int]]] = {}
    for (entity, key), row in rows.items():
        by_entity.setdefault(entity, []).append((key, row.payload, row.stamp_us + 1))
    for entity, each in by_entity.items():
        for start in range(0, len(each), PUSH_ROWS):
            store.write_states(entity, each[start : start + PUSH_ROWS])


def _usual(settings: Settings, updates: Sequence[EntityUpdate], figures: Figures) -> None:
    rate = updates_per_second(settings, settings.data_dir / "usual", updates, USUAL_SECONDS)
    figures.usual_way_updates_per_s = round(rate, 1)
    figures.times_the_usual_way = round(figures.updates_per_s / rate, 1)
    _say(
        f"The usual way, one Feast push of plain columns per update: {rate:.0f}/s. "
        f"Ours is {figures.times_the_usual_way:.0f} times as fast."
    )


def _recovery(settings: Settings, states: int, figures: Figures) -> None:
    like = (value for _, value in _changelog(settings) if abs(len(value) - STATE_BYTES) < STATE_BYTES // 5)
    values = list(islice(like, 2000))
    feature_log.preload_changelog(settings, values, states)
    tables = settings.data_dir / "tables" / f"{WORKER}-1"
    shutil.rmtree(tables)
    with _worker(settings) as wiped:
        pass
    with _worker(settings) as warm:
        pass
    figures.recovery_s = {"warm": round(warm, 1), "wiped": round(wiped, 1)}
    figures.recovered_states = states
    _say(f"Back with {states} states of some {STATE_BYTES} bytes: warm {warm:.1f} s, tables wiped {wiped:.1f} s.")


# ----------------------------------------------------------------------------------------------- backfill and freshness
def _backfill(updates: Sequence[EntityUpdate], figures: Figures) -> None:
    """The features of every purchase's user and card, at its instant, from the log."""
    wanted = [
        Wanted(entity, update.fact.ids[entity], update.fact.occurred_us, update.fact.occurred_us)
        for update in updates
        if update.fact.kind == "purchase"
        for entity in ("user", "card")
    ]  # fmt: skip
    began = time.perf_counter()
    values_at(updates, wanted)
    seconds = time.perf_counter() - began
    figures.backfill_messages_per_s = round(len(updates) / seconds, 1)
    _say(
        f"Backfill of {len(wanted)} values' worth of two entities from {len(updates)} messages on one core: "
        f"{figures.backfill_messages_per_s:.0f} messages/s."
    )


def _fresh(settings: Settings, seconds: float, seed: int, figures: Figures) -> None:
    found: Freshness = measure_freshness(settings, seconds=seconds, seed=seed, say=_say)
    figures.freshness_ms, figures.freshness_load = found.freshness_ms, found.load
    figures.freshness_half_load_ms, figures.hot_event = found.half_load_ms, found.hot_event


def as_json(figures: Figures) -> dict[str, Any]:
    """As plain data."""
    return dict(figures.__dict__)


def write(figures: Figures, conditions: str, path: Path) -> None:
    """Write the figures as JSON."""
    path.write_text(json.dumps(as_json(figures) | {"conditions": conditions}, indent=2) + "\n")


def _named(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _say(sentence: str) -> None:
    print(sentence, flush=True)
