"""The Feast repository says what `ibook.features` says, and an on-demand view computes the same numbers."""

import importlib
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from ibook.clock import to_us
from ibook.edges.feast_apply import apply_feature_repo, fingerprint, is_applied, mark_applied, repo_folder
from ibook.edges.feast_config import (
    ENTITY_KEY_VERSION,
    PROJECT,
    SDK_SECONDS,
    redis_connection,
    registry_path,
    write_yaml,
)
from ibook.edges.feast_import import import_feast
from ibook.edges.feast_on_demand import AS_OF, PURCHASE_COLUMNS, entity_columns, purchase_columns
from ibook.edges.feast_views import REALTIME_VIEW, STATE_VIEWS, VIEWS
from ibook.entities import ENTITIES, EntityUpdate, Fact
from ibook.errors import ConfigurationError
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES, FEATURE_NAMES_HASH, REQUEST_FEATURES, request_features
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from ibook.states import WindowState, decode_measures, encode_measures, encode_state

START = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def used_card(n_purchases: int) -> WindowState:
    """A card's state after purchases 1.7 seconds apart."""
    layout = ENTITY_FEATURES["card"].layout
    state = layout.empty()
    for index in range(n_purchases):
        occurred_us = to_us(START) + index * 1_700_001
        numbers = {"amount_minor": 1000 + index, "n_tickets": 1}
        ids = {"card": "c", "user": f"u{index % 3}", "device": "d", "event": "e"}
        fact = Fact("purchase", f"m{index}", occurred_us, numbers, ids)
        layout.fold(state, EntityUpdate(0, index, 0, ["card"], fact))
    return state


def test_on_demand_columns_are_the_features_of_each_row() -> None:
    state, later_us = used_card(40), to_us(START) + 30_000_001
    states = [encode_state(state), None, encode_state(state)]
    columns = entity_columns("card", {"card_state": states, AS_OF: [later_us, later_us, to_us(START)], "card_id": [1]})
    assert list(columns) == ENTITY_FEATURES["card"].names
    expected = [
        ENTITY_FEATURES["card"].compute(state, later_us),
        ENTITY_FEATURES["card"].compute(None, later_us),
        ENTITY_FEATURES["card"].compute(state, to_us(START)),
    ]
    assert [[repr(value) for value in row] for row in zip(*columns.values(), strict=True)] == [
        [repr(value) for value in row] for row in expected
    ]


def test_bytes_that_are_no_state_are_missing_features() -> None:
    columns = entity_columns("user", {"user_state": [b"hello world"], AS_OF: [1]})
    assert all(math.isnan(value) for (value,) in columns.values())


def test_a_state_of_older_declarations_says_what_both_declare_and_no_more() -> None:
    state, later_us = used_card(5), to_us(START) + 10_000_001
    known = dict(zip(ENTITY_FEATURES["card"].names, ENTITY_FEATURES["card"].compute(state, later_us), strict=True))
    amounts = next(f for f in ENTITY_FEATURES["card"].declared if f.name == "card_amount_sum").measures()[0]
    state.layout += 1
    longest_of = decode_measures(state.measures)
    state.measures = encode_measures({1 if id_ == amounts.id else id_: s for id_, s in longest_of.items()})
    columns = entity_columns("card", {"card_state": [encode_state(state)], AS_OF: [later_us]})
    assert columns["card_attempts_1h"] == [known["card_attempts_1h"]] == [5.0]
    assert math.isnan(columns["card_amount_sum_24h"][0]), "nobody counted it until now"


def test_request_columns_are_the_features_of_the_purchase() -> None:
    purchase = PurchaseRequested(
        message_id="m", occurred_at=START, transaction_id="t", user_id="u", card_id="c", device_id="d", ip="1.2.3.4",
        event_id="e", amount_minor=9_999, currency="EUR", n_tickets=4, ticket_type="seat", bin="123456",
        card_country="DE", ip_country="FR", email_domain="example.org", account_opened_at=START - timedelta(days=3),
        starts_at=START + timedelta(days=9),
    )  # fmt: skip
    columns = purchase_columns({
        AS_OF: [to_us(START)], "purchase_amount_minor": [9_999], "purchase_n_tickets": [4],
        "purchase_account_opened_us": [to_us(START - timedelta(days=3))], "purchase_card_country": ["DE"],
        "purchase_ip_country": ["FR"], "purchase_starts_us": [to_us(START + timedelta(days=9))],
        "purchase_list_price_minor": [None],
    })  # fmt: skip
    expected = dict(zip(REQUEST_FEATURES, ([value] for value in request_features(purchase)), strict=True))
    assert repr(columns) == repr(expected)


def test_columns_of_all_views_have_names_of_their_own() -> None:
    columns = [column for view in VIEWS for column in view.columns]
    assert len(columns) == len(set(columns)), "Feast drops columns that two views of one request share"
    assert set(STATE_VIEWS) == set(ENTITIES)
    assert dict(REALTIME_VIEW.columns) == {
        "current_inventory": int, "sell_through_rate_5min": float, "concurrent_viewers": int,
    }  # fmt: skip


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IBOOK_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        import_feast()
        return importlib.import_module("feature_repo.definitions")


def test_the_feature_service_has_the_features_of_the_model(definitions: ModuleType) -> None:
    service = getattr(definitions, f"fraud_{FEATURE_NAMES_HASH}")
    names = [field.name for projection in service.feature_view_projections for field in projection.features]
    assert sorted(names) == sorted(FEATURE_NAMES)
    assert service.tags["feature_names_hash"] == FEATURE_NAMES_HASH


def test_every_on_demand_view_can_be_run_from_its_text(definitions: ModuleType) -> None:
    """Else Feast falls back on bytecode, which another version of Python can't run."""
    from feast import OnDemandFeatureView
    from feast.transformation.udf_rehydrate import rehydrate_udf_from_source

    views = [each for each in definitions.REGISTERED if isinstance(each, OnDemandFeatureView)]
    assert len(views) == len(ENTITIES) + 3
    for view in views:
        function = rehydrate_udf_from_source(view.feature_transformation.udf_string, preferred_name=view.name)
        assert function is not None, view.name
        columns = (AS_OF, *PURCHASE_COLUMNS, *(f"{entity}_state" for entity in ENTITIES))
        inputs: dict[str, list[object]] = {column: [] for column in columns}
        assert list(function(inputs)) == [field.name for field in view.features]
        assert view.description


def test_registered_views_are_the_ones_the_workers_write(definitions: ModuleType) -> None:
    for view in VIEWS:
        registered = getattr(definitions, view.name)
        assert registered.join_keys == [view.join_key]
        assert [feature.name for feature in registered.features] == list(view.columns)


def test_feast_reads_one_module_and_finds_every_object_there(definitions: ModuleType) -> None:
    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView

    ignored = {line for line in (repo_folder() / ".feastignore").read_text().splitlines() if line.endswith(".py")}
    scanned = {path.name for path in repo_folder().glob("*.py")} - ignored - {"__init__.py"}
    assert scanned == {"definitions.py"}
    exported = [id(value) for value in vars(definitions).values()]
    kinds = (Entity, FeatureService, FeatureView, OnDemandFeatureView)
    for name in sorted(ignored - {"__main__.py"}):
        module = importlib.import_module(f"feature_repo.{name.removesuffix('.py')}")
        missing = [key for key, value in vars(module).items() if isinstance(value, kinds) and id(value) not in exported]
        assert not missing, f"definitions.py does not import {missing} of {name}"


def run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_importing_the_online_store_imports_no_slow_library() -> None:
    run_python("""
import sys, ibook.edges.online_store, ibook.edges.feast_apply
assert not {"feast", "redis"} & set(sys.modules)
""")


def test_a_worker_needs_nothing_of_feasts_to_read_and_write_its_rows() -> None:
    run_python("""
import sys
from ibook.edges.online_store import OnlineStore
from ibook.settings import Settings
import streams.purchases_to_verdicts, streams.entities_to_features
OnlineStore(Settings()).close()
assert not {"feast", "pandas", "pyarrow"} & set(sys.modules)
""")


def test_feast_leaves_the_metrics_of_the_process_alone() -> None:
    run_python("""
import os
from ibook.edges.feast_import import import_feast
import_feast()
import_feast()
import feast, feast.feature_server, ibook.metrics, prometheus_client.values
assert not [name for name in os.environ if name.startswith("PROMETHEUS")]
assert prometheus_client.values.ValueClass is prometheus_client.values.MutexValue
page = prometheus_client.generate_latest().decode()
assert "ibook_" in page and "feast_" not in page
""")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache:6380/2", "cache:6380,db=2"),
        ("redis://10.0.0.1", "10.0.0.1:6379,db=0"),
        ("rediss://u:1234@cache/0", 'cache:6379,db=0,password="1234",ssl=true,username="u"'),
        ("redis://:a%2Cb=%22@cache", 'cache:6379,db=0,password="a\\u002cb=\\""'),
    ],
)
def test_a_redis_url_in_feasts_notation(url: str, expected: str) -> None:
    bounds = ",socket_timeout=0.5,socket_connect_timeout=0.5,retry=null"
    assert redis_connection(url, 0.5) == expected + bounds


def test_feast_reads_back_what_the_url_said(tmp_path: Path) -> None:
    import_feast()
    from feast.infra.online_stores.redis import RedisOnlineStore
    from feast.repo_config import load_repo_config

    settings = Settings(data_dir=tmp_path, redis_url="redis://us,er:%22p$HOME,=1@cache:6380/3")
    config = load_repo_config(tmp_path, write_yaml(settings))
    nodes, options = RedisOnlineStore._parse_connection_string(config.online_store.connection_string)
    assert nodes == [{"host": "cache", "port": "6380"}]
    assert (options["username"], options["password"], options["db"]) == ("us,er", '"p$HOME,=1', 3)
    assert options["retry"] is None


def test_feasts_own_command_is_configured_by_the_exported_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import_feast()
    from feast.repo_config import load_repo_config

    monkeypatch.setenv("IBOOK_DATA_DIR", "/somewhere")
    monkeypatch.setenv("IBOOK_REDIS_URL", "redis://cache:6380/2")
    config = load_repo_config(repo_folder(), repo_folder() / "feature_store.yaml")
    assert config.online_store.connection_string == redis_connection("redis://cache:6380/2", SDK_SECONDS)
    assert (config.project, config.registry.path) == (PROJECT, "/somewhere/registry.db")
    assert config.entity_key_serialization_version == ENTITY_KEY_VERSION


def test_feasts_own_command_says_which_settings_are_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    import_feast()
    from feast.repo_config import FeastConfigError, load_repo_config

    monkeypatch.delenv("IBOOK_DATA_DIR", raising=False)
    monkeypatch.delenv("IBOOK_REDIS_URL", raising=False)
    with pytest.raises(FeastConfigError, match="export IBOOK_DATA_DIR and IBOOK_REDIS_URL first"):
        load_repo_config(repo_folder(), repo_folder() / "feature_store.yaml")


@pytest.mark.parametrize("url", ["http://cache", "unix:///run/redis.sock", "redis://[::1]:6379/0", "redis://h:x/0"])
def test_a_url_that_feast_can_not_use_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"IBOOK_REDIS_URL is refused: .*\.$"):
        redis_connection(url, 0.5)


def test_the_configuration_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = write_yaml(Settings(data_dir=tmp_path, redis_url="redis://:secret@cache"))
    assert path.stat().st_mode & 0o077 == 0


def test_definitions_are_registered_again_only_when_they_changed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert not is_applied(settings)
    mark_applied(settings)
    assert not is_applied(settings), "a fingerprint without a registry proves nothing"
    registry_path(settings).touch()
    assert is_applied(settings)
    assert apply_feature_repo(settings) is False
    assert fingerprint(settings) != fingerprint(Settings(data_dir=tmp_path / "elsewhere"))


def test_a_data_folder_that_can_not_be_written_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="can't be written"):
        apply_feature_repo(Settings(data_dir=tmp_path / "file"))
