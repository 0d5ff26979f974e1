"""Is what is archived plausible? Schema, ranges and null rates, checked by pandera while it is written.

Rows are archived whatever they say: a check that fails is counted, logged and listed, and `ibook features doctor`
reads the list.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from ibook.clock import to_us
from ibook.codec import EARLIEST, LATEST
from ibook.edges.archive_schema import EVIDENCE, UPDATES
from ibook.features import FEATURE_NAMES_HASH, FEATURES, REQUEST_FEATURES
from ibook.topics import ENTITY_UPDATES

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import Check, Column, DataFrameSchema

REJECTS = "rejects.jsonl"
REJECTS_BYTES = 5 << 20
"""A longer list is put aside as `rejects.old.jsonl`, and the one before it is dropped."""
KEYS_NULL_AT_MOST: Mapping[str, float] = {
    "user_id": 0.01, "card_id": 0.01, "device_id": 0.01, "ip_id": 0.01, "bin_id": 0.01, "event_id": 0.01,
}  # fmt: skip
"""Share of rows without it: only an unreadable purchase lacks them; subnet and promoter may always be missing."""
_MAY_BE_MISSING = ("days_to_event", "price_over_list")


class Failure(NamedTuple):
    """A check that some rows of a batch failed."""

    check: str
    """Column and check: few values, a metric's label."""
    rows: int
    first: int
    """The first offending row's place in the batch; 0 when it is the batch as a whole that fails."""


class Reject(msgspec.Struct, kw_only=True):
    """A line of the list of rejects."""

    at: datetime
    topic: str
    check: str
    rows: int
    """How many rows of the file failed."""
    file: str
    row: dict[str, Any]
    """The first of them, without its payload."""


def failures_of(topic: str, table: pa.Table) -> list[Failure]:
    """What fails in a table of the archive."""
    if topic == ENTITY_UPDATES.name:
        return [*_wrong_schema(table, UPDATES), *_failures(_update_checks(), _update_frame(table))]
    frame = _evidence_frame(table)
    normal = frame[(frame["posture"] == "normal") & (frame["feature_names_hash"] == FEATURE_NAMES_HASH)]
    found = [*_wrong_schema(table, EVIDENCE), *_failures(_evidence_checks(), frame)]
    return found + (list(_failures(_feature_checks(), normal)) if len(normal) else [])


def _wrong_schema(table: pa.Table, schema: pa.Schema) -> Iterator[Failure]:
    if not table.schema.equals(schema):
        yield Failure("schema", table.num_rows, 0)


def _failures(schema: "DataFrameSchema", frame: "pd.DataFrame") -> Iterator[Failure]:
    from pandera.errors import SchemaErrors

    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        for (column, check), group in cases.groupby([cases["column"].astype(str), cases["check"].astype(str)]):
            places = group["index"].dropna()
            whole = len(places) == 0  # a rate is nobody's row
            yield Failure(f"{column}:{check}", len(frame) if whole else len(places), 0 if whole else int(places.min()))


# ------------------------------------------------------------------------------------------------------------- schemas
def _between(name: str, low: float, high: float) -> "Check":
    from pandera.pandas import Check

    return Check.in_range(low, high, name=name, error=name)


def _at_least_0() -> "Check":
    from pandera.pandas import Check

    return Check.ge(0, name="negative", error="negative")


def _null_rate(at_most: float) -> "Check":
    from pandera.pandas import Check

    name = "null_rate"
    return Check(lambda values: bool(values.isna().mean() <= at_most), ignore_na=False, name=name, error=name)


def _time() -> "Column":
    from pandera.pandas import Column

    return Column(None, _between("outside_2000_to_2100", to_us(EARLIEST), to_us(LATEST)))


@cache
def _update_checks() -> "DataFrameSchema":
    from pandera.pandas import Column, DataFrameSchema

    columns = {
        "partition": Column("int32", _at_least_0()), "offset": Column("int64", _at_least_0()),
        "index": Column("int32", _at_least_0()), "source_topic": Column(object),
        "source_partition": Column(None, _at_least_0()), "source_offset": Column(None, _at_least_0()),
        "broker_at": _time(), "occurred_at": _time(), "kind": Column(object), "message_id": Column(object),
        "numbers": Column("int64", _at_least_0()),
    }  # fmt: skip
    return DataFrameSchema(columns, strict=True)


@cache
def _evidence_checks() -> "DataFrameSchema":
    from pandera.pandas import Column, DataFrameSchema

    columns = {
        "transaction_id": Column(object), "partition": Column("int32", _at_least_0()),
        "offset": Column("int64", _at_least_0()), "decided_at": _time(),
        "occurred_at": Column(None, [_between("outside_2000_to_2100", to_us(EARLIEST), to_us(LATEST)),
                                     _null_rate(KEYS_NULL_AT_MOST["card_id"])], nullable=True),
        "score": Column("float64", _between("outside_0_to_1", 0.0, 1.0), nullable=True),
        "staleness_seconds": Column("float64", nullable=True),
        **{key: Column(None, _null_rate(share), nullable=True) for key, share in KEYS_NULL_AT_MOST.items()},
    }  # fmt: skip
    return DataFrameSchema(columns)


@cache
def _feature_checks() -> "DataFrameSchema":
    """Of verdicts with fresh features: what is a count, or comes from the purchase itself, is never missing."""
    from pandera.pandas import Column, DataFrameSchema

    counts = [name for each in FEATURES if each.kind == "count" and each.for_model for name in each.names()]
    asked = [name for name in REQUEST_FEATURES if name not in _MAY_BE_MISSING]
    return DataFrameSchema({name: Column("float64", _null_rate(0.0), nullable=True) for name in (*counts, *asked)})


# -------------------------------------------------------------------------------------------------------------- frames
def _update_frame(table: pa.Table) -> "pd.DataFrame":
    """The plain columns; `numbers` is the smallest of a row's, times are microseconds."""
    plain = table.drop_columns(["payload", "ids", "entities", "numbers"])
    frame = _plain(plain)
    frame["numbers"] = np.concatenate([_smallest(chunk) for chunk in table["numbers"].chunks])
    return frame


def _smallest(numbers: pa.MapArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Per row its smallest number, 0 without any."""
    starts = numbers.offsets.to_numpy()
    items = numbers.items.to_numpy(zero_copy_only=False)
    smallest = np.zeros(len(numbers), dtype=np.int64)
    filled = starts[:-1] < starts[1:]
    if filled.any():
        smallest[filled] = np.minimum.reduceat(items, starts[:-1][filled])
    return smallest


def _evidence_frame(table: pa.Table) -> "pd.DataFrame":
    return _plain(table.drop_columns(["payload"]))


def _plain(table: pa.Table) -> "pd.DataFrame":
    """As pandas, times as microseconds: its own times end in 2262, and a wrong unit lies beyond."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
    frame: pd.DataFrame = table.to_pandas()
    return frame


# ------------------------------------------------------------------------------------------------------------- rejects
def rejects_of(topic: str, table: pa.Table, file: str, at: datetime) -> list[Reject]:
    """What fails in a table that goes into `file`, each with the first offending row."""
    return [
        Reject(at=at, topic=topic, check=each.check, rows=each.rows, file=file, row=_row(table, each.first))
        for each in failures_of(topic, table)
    ]


def _row(table: pa.Table, place: int) -> dict[str, Any]:
    """What it says, as JSON would have it."""
    known = [field.name for field in table.schema if field.name in (*UPDATES.names, *EVIDENCE.names[:20])]
    columns = [name for name in known if name != "payload"]
    row = table.select(columns).slice(place, 1)
    for number, field in enumerate(row.schema):
        if pa.types.is_timestamp(field.type):
            row = row.set_column(number, field.name, row.column(number).cast(pa.int64()))
    plain: dict[str, Any] = json.loads(json.dumps(row.to_pylist()[0]))
    return plain


def list_rejects(folder: Path, rejects: list[Reject]) -> None:
    """Add them to the list in the archive's folder; raises OSError."""
    path = folder / REJECTS
    if path.exists() and path.stat().st_size > REJECTS_BYTES:
        path.replace(path.with_name("rejects.old.jsonl"))
    with path.open("ab") as file:
        file.write(b"".join(msgspec.json.encode(each) + b"\n" for each in rejects))


def read_rejects(folder: Path) -> list[Reject]:
    """The listed rejects, oldest first; a line that a kill cut short is left out."""
    path = folder / REJECTS
    lines = path.read_bytes().splitlines() if path.exists() else []
    return list(_readable(lines))


def _readable(lines: list[bytes]) -> Iterator[Reject]:
    decoder = msgspec.json.Decoder(Reject)
    for line in lines:
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError:
            continue


def now() -> datetime:
    """When a reject was found: processing time."""
    return datetime.now(UTC)
