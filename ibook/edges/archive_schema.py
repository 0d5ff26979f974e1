"""Records of a topic as rows of its archive: columns to look at, and the payload that readers decode.

A record that can't be read is a row all the same: position and payload, everything else missing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ibook.clock import to_us
from ibook.codec import MAX_OWN_BYTES, decode
from ibook.entities import ENTITIES, EntityUpdate, source_of
from ibook.errors import InvalidMessage
from ibook.features import FEATURE_NAMES, FEATURE_NAMES_HASH, keys_of
from ibook.messages import VerdictEvidence
from ibook.topics import ENTITY_UPDATES, FRAUD_EVIDENCE

TIME = pa.timestamp("us", tz="UTC")
DAY_MS = 24 * 3600 * 1000
_EPOCH_DAY = date(1970, 1, 1)
CHUNK = 2_000
"""Rows that are Python objects at a time: few enough that the garbage collector hardly ever sees them."""

UPDATES = pa.schema([
    pa.field("partition", pa.int32()), pa.field("offset", pa.int64()),
    pa.field("index", pa.int32()),  # place in the record
    pa.field("source_topic", pa.string()), pa.field("source_partition", pa.int32()),
    pa.field("source_offset", pa.int64()), pa.field("broker_at", TIME),  # when the broker took the source's message
    pa.field("occurred_at", TIME), pa.field("kind", pa.string()), pa.field("message_id", pa.string()),
    pa.field("entities", pa.list_(pa.string())), pa.field("ids", pa.map_(pa.string(), pa.string())),
    pa.field("numbers", pa.map_(pa.string(), pa.int64())), pa.field("payload", pa.binary()),
])  # fmt: skip
KEYS = tuple(f"{entity}_id" for entity in ENTITIES)
"""Columns of the keys that a verdict's features were read under; null where the purchase does not name the entity."""
ABOUT = pa.schema([
    pa.field("transaction_id", pa.string()), pa.field("partition", pa.int32()), pa.field("offset", pa.int64()),
    pa.field("occurred_at", TIME),  # of the purchase
    pa.field("decided_at", TIME), *(pa.field(key, pa.string()) for key in KEYS),
    pa.field("action", pa.string()), pa.field("posture", pa.string()), pa.field("score", pa.float64()),
    pa.field("model_version", pa.string()), pa.field("feature_names_hash", pa.string()),
    pa.field("staleness_seconds", pa.float64()),
])  # fmt: skip
_FEATURES = [pa.field(name, pa.float64()) for name in FEATURE_NAMES]
EVIDENCE = pa.schema([*ABOUT, *_FEATURES, pa.field("payload", pa.binary())])
COLUMNS: Mapping[str, str] = {ENTITY_UPDATES.name: "v1", FRAUD_EVIDENCE.name: FEATURE_NAMES_HASH}
"""Topic -> the mark in the file's name that tells its columns: evidence has one per feature."""

UNREADABLE = (InvalidMessage, msgspec.DecodeError, pa.ArrowException, OverflowError, IndexError, KeyError, ValueError)
"""What a record may fail with: not ours, of another version, numbers beyond a column's width."""


class LogRecord(NamedTuple):
    """A record of the log with something to archive."""

    offset: int
    day: date
    """Of the broker's time, UTC."""
    payloads: Sequence[bytes]
    """One per row."""


class Segment(NamedTuple):
    """What becomes one file: records of one day, and the offsets it vouches for."""

    day: date
    first: int
    last: int
    records: Sequence[LogRecord]


def day_of(broker_ms: int) -> date:
    """The UTC day of a broker's timestamp.

    >>> day_of(1_767_225_599_999), day_of(1_767_225_600_000)
    (datetime.date(2025, 12, 31), datetime.date(2026, 1, 1))
    """
    return _EPOCH_DAY + timedelta(days=broker_ms // DAY_MS)


def cut(records: Iterable[LogRecord], start: int, end: int) -> list[Segment]:
    """Records, in order, of the offsets from `start` up to `end` (exclusive), cut wherever the day changes.

    The segments cover every offset in between once; a broker's clock may go back, so a day may come twice.
    """
    days: list[list[LogRecord]] = []
    for record in records:
        if not days or days[-1][-1].day != record.day:
            days.append([])
        days[-1].append(record)
    lasts = [following[0].offset - 1 for following in days[1:]] + [end - 1]
    firsts = [start, *(last + 1 for last in lasts)]
    return [Segment(day[0].day, first, last, day) for day, first, last in zip(days, firsts, lasts, strict=False)]


class _Envelope(msgspec.Struct, array_like=True, gc=False):
    """`EntityUpdates`, its updates left as they are."""

    updates: list[msgspec.Raw] = []


_envelope = msgspec.msgpack.Decoder(_Envelope)
update_decoder = msgspec.msgpack.Decoder(EntityUpdate)


def payloads_of(topic: str, value: bytes | None) -> list[bytes]:
    """What a record holds for the archive: its updates one by one, or the whole of it; watermarks are nothing."""
    if topic == FRAUD_EVIDENCE.name:
        return [value or b""]
    try:
        return [bytes(raw) for raw in _envelope.decode(value or b"").updates]
    except msgspec.DecodeError:
        return [value or b""]


# --------------------------------------------------------------------------------------------------------------- tables
Row = tuple[int, int, int, bytes]
"""Partition, offset, place in the record, payload."""


def table_of(topic: str, partition: int, records: Iterable[LogRecord]) -> pa.Table:
    """The rows of a file, in the order of the log."""
    build = _updates if topic == ENTITY_UPDATES.name else _evidence
    rows = [
        (partition, record.offset, index, payload)
        for record in records
        for index, payload in enumerate(record.payloads)
    ]
    batches = [_forgiving(build, rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK)]
    return pa.Table.from_batches([each for some in batches for each in some])


def _forgiving(build: Callable[[Sequence[Row]], pa.RecordBatch], rows: Sequence[Row]) -> list[pa.RecordBatch]:
    """The rows as a batch; around an unreadable one, as several."""
    try:
        return [build(rows)]
    except UNREADABLE:
        if len(rows) == 1:
            return [_position_only(rows[0], UPDATES if build is _updates else EVIDENCE)]
    half = len(rows) // 2
    return [*_forgiving(build, rows[:half]), *_forgiving(build, rows[half:])]


def _position_only(row: Row, schema: pa.Schema) -> pa.RecordBatch:
    known = dict(zip(("partition", "offset", "index", "payload"), row, strict=True))
    return pa.RecordBatch.from_arrays(
        [pa.array([known.get(field.name)], field.type) for field in schema], schema=schema
    )


def _updates(rows: Sequence[Row]) -> pa.RecordBatch:
    partitions, offsets, indexes, payloads = zip(*rows, strict=True)
    updates = [update_decoder.decode(payload) for payload in payloads]
    facts = [update.fact for update in updates]
    sources = [source_of(update.source) for update in updates]
    columns: list[Any] = [
        partitions, offsets, indexes, [topic for topic, _ in sources], [number for _, number in sources],
        [update.offset for update in updates], [update.broker_ms * 1000 for update in updates],
        [fact.occurred_us for fact in facts], [fact.kind for fact in facts], [fact.message_id for fact in facts],
        _list([update.entities for update in updates]), _map([fact.ids for fact in facts], pa.string()),
        _map([fact.numbers for fact in facts], pa.int64()), payloads,
    ]  # fmt: skip
    return _batch(columns, UPDATES)


def _batch(columns: Sequence[Any], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _starts(lengths: Iterable[int], count: int) -> pa.Array:
    starts = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(np.fromiter(lengths, np.int32, count), out=starts[1:])
    return pa.array(starts)


def _list(values: Sequence[Sequence[str]]) -> pa.Array:
    flat = pa.array([each for one in values for each in one], pa.string())
    return pa.ListArray.from_arrays(_starts(map(len, values), len(values)), flat)


def _map(values: Sequence[Mapping[str, Any]], items: pa.DataType) -> pa.Array:
    keys = pa.array([key for one in values for key in one], pa.string())
    flat = pa.array([item for one in values for item in one.values()], items)
    return pa.MapArray.from_arrays(_starts(map(len, values), len(values)), keys, flat)


def _evidence(rows: Sequence[Row]) -> pa.RecordBatch:
    read: list[VerdictEvidence] = [decode_evidence(payload) for _, _, _, payload in rows]
    about = [_about(row, evidence) for row, evidence in zip(rows, read, strict=True)]
    features = _features(read)
    columns = [
        *map(list, zip(*about, strict=True)),
        *(pa.array(features[:, place], from_pandas=True) for place in range(len(FEATURE_NAMES))),
        [payload for _, _, _, payload in rows],
    ]
    return _batch(columns, EVIDENCE)


def decode_evidence(payload: bytes) -> VerdictEvidence:
    """Read a payload of `fraud_evidence`. Raises InvalidMessage."""
    evidence: VerdictEvidence = decode(payload, VerdictEvidence, max_bytes=MAX_OWN_BYTES)
    return evidence


def _about(row: Row, evidence: VerdictEvidence) -> tuple[Any, ...]:
    """The values of ABOUT."""
    purchase = evidence.purchase
    keys = dict(keys_of(purchase)) if purchase else {}
    return (
        evidence.transaction_id, row[0], row[1], to_us(purchase.occurred_at) if purchase else None,
        to_us(evidence.occurred_at), *(keys.get(entity) for entity in ENTITIES), evidence.action, evidence.posture,
        evidence.score, evidence.model_version, evidence.feature_names_hash, evidence.staleness_seconds,
    )  # fmt: skip


def _features(read: Sequence[VerdictEvidence]) -> NDArray[np.float64]:
    """One row each, NaN is missing; of a verdict by other features all are: their names are not known here."""
    other = [None] * len(FEATURE_NAMES)
    ours = [
        each.features
        if each.feature_names_hash == FEATURE_NAMES_HASH and len(each.features) == len(FEATURE_NAMES)
        else other
        for each in read
    ]
    return np.array(ours, dtype=np.float64).reshape(len(read), len(FEATURE_NAMES))
