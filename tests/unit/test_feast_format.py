"""What we write is, byte by byte, what Feast writes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.edges.feast_config import ENTITY_KEY_VERSION, PROJECT
from ibook.edges.feast_format import bytes_of, column_field, row_key, stamp_field, timestamp_bytes, value_bytes
from ibook.edges.feast_import import import_feast
from ibook.edges.feast_views import VIEWS

INT64 = st.integers(-(2**63), 2**63 - 1)
KEYS = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), INT64)
BYTES = st.one_of(st.binary(max_size=300), st.integers(0, 20_000).map(bytes))
VALUES = st.one_of(BYTES, INT64, st.text(st.characters(exclude_categories=["Cs"])), st.floats(width=64))


@pytest.fixture(scope="module", autouse=True)
def _feast() -> None:
    import_feast()


def as_feast_has_it(value: bytes | str | int | float) -> Any:
    from feast.protos.feast.types.Value_pb2 import Value

    match value:
        case bytes():
            return Value(bytes_val=value)
        case str():
            return Value(string_val=value)
        case int():
            return Value(int64_val=value)
        case float():
            return Value(double_val=value)


@given(key=KEYS, join_key=st.sampled_from(sorted({view.join_key for view in VIEWS})))
def test_rows_lie_under_the_keys_that_feast_makes(key: str | int, join_key: str) -> None:
    from feast.infra.online_stores.helpers import _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

    entity = EntityKey(join_keys=[join_key], entity_values=[as_feast_has_it(key)])
    assert row_key(PROJECT, join_key, key) == _redis_key(PROJECT, entity, ENTITY_KEY_VERSION)


def test_columns_and_timestamps_lie_in_the_fields_that_feast_names() -> None:
    from feast.infra.online_stores.helpers import _mmh3

    for view in VIEWS:
        assert stamp_field(view.name) == f"_ts:{view.name}"
        for column in view.columns:
            assert column_field(view.name, column) == _mmh3(f"{view.name}:{column}")


@given(value=VALUES)
def test_values_are_written_as_feast_writes_them(value: bytes | str | int | float) -> None:
    assert value_bytes(value) == as_feast_has_it(value).SerializeToString()


@given(value=VALUES)
def test_bytes_are_read_as_feast_reads_them(value: bytes | str | int | float) -> None:
    assert bytes_of(as_feast_has_it(value).SerializeToString()) == (value if isinstance(value, bytes) else None)


@given(value=st.binary(max_size=20), cut=st.integers(1, 20))
def test_a_value_that_is_cut_off_or_goes_on_is_none(value: bytes, cut: int) -> None:
    written = value_bytes(value)
    assert bytes_of(written[:-cut]) is None
    assert bytes_of(written + value_bytes(1)) is None


@given(us=st.integers(0, 2**53))
def test_instants_are_written_as_protobuf_writes_them(us: int) -> None:
    from google.protobuf.timestamp_pb2 import Timestamp

    assert timestamp_bytes(us) == Timestamp(seconds=us // 10**6, nanos=us % 10**6 * 1000).SerializeToString()
