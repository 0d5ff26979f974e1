"""The usual way to keep features fresh: for each message, plain columns computed and pushed through Feast's SDK.

What most tutorials do: counters in a dictionary, one row per entity, one `push` per message. It keeps no event time, no
windows that empty out, no guard against repeats, and no changelog, so it does less.
"""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ibook.edges.feast_config import redis_connection
from ibook.edges.feast_import import import_feast
from ibook.entities import EntityUpdate
from ibook.features import ENTITY_FEATURES
from ibook.settings import Settings


def updates_per_second(settings: Settings, folder: Path, updates: Sequence[EntityUpdate], seconds: float) -> float:
    """Updates pushed per second, one `FeatureStore.push` for each message and entity, for so many seconds."""
    store = _store(settings, folder)
    counts: Counter[tuple[str, str, str]] = Counter()
    began, done = time.perf_counter(), 0
    for update in updates:
        for entity in update.entities:
            key = update.fact.ids[entity]
            counts[entity, key, update.fact.kind] += 1
            store.push(f"{entity}_usual_push", _row(entity, key, counts, update), to=_online())
            done += 1
        if time.perf_counter() - began > seconds:
            break
    return done / (time.perf_counter() - began)


def _online() -> Any:
    from feast.data_source import PushMode

    return PushMode.ONLINE


def _row(entity: str, key: str, counts: Counter[tuple[str, str, str]], update: EntityUpdate) -> Any:
    import pandas as pd

    columns = {name: [float(counts[entity, key, update.fact.kind])] for name in ENTITY_FEATURES[entity].names}  # type: ignore[index]
    return pd.DataFrame({f"{entity}_id": [key], "event_timestamp": [datetime.now(UTC)], **columns})


def _store(settings: Settings, folder: Path) -> Any:
    """A Feast store of its own, with a view of plain float columns for each entity."""
    import_feast()
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig, ValueType
    from feast.types import Float64, String

    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="usual", provider="local", registry=str(folder / "usual.db"),
            online_store={"type": "redis", "connection_string": redis_connection(settings.redis_url, 5.0)},
            offline_store={"type": "duckdb"}, entity_key_serialization_version=3,
        )
    )  # fmt: skip
    objects: list[Any] = []
    for name, features in ENTITY_FEATURES.items():
        entity = Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING)
        batch = FileSource(
            name=f"{name}_usual_batch", path=str(_empty(folder, name)), timestamp_field="event_timestamp"
        )
        schema = [Field(name=f"{name}_id", dtype=String), *(Field(name=n, dtype=Float64) for n in features.names)]
        push = PushSource(name=f"{name}_usual_push", batch_source=batch)
        view = FeatureView(name=f"{name}_usual", entities=[entity], schema=schema, source=push, ttl=timedelta(days=30))
        objects += [entity, view]
    store.apply(objects)
    return store


def _empty(folder: Path, entity: str) -> Path:
    """A file for the batch source that Feast insists on; nothing is read from it."""
    import pandas as pd

    path = folder / f"{entity}.parquet"
    columns: dict[str, Any] = {name: [0.0] for name in ENTITY_FEATURES[entity].names}  # type: ignore[index]
    rows = {f"{entity}_id": [""], "event_timestamp": [datetime.now(UTC)], **columns}
    pd.DataFrame(rows).to_parquet(path)
    return path
