"""The online store on a real Redis: rows, outages, and what plain Feast SDK calls read."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redis import Redis

from ibook.clock import from_us, to_us
from ibook.edges.feast_apply import apply_feature_repo, repo_folder
from ibook.edges.feast_config import yaml_path
from ibook.edges.feast_import import import_feast
from ibook.edges.online_store import OnlineStore
from ibook.entities import ENTITIES, EntityName, update_of
from ibook.errors import FeatureUnavailable
from ibook.features import (
    ENTITY_FEATURES,
    FEATURE_NAMES,
    FEATURE_NAMES_HASH,
    REQUEST_FEATURES,
    RealtimeMetrics,
    keys_of,
    request_features,
    vector,
)
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from ibook.windows import WindowState, encode_state
from infra.local.backends import Parts
from infra.local.processes import free_port
from infra.local.redis import LocalRedis

NOW_US = to_us(datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC))


@pytest.fixture(scope="module")
def settings(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return parts.settings(Settings(data_dir=tmp_path_factory.mktemp("feast")))


@pytest.fixture
def store(settings: Settings, wipe_redis: None) -> Iterator[OnlineStore]:
    store = OnlineStore(settings)
    yield store
    store.close()


@pytest.fixture
def wipe_redis(settings: Settings, wipe: Callable[[Settings], None]) -> None:
    """Empties Redis; `wipe`, which empties the topics too, is asked for the permission it stands for."""
    with Redis.from_url(settings.redis_url) as client:
        client.flushall()


# --------------------------------------------------------------------------------------------------------------- rows
def test_states_come_back_in_the_order_asked_for(store: OnlineStore) -> None:
    store.write_states("card", [("a", b"\x00A", NOW_US), ("b", b"", NOW_US)])
    store.write_states("event", [("a", b"E", NOW_US)])
    read = store.read_states({"card": ["b", "nobody", "a", "b"], "event": ["a"], "user": ["a"], "device": []})
    assert read == {"card": [b"", None, b"\x00A", b""], "event": [b"E"], "user": [None], "device": []}


def test_an_older_or_equal_stamp_never_overwrites(store: OnlineStore) -> None:
    def write_and_read(state: bytes, stamp_us: int) -> bytes | None:
        store.write_states("user", [("u", state, stamp_us)])
        return store.read_states({"user": ["u"]})["user"][0]

    assert write_and_read(b"first", NOW_US) == b"first"
    assert write_and_read(b"same instant", NOW_US) == b"first"
    assert write_and_read(b"a microsecond younger", NOW_US + 1) == b"a microsecond younger"
    assert write_and_read(b"older", NOW_US) == b"a microsecond younger"


def test_the_newest_of_a_batch_wins_whatever_its_place(store: OnlineStore) -> None:
    store.write_states("card", [("c", b"new", NOW_US + 2), ("c", b"old", NOW_US + 1)])
    assert store.read_states({"card": ["c"]}) == {"card": [b"new"]}


def test_heartbeats_are_kept_per_partition(store: OnlineStore) -> None:
    assert store.read_heartbeats(2) == [None, None]
    store.write_heartbeat(1, b"up to 42", NOW_US)
    store.write_heartbeat(1, b"up to 41", NOW_US - 1)
    assert store.read_heartbeats(3) == [None, b"up to 42", None]


def test_a_flushed_redis_reads_as_nothing(store: OnlineStore, settings: Settings) -> None:
    store.write_states("card", [("c", b"state", NOW_US)])
    store.write_heartbeat(0, b"beat", NOW_US)
    with Redis.from_url(settings.redis_url) as client:
        client.flushall()
    assert store.read_states({"card": ["c"]}) == {"card": [None]}
    assert store.read_heartbeats(1) == [None]
    store.write_states("card", [("c", b"older, but nothing is stored", NOW_US - 1)])
    assert store.read_states({"card": ["c"]}) == {"card": [b"older, but nothing is stored"]}


def test_a_closed_store_opens_again(store: OnlineStore) -> None:
    store.close()
    assert store.read_heartbeats(1) == [None]


# ------------------------------------------------------------------------------------------------------------- outages
@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis that a test may stop; `start` it as often as needed."""
    yield LocalRedis(tmp_path, free_port())


@pytest.mark.parametrize("call", ["read_states", "read_heartbeats", "write_states", "write_heartbeat"])
def test_an_unreachable_redis_is_told_at_once(own_redis: LocalRedis, call: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "read_states": ({"card": ["c"]},), "read_heartbeats": (4,), "write_states": ("card", [("c", b"", 1)]),
        "write_heartbeat": (0, b"", 1),
    }  # fmt: skip
    store = OnlineStore(Settings(redis_url=own_redis.url))
    started = time.monotonic()
    with pytest.raises(FeatureUnavailable) as raised:
        getattr(store, call)(*arguments[call])
    assert time.monotonic() - started < 0.25
    assert raised.value.__cause__ is not None


def test_a_redis_that_does_not_answer_is_given_up_within_the_bound_and_used_again(own_redis: LocalRedis) -> None:
    server = own_redis.start()
    settings = Settings(redis_url=own_redis.url, feature_read_seconds=0.2)
    store, fresh = OnlineStore(settings), OnlineStore(settings)
    keys: dict[EntityName, list[str]] = {entity: ["k"] for entity in ENTITIES}
    try:
        for entity in ENTITIES:
            store.write_states(entity, [("k", entity.encode(), NOW_US)])
        os.kill(server.pid, signal.SIGSTOP)
        for asked in (store, fresh):  # one holds a connection, the other has none yet
            started = time.monotonic()
            with pytest.raises(FeatureUnavailable):
                asked.read_states(keys)
            assert 0.19 < time.monotonic() - started < 0.6
        os.kill(server.pid, signal.SIGCONT)
        # Answers to the question that was given up must not be taken for answers to this one.
        assert store.read_states({"device": ["k"], "card": ["none"]}) == {"device": [b"device"], "card": [None]}
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.stop()


def test_the_same_store_goes_on_when_redis_is_back(own_redis: LocalRedis) -> None:
    store = OnlineStore(Settings(redis_url=own_redis.url))
    with pytest.raises(FeatureUnavailable):
        store.read_heartbeats(1)
    server = own_redis.start()
    store.write_heartbeat(0, b"beat", NOW_US)
    assert store.read_heartbeats(1) == [b"beat"]
    server.kill()
    with pytest.raises(FeatureUnavailable):
        store.read_heartbeats(1)
    server = own_redis.start()
    try:
        assert store.read_heartbeats(1) == [None]
    finally:
        server.stop()


# ---------------------------------------------------------------------------------------------------- plain Feast calls
@pytest.fixture(scope="module")
def feast_store(settings: Settings) -> Any:
    """Feast as anybody would open it, knowing nothing but the file that applying wrote."""
    import_feast()
    from feast import FeatureStore

    assert apply_feature_repo(settings) is True
    assert apply_feature_repo(settings) is False
    return FeatureStore(fs_yaml_file=yaml_path(settings))


def purchase(index: int) -> PurchaseRequested:
    """One of a series; every third names neither promoter nor start nor list price, and its address is no address."""
    occurred_at = datetime(2026, 3, 1, 12, 0, 0, 7, tzinfo=UTC) + timedelta(seconds=1.3) * index
    bare = index % 3 == 0
    return PurchaseRequested(
        message_id=f"m{index}", occurred_at=occurred_at, transaction_id=f"t{index}", user_id=f"u{index % 3}",
        card_id=f"c{index % 2}", device_id="d", ip="proxy" if bare else f"1.2.3.{index % 5}", event_id=f"e{index % 4}",
        amount_minor=1_000 + 7 * index, currency="EUR", n_tickets=1 + index % 3, ticket_type="seat", bin="123456",
        card_country="DE", ip_country="FR" if index % 2 else "DE", email_domain="example.org",
        account_opened_at=occurred_at - timedelta(days=index, microseconds=11),
        promoter_id=None if bare else "p", starts_at=None if bare else occurred_at + timedelta(days=9, microseconds=3),
        list_price_minor=None if bare else 900,
    )  # fmt: skip


def fold(purchases: list[PurchaseRequested]) -> dict[EntityName, dict[str, WindowState]]:
    states: dict[EntityName, dict[str, WindowState]] = {entity: {} for entity in ENTITIES}
    for offset, bought in enumerate(purchases):
        update = update_of(bought, 0, offset, 0)
        for entity in update.entities:
            layout = ENTITY_FEATURES[entity].layout
            layout.fold(states[entity].setdefault(update.fact.ids[entity], layout.empty()), update)
    return states


def request_of(bought: PurchaseRequested) -> dict[str, Any]:
    """What plain Feast wants to know of a purchase; a key it lacks is "", and a number 0."""
    keys = keys_of(bought)
    return {
        **{f"{entity}_id": keys.get(entity, "") for entity in ENTITIES},
        "as_of": to_us(bought.occurred_at), "purchase_amount_minor": bought.amount_minor,
        "purchase_n_tickets": bought.n_tickets, "purchase_account_opened_us": to_us(bought.account_opened_at),
        "purchase_card_country": bought.card_country, "purchase_ip_country": bought.ip_country,
        "purchase_starts_us": to_us(bought.starts_at) if bought.starts_at else 0,
        "purchase_list_price_minor": bought.list_price_minor or 0,
    }  # fmt: skip


def finished(bought: PurchaseRequested, known: Mapping[EntityName, WindowState | None]) -> dict[str, float]:
    """Every feature by name, as the worker computes it and before it is cut to float32."""
    as_of_us = to_us(bought.occurred_at)
    of_entities = (
        (name, value)
        for entity, declared in ENTITY_FEATURES.items()
        for name, value in zip(declared.names, declared.compute(known.get(entity), as_of_us), strict=True)
    )
    return {**dict(of_entities), **dict(zip(REQUEST_FEATURES, request_features(bought), strict=True))}


def test_plain_feast_returns_the_numbers_of_the_fraud_model(store: OnlineStore, feast_store: Any) -> None:
    purchases = [purchase(index) for index in range(40)]
    states = fold(purchases)
    for entity, by_key in states.items():
        store.write_states(entity, [(key, encode_state(state), state.stamp_us) for key, state in by_key.items()])
    asked = [*purchases[-5:], purchase(1_000)]  # the last one's event and users are known, long ago

    service = feast_store.get_feature_service(f"fraud_{FEATURE_NAMES_HASH}")
    answer = feast_store.get_online_features(features=service, entity_rows=[request_of(b) for b in asked]).to_dict()

    for row, bought in enumerate(asked):
        known = {entity: states[entity].get(key) for entity, key in keys_of(bought).items()}
        values = [math.nan if (value := answer[name][row]) is None else value for name in FEATURE_NAMES]
        expected = finished(bought, known)
        assert repr(values) == repr([expected[name] for name in FEATURE_NAMES]), "bit for bit, before float32"
        assert vector(bought, known).tobytes() == np.array(values, dtype=np.float32).tobytes()


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # Ibis 12 under DuckDB 2
def test_offline_rows_give_the_same_numbers(settings: Settings, feast_store: Any) -> None:
    states = fold([purchase(index) for index in range(10)])["card"]
    rows = [{"card_id": key, "card_state": encode_state(state), "us": state.stamp_us} for key, state in states.items()]
    table = pa.table({
        "card_id": [row["card_id"] for row in rows],
        "card_state": pa.array([row["card_state"] for row in rows], pa.binary()),
        "event_timestamp": pa.array([row["us"] for row in rows], pa.timestamp("us", tz="UTC")),
    })  # fmt: skip
    pq.write_table(table, settings.data_dir / "offline" / "card_state" / "backfill.parquet")

    stamps = [states["c0"].stamp_us, states["c0"].stamp_us - 1, states["c1"].stamp_us + 90_000_001]
    keys, known = ["c0", "c0", "c1"], [states["c0"], None, states["c1"]]
    asked = pd.DataFrame({
        "row": [0, 1, 2], "card_id": keys, "event_timestamp": [from_us(us) for us in stamps], "as_of": stamps,
    })  # fmt: skip
    names = ENTITY_FEATURES["card"].names
    answer = feast_store.get_historical_features(
        entity_df=asked, features=[f"card_features:{name}" for name in names]
    ).to_df()

    expected = [ENTITY_FEATURES["card"].compute(state, us) for state, us in zip(known, stamps, strict=True)]
    got = answer.sort_values("row")[names].astype(float).to_numpy()
    assert got.tobytes() == np.array(expected).tobytes()


def test_realtime_metrics_are_plain_typed_columns(store: OnlineStore, feast_store: Any) -> None:
    row = RealtimeMetrics(current_inventory=120, sell_through_rate_5min=0.1, concurrent_viewers=37)
    store.write_realtime_metrics([("e1", row, NOW_US), ("e2", row, NOW_US)])
    names = ["current_inventory", "sell_through_rate_5min", "concurrent_viewers"]
    answer = feast_store.get_online_features(
        features=[f"event_realtime_metrics:{name}" for name in names],
        entity_rows=[{"event_id": "e1"}, {"event_id": "nobody's"}],
    ).to_dict()
    assert [answer[name] for name in names] == [[120, None], [0.1, None], [37, None]]
    assert [type(answer[name][0]) for name in names] == [int, float, int]


def test_two_views_of_one_event_leave_each_other_alone(store: OnlineStore) -> None:
    store.write_states("event", [("e", b"state", NOW_US)])
    row = RealtimeMetrics(current_inventory=1, sell_through_rate_5min=0.0, concurrent_viewers=0)
    store.write_realtime_metrics([("e", row, NOW_US + 10)])
    store.write_states("event", [("e", b"younger state", NOW_US + 5)])
    assert store.read_states({"event": ["e"]}) == {"event": [b"younger state"]}


@pytest.mark.slow
def test_feasts_own_command_registers_the_repository(settings: Settings, tmp_path: Path) -> None:
    feast = Path(sys.executable).with_name("feast")
    environment = os.environ | {"IBOOK_DATA_DIR": str(tmp_path), "IBOOK_REDIS_URL": settings.redis_url}
    done = subprocess.run(
        [feast, "apply"], cwd=repo_folder(), env=environment, capture_output=True, text=True, timeout=100, check=True
    )
    assert (tmp_path / "registry.db").exists()
    said = [
        line for line in done.stderr.splitlines() if "experimental feature" not in line and "warnings.warn" not in line
    ]
    assert not said, "Feast warns about our definitions"
    assert "card_state" in done.stdout
