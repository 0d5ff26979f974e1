"""The online store on a real Redis: rows, outages, and what plain Feast SDK calls read."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count, product, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from ibook.clock import from_us, to_us
from ibook.edges.feast_apply import apply_feature_repo, repo_folder
from ibook.edges.feast_config import (
    ENTITY_KEY_VERSION,
    PROJECT,
    SDK_SECONDS,
    redis_connection,
    registry_path,
    yaml_path,
)
from ibook.edges.feast_import import import_feast
from ibook.edges.feast_on_demand import EVENT_HISTORY, USER_BEHAVIOR
from ibook.edges.feast_views import STATE_VIEWS, View, feast_entity, feast_view
from ibook.edges.online_store import OnlineStore
from ibook.entities import ENTITIES, EntityName
from ibook.errors import FeatureUnavailable
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES, FEATURE_NAMES_HASH, RealtimeMetrics, keys_of, vector
from ibook.settings import Settings
from ibook.states import encode_state
from infra.local.backends import Parts
from infra.local.processes import free_port
from infra.local.redis import LocalRedis
from tests.bought import (
    PAST,
    PAST_ANSWERS,
    PAST_AS_OF_US,
    finished,
    fold,
    fold_facts,
    of_an_older_declaration,
    purchase,
    request_of,
)
from tests.workers import FEATURE_READ_SECONDS, wait_until

NOW_US = to_us(datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC))


@pytest.fixture(scope="module")
def settings(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    patience = {"feature_read_seconds": FEATURE_READ_SECONDS}
    return parts.settings(Settings(data_dir=tmp_path_factory.mktemp("feast"))).model_copy(update=patience)


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


def test_states_and_heartbeats_are_of_one_instant(store: OnlineStore, settings: Settings) -> None:
    """A state is written before the heartbeat that vouches for it, and the store is emptied now and then."""
    enough = threading.Event()

    def write() -> None:
        writer = OnlineStore(settings)
        with Redis.from_url(settings.redis_url) as client:
            for number in takewhile(lambda _: not enough.is_set(), count(1)):
                writer.write_states("card", [("instant", b"%d" % number, number)])
                writer.write_heartbeat(0, b"%d" % number, number)
                if number % 3 == 0:
                    client.flushall()
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = set[bytes]()
        while len(seen) < 100 and thread.is_alive():
            states, (beat,) = store.read({"card": ["instant"]}, 1)
            if beat is not None:
                seen.add(beat)
                assert int(states["card"][0] or 0) >= int(beat)
    finally:
        enough.set()
        thread.join()
    assert len(seen) == 100


@pytest.fixture
def by_feast(settings: Settings) -> Iterator[tuple[Any, Any]]:
    """Feast's own provider on the same Redis, and its configuration."""
    import_feast()
    from feast import RepoConfig
    from feast.infra.provider import get_provider

    config = RepoConfig(
        project=PROJECT, provider="local", registry=str(registry_path(settings)), offline_store=None,
        online_store={"type": "redis", "connection_string": redis_connection(settings.redis_url, SDK_SECONDS)},
        entity_key_serialization_version=ENTITY_KEY_VERSION,
    )  # fmt: skip
    provider = get_provider(config)
    yield provider, config
    provider.online_store._get_client(config.online_store).close()


def feast_key(view: View, key: str) -> Any:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return EntityKey(join_keys=[view.join_key], entity_values=[Value(string_val=key)])


def test_rows_are_found_where_feasts_own_reads_look_for_them(store: OnlineStore, by_feast: tuple[Any, Any]) -> None:
    provider, config = by_feast
    for entity in ENTITIES:
        store.write_states(entity, [("here", entity.encode(), NOW_US)])
    for entity, view in STATE_VIEWS.items():
        keys = [feast_key(view, key) for key in ("here", "not")]
        found = provider.online_read(config, feast_view(view, feast_entity(view)), keys)
        (column,) = view.columns
        read = [row[column].bytes_val or None if row else None for _, row in found]
        assert read == store.read_states({entity: ["here", "not"]})[entity] == [entity.encode(), None]
        assert found[0][0] == from_us(NOW_US)


INSTANTS = (0, 1, 999_999, 1_000_000, 1_000_001, NOW_US, NOW_US + 1)


@pytest.mark.parametrize("feast_is_first", [False, True])
def test_feast_and_we_agree_on_which_row_is_newer(
    store: OnlineStore, by_feast: tuple[Any, Any], feast_is_first: bool
) -> None:
    provider, config = by_feast
    from feast.protos.feast.types.Value_pb2 import Value

    view = STATE_VIEWS["card"]
    table, (column,) = feast_view(view, feast_entity(view)), view.columns

    def write(feasts: bool, key: str, state: bytes, stamp_us: int) -> None:
        if feasts:
            row = (feast_key(view, key), {column: Value(bytes_val=state)}, from_us(stamp_us), None)
            provider.online_write_batch(config, table, [row], None)
        else:
            store.write_states("card", [(key, state, stamp_us)])

    for first_us, then_us in product(INSTANTS, INSTANTS):
        key = f"{first_us} {then_us}"
        write(feast_is_first, key, b"first", first_us)
        write(not feast_is_first, key, b"then", then_us)
        newest = b"then" if then_us > first_us or first_us == 0 else b"first"  # Feast takes the epoch for no time
        assert store.read_states({"card": [key]}) == {"card": [newest]}


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
    store = OnlineStore(Settings(redis_url=own_redis.url, feature_read_seconds=600.0))
    started = time.monotonic()
    with pytest.raises(FeatureUnavailable) as raised:
        getattr(store, call)(*arguments[call])
    assert time.monotonic() - started < 300, "what is known is not waited for"
    assert raised.value.__cause__ is not None


def test_a_redis_that_does_not_answer_is_given_up_within_the_bound_and_used_again(own_redis: LocalRedis) -> None:
    server = own_redis.start()
    settings = Settings(redis_url=own_redis.url, feature_read_seconds=0.2)
    store = OnlineStore(settings)
    keys: dict[EntityName, list[str]] = {entity: ["k"] for entity in ENTITIES}
    try:
        _write_each(own_redis, keys)
        assert _in_time(store, {"card": ["k"]}) == {"card": [b"card"]}
        os.kill(server.pid, signal.SIGSTOP)
        assert _gives_up_after(store, keys) > 0.19, "it holds a connection"
        # One without a connection; a machine that is busy for once is given another try, eight bounds are never one.
        wait_until(lambda: 0.19 < _gives_up_after(OnlineStore(settings), keys) < 0.6, 30, "one bound for all entities")
        wait_until(lambda: 0.19 < _gives_up_after(store, keys) < 0.6, 30, "the same of a store that was asked before")
        os.kill(server.pid, signal.SIGCONT)
        # Answers to the question that was given up must not be taken for answers to this one.
        assert _in_time(store, {"device": ["k"], "card": ["none"]}) == {"device": [b"device"], "card": [None]}
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.stop()


States = dict[EntityName, list[bytes | None]]


def _write_each(redis: LocalRedis, keys: dict[EntityName, list[str]]) -> None:
    """States that say of which entity they are."""
    patient = OnlineStore(Settings(redis_url=redis.url, feature_read_seconds=FEATURE_READ_SECONDS))
    for entity, names in keys.items():
        patient.write_states(entity, [(name, entity.encode(), NOW_US) for name in names])
    patient.close()


def _in_time(store: OnlineStore, keys: dict[EntityName, list[str]]) -> States:
    """The first answer that a busy machine gives within the bound."""
    answers: list[States] = []

    def answered() -> bool:
        try:
            answers.append(store.read_states(keys))
        except FeatureUnavailable:
            return False
        return True

    wait_until(answered, 20, "an answer within the bound")
    return answers[0]


def _gives_up_after(store: OnlineStore, keys: dict[EntityName, list[str]]) -> float:
    """Seconds until it does."""
    started = time.monotonic()
    with pytest.raises(FeatureUnavailable):
        store.read_states(keys)
    return time.monotonic() - started


def test_the_same_store_goes_on_when_redis_is_back(own_redis: LocalRedis) -> None:
    store = OnlineStore(Settings(redis_url=own_redis.url, feature_read_seconds=FEATURE_READ_SECONDS))
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


def test_plain_feast_returns_the_numbers_of_the_fraud_model(store: OnlineStore, feast_store: Any) -> None:
    purchases = [purchase(index) for index in range(40)]
    states = fold(purchases)
    for entity, by_key in states.items():
        store.write_states(entity, [(key, encode_state(state), state.stamp_us) for key, state in by_key.items()])
    asked = [*purchases[-5:], purchase(1_000)]  # the last one's event and users are known, long ago
    assert {"promoter" in keys_of(bought) for bought in asked} == {True, False}

    service = feast_store.get_feature_service(f"fraud_{FEATURE_NAMES_HASH}")
    answer = feast_store.get_online_features(features=service, entity_rows=[request_of(b) for b in asked]).to_dict()

    for row, bought in enumerate(asked):
        known = {entity: states[entity].get(key) for entity, key in keys_of(bought).items()}
        values = [number(answer[name][row]) for name in FEATURE_NAMES]
        expected = finished(bought, known)
        assert repr(values) == repr([expected[name] for name in FEATURE_NAMES]), "bit for bit, before float32"
        assert vector(bought, known).tobytes() == np.array(values, dtype=np.float32).tobytes()


def number(value: float | None) -> float:
    """Feast returns None for NaN."""
    return math.nan if value is None else value


@pytest.mark.parametrize("entity", ENTITIES)
def test_plain_feast_returns_every_number_of_an_entity(
    store: OnlineStore, feast_store: Any, entity: EntityName
) -> None:
    states, at_us = fold([purchase(index) for index in range(7)])[entity], to_us(purchase(9).occurred_at)
    older = of_an_older_declaration(entity, next(iter(states.values())))
    stored = {**{key: encode_state(state) for key, state in states.items()}, "older": encode_state(older),
              "empty": b"", "foreign": b"hello world", "other": b"\x93\x01\x02\x03"}  # fmt: skip
    store.write_states(entity, [(key, state, NOW_US) for key, state in stored.items()])

    declared = ENTITY_FEATURES[entity]
    answer = feast_store.get_online_features(
        features=[f"{entity}_features:{name}" for name in declared.names],
        entity_rows=[{f"{entity}_id": key, "as_of": at_us} for key in [*stored, "nobody", ""]],
    ).to_dict()

    computed = [*(declared.compute(state, at_us) for state in [*states.values(), older])]
    missing, unseen = [math.nan] * len(declared.names), declared.compute(None, at_us)
    expected = [*computed, missing, missing, missing, unseen, unseen]
    got = [[number(answer[name][row]) for name in declared.names] for row in range(len(expected))]
    assert repr(got) == repr(expected)
    assert not all(map(math.isnan, computed[-1])), "what both declarations know is kept"


def test_history_and_behaviour_under_the_names_of_the_plan(store: OnlineStore, feast_store: Any) -> None:
    states = fold_facts(PAST)
    for entity, by_key in states.items():
        store.write_states(entity, [(key, encode_state(state), state.stamp_us) for key, state in by_key.items()])
    known = {"event_id": "e1", "promoter_id": "p", "user_id": "u"}
    unknown = {"event_id": "-", "promoter_id": "", "user_id": "-"}
    answer = feast_store.get_online_features(
        features=[*(f"event_historical_metrics:{name}" for name in EVENT_HISTORY),
                  *(f"user_purchase_behavior:{name}" for name in USER_BEHAVIOR)],
        entity_rows=[{**row, "as_of": PAST_AS_OF_US} for row in (known, unknown)],
    ).to_dict()  # fmt: skip
    assert {name: answer[name][0] for name in PAST_ANSWERS} == PAST_ANSWERS
    assert {name: answer[name][1] for name in PAST_ANSWERS} == {
        "total_tickets_sold": 0.0, "avg_ticket_price": None, "promoter_success_rate": None,
        "lifetime_purchases": 0.0, "fraud_risk_score": None, "preferred_category": "",
    }  # fmt: skip


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
        [feast, "apply"], cwd=repo_folder(), env=environment, capture_output=True, text=True, timeout=240, check=True
    )
    assert (tmp_path / "registry.db").exists()
    said = [
        line for line in done.stderr.splitlines() if "experimental feature" not in line and "warnings.warn" not in line
    ]
    assert not said, "Feast warns about our definitions"
    assert "card_state" in done.stdout
