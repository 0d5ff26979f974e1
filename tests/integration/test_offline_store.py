"""History through plain Feast: the numbers as of each purchase, and what was served."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ibook.clock import from_us, to_us
from ibook.edges.feast_apply import apply_feature_repo
from ibook.edges.feast_config import has_bigquery, write_yaml, yaml_path
from ibook.edges.feast_import import import_feast
from ibook.edges.feast_views import SERVED_VIEW
from ibook.edges.offline_rows import rows_folder, schema_of, write_states
from ibook.entities import ENTITIES, EntityName
from ibook.errors import ConfigurationError
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES, FEATURE_NAMES_HASH, keys_of, vector
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from ibook.states import WindowState, decode_state, encode_state
from tests.bought import (
    PAST,
    PAST_ANSWERS,
    PAST_AS_OF_US,
    States,
    finished,
    fold,
    fold_facts,
    of_an_older_declaration,
    purchase,
    request_of,
)

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # Ibis 12 under DuckDB 2
SERVICE = f"fraud_{FEATURE_NAMES_HASH}"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("offline"))


@pytest.fixture(scope="module")
def feast_store(settings: Settings) -> Any:
    """Feast as anybody would open it; history needs neither Redis nor Kafka."""
    import_feast()
    from feast import FeatureStore

    apply_feature_repo(settings)
    return FeatureStore(fs_yaml_file=yaml_path(settings))


def history(store: Any, asked: list[dict[str, Any]], features: Any) -> pd.DataFrame:
    """Feast's answer, row by row as asked."""
    frame: pd.DataFrame = store.get_historical_features(entity_df=pd.DataFrame(asked), features=features).to_df()
    assert len(frame) == len(asked)
    return frame


def asked(bought: PurchaseRequested) -> dict[str, Any]:
    return {"event_timestamp": bought.occurred_at, **request_of(bought)}


Snapshot = tuple[str, bytes, int]


def snapshots(purchases: list[PurchaseRequested]) -> tuple[dict[EntityName, list[Snapshot]], list[States]]:
    """A row for every state after every purchase, and the states that each purchase met, itself included."""
    rows: dict[EntityName, list[Snapshot]] = {entity: [] for entity in ENTITIES}
    met: list[States] = []
    states: States = {entity: {} for entity in ENTITIES}
    for offset, bought in enumerate(purchases):
        fold([bought], states, offset)
        met.append({entity: {key: _copy(states[entity][key])} for entity, key in keys_of(bought).items()})
        for entity, key in keys_of(bought).items():
            rows[entity].append((key, encode_state(states[entity][key]), states[entity][key].stamp_us))
    return rows, met


def _copy(state: WindowState) -> WindowState:
    return decode_state(encode_state(state))


def test_numbers_as_of_each_purchase_are_those_of_the_worker(settings: Settings, feast_store: Any) -> None:
    purchases = [purchase(index) for index in range(60)]
    rows, met = snapshots(purchases)
    for entity in ENTITIES:
        half = len(rows[entity]) // 2
        for part in (rows[entity][half:], rows[entity][:half]):  # files in any order
            path = write_states(settings, entity, iter(part))
            assert path is not None
            assert path.parent == settings.data_dir / "offline" / f"{entity}_state"

    order = [int(index) for index in np.random.default_rng(7).permutation(len(purchases))]
    answer = history(feast_store, [asked(purchases[i]) for i in order], feast_store.get_feature_service(SERVICE))

    for row, index in enumerate(order):
        bought = purchases[index]
        known = {entity: next(iter(by_key.values())) for entity, by_key in met[index].items()}
        values = [float(answer[name][row]) for name in FEATURE_NAMES]
        expected = finished(bought, known)
        assert repr(values) == repr([expected[name] for name in FEATURE_NAMES]), "bit for bit, before float32"
        assert np.array(values, dtype=np.float32).tobytes() == vector(bought, known).tobytes()


def test_a_row_holds_from_its_own_microsecond_on(settings: Settings, feast_store: Any) -> None:
    first, second = (fold([purchase(i) for i in range(n)])["card"]["c0"] for n in (1, 5))
    write_states(settings, "card", [("edge", encode_state(s), s.stamp_us) for s in (second, first)])
    instants = [first.stamp_us - 1, first.stamp_us, second.stamp_us - 1, second.stamp_us, second.stamp_us + 10**12]
    names = ENTITY_FEATURES["card"].names
    answer = history(
        feast_store,
        [{"card_id": "edge", "event_timestamp": from_us(us), "as_of": us} for us in instants],
        [f"card_features:{name}" for name in names],
    )
    known = [None, first, first, second, second]
    expected = [ENTITY_FEATURES["card"].compute(state, us) for state, us in zip(known, instants, strict=True)]
    assert answer[names].astype(float).to_numpy().tobytes() == np.array(expected).tobytes()


def test_unknown_keys_and_bytes_of_others_are_told_apart(settings: Settings, feast_store: Any) -> None:
    state = fold([purchase(index) for index in range(9)])["device"]["d"]
    older, at_us = of_an_older_declaration("device", state), state.stamp_us
    stored = {"older": encode_state(older), "empty": b"", "foreign": b"hello world"}
    write_states(settings, "device", [(key, payload, at_us) for key, payload in stored.items()])
    declared = ENTITY_FEATURES["device"]
    answer = history(
        feast_store,
        [{"device_id": key, "event_timestamp": from_us(at_us), "as_of": at_us} for key in (*stored, "-", "", None)],
        [f"device_features:{name}" for name in declared.names],
    )
    missing, unseen = [math.nan] * len(declared.names), declared.compute(None, at_us)
    expected = [declared.compute(older, at_us), missing, missing, unseen, unseen, unseen]
    assert answer[declared.names].astype(float).to_numpy().tobytes() == np.array(expected).tobytes()


def test_history_and_behaviour_under_the_names_of_the_plan(settings: Settings, feast_store: Any) -> None:
    for entity, by_key in fold_facts(PAST).items():
        write_states(settings, entity, [(f"past-{key}", encode_state(s), s.stamp_us) for key, s in by_key.items()])
    at = {"event_timestamp": from_us(PAST_AS_OF_US), "as_of": PAST_AS_OF_US}
    known = {"event_id": "past-e1", "promoter_id": "past-p", "user_id": "past-u", **at}
    answer = history(
        feast_store,
        [known, {"event_id": "-", "promoter_id": None, "user_id": "-", **at}],
        [f"{'event_historical_metrics' if index < 3 else 'user_purchase_behavior'}:{name}"
         for index, name in enumerate(PAST_ANSWERS)],
    )  # fmt: skip
    assert {name: answer[name][0] for name in PAST_ANSWERS} == PAST_ANSWERS
    assert [str(answer[name][1]) for name in PAST_ANSWERS] == ["0.0", "nan", "nan", "0.0", "nan", ""]


def test_a_busy_key_does_not_multiply_the_rows(settings: Settings, feast_store: Any) -> None:
    """Feast's own join would hold 2,000 x 2,000 / 2 states of 4 KB at once."""
    start_us, n_rows = to_us(purchase(0).occurred_at), 2_000
    state = fold([purchase(index) for index in range(40)])["event"]["e0"]
    payloads = [encode_state(state) + bytes(4_000)] * n_rows  # what follows a state is not looked at by the join
    write_states(settings, "event", [("hot", p, start_us + 10 * i) for i, p in enumerate(payloads)])
    answer = history(
        feast_store,
        [{"event_id": "hot", "event_timestamp": from_us(start_us + 10 * i + 5)} for i in range(n_rows)],
        ["event_state:event_state"],
    )
    assert set(map(len, answer["event_state"])) == {len(payloads[0])}


def test_other_questions_are_answered_by_feasts_own_join(feast_store: Any) -> None:
    frame = pd.DataFrame([{"event_id": "nobody", "event_timestamp": from_us(PAST_AS_OF_US)}])
    answer = feast_store.get_historical_features(
        entity_df=frame, features=["event_state:event_state"], full_feature_names=True
    ).to_df()
    assert list(answer.columns) == ["event_id", "event_timestamp", "event_state__event_state"]


# ------------------------------------------------------------------------------------------------------ what was served
def test_what_was_served_is_joined_by_transaction(settings: Settings, feast_store: Any) -> None:
    bought = [purchase(index) for index in range(3)]
    values = np.random.default_rng(3).random((3, len(FEATURE_NAMES)))
    values[1, 4] = math.nan
    for index, day in enumerate(("2026-03-01", "2026-03-01", "2026-03-02")):
        # The archive's files have more columns; the last one was written before the last feature was declared.
        known = dict(zip(FEATURE_NAMES[: None if index < 2 else -1], map(float, values[index]), strict=False))
        about = {"transaction_id": bought[index].transaction_id, "occurred_at": bought[index].occurred_at}
        row = {**about, "score": 0.5, **known}
        path = rows_folder(settings, SERVED_VIEW) / f"day={day}" / f"{index}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist([row]).cast(_served_schema(row)), path)
    values[2, -1] = math.nan

    later = timedelta(hours=1)
    answer = history(
        feast_store,
        [{"transaction_id": f"t{i}", "event_timestamp": purchase(i).occurred_at + later} for i in (2, 0, 1, 77)],
        [f"served_features:{name}" for name in FEATURE_NAMES],
    )
    got = answer[list(FEATURE_NAMES)].astype(float).to_numpy()
    np.testing.assert_array_equal(got, np.vstack([values[[2, 0, 1]], np.full(len(FEATURE_NAMES), math.nan)]))


def _served_schema(row: dict[str, Any]) -> pa.Schema:
    fields = {field.name: field for field in schema_of(SERVED_VIEW)}
    return pa.schema([fields.get(name, pa.field(name, pa.float64())) for name in row])


# ---------------------------------------------------------------------------------------------------------- adding rows
def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    def rows() -> Iterator[Snapshot]:
        yield from (("k", b"state", us) for us in range(25_000))
        raise RuntimeError("the log ended early")

    with pytest.raises(RuntimeError, match="ended early"):
        write_states(settings, "ip", rows())
    assert list((tmp_path / "offline" / "ip_state").iterdir()) == []
    assert write_states(settings, "ip", []) is None
    path = write_states(settings, "ip", (("k", b"state", us) for us in range(25_000)))
    assert pq.read_metadata(path).num_rows == 25_000


# ------------------------------------------------------------------------------------------------------------- BigQuery
def bigquery(tmp_path: Path, **more: Any) -> Settings:
    return Settings(data_dir=tmp_path, offline_store="bigquery", **more)


def test_bigquery_needs_a_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"set IBOOK_BIGQUERY_PROJECT\.$"):
        write_yaml(bigquery(tmp_path))


def test_bigquery_is_configured_or_its_client_asked_for(tmp_path: Path) -> None:
    settings = bigquery(tmp_path, bigquery_project="shop", bigquery_location="US")
    if not has_bigquery():
        with pytest.raises(ConfigurationError, match=r"^IBOOK_OFFLINE_STORE=bigquery .*pip install 'ibook\[gcp\]'\.$"):
            apply_feature_repo(settings)
        return
    import_feast()
    from feast.repo_config import load_repo_config

    store = load_repo_config(tmp_path, write_yaml(settings)).offline_store
    assert (store.project_id, store.dataset, store.location) == ("shop", "ibook", "US")


def test_under_bigquery_each_view_is_a_table_of_its_name(tmp_path: Path) -> None:
    code = """
from ibook.edges.feast_import import import_feast
import_feast()
from feature_repo import definitions
tables = {view.name: view.batch_source.table for view in (definitions.event_state, definitions.served_features)}
assert tables == {name: f"shop.tickets.{name}" for name in ("event_state", "served_features")}, tables
"""
    chosen = {"OFFLINE_STORE": "bigquery", "BIGQUERY_PROJECT": "shop", "BIGQUERY_DATASET": "tickets"}
    environment = {f"IBOOK_{name}": value for name, value in {**chosen, "DATA_DIR": str(tmp_path)}.items()}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240, env=os.environ | environment)
    assert list(tmp_path.iterdir()) == [], "nothing of DuckDB's is made"
