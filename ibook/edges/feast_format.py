"""Feast's rows as bytes: keys, fields, values and timestamps of its online store format, made without Feast.

The format is part of Feast's public contract, there for programs that read and write the store directly: Feast, Online
Store Format, `docs/specs/online_store_format.md`, with entity keys of version 3. Tests compare every byte with Feast's
own functions. Importing those takes seconds, which nobody has to spare whose worker was just killed.
"""

import struct
from functools import lru_cache

from ibook.measures import SECOND

Key = str | int
KEYS_REMEMBERED = 100_000
_UINT = struct.Struct("<I")
_INT64 = struct.Struct("<q")
_DOUBLE = struct.Struct("<d")
_STRING_TYPE, _INT64_TYPE = 2, 4
"""Of `feast.types.ValueType`."""
_BYTES_TAG, _STRING_TAG, _INT64_TAG, _DOUBLE_TAG = b"\x0a", b"\x12", b"\x20", b"\x29"
"""Fields 1, 2, 4 and 5 of `feast.types.Value`, with their wire types."""
_SECONDS_TAG, _NANOS_TAG = b"\x08", b"\x10"
_ONE_MORE = 0x80


@lru_cache(KEYS_REMEMBERED)
def row_key(project: str, join_key: str, key: Key) -> bytes:
    """The Redis key of the row of one entity: its serialised entity key, then the project.

    >>> row_key("shop", "card_id", "abc")[-11:]
    b'\\x03\\x00\\x00\\x00abcshop'
    """
    name = join_key.encode()
    kind, value = (_INT64_TYPE, _INT64.pack(key)) if isinstance(key, int) else (_STRING_TYPE, key.encode())
    return b"".join((
        _UINT.pack(1), _UINT.pack(_STRING_TYPE), _UINT.pack(len(name)), name, _UINT.pack(kind), _UINT.pack(len(value)),
        value, project.encode(),
    ))  # fmt: skip


def column_field(view: str, column: str) -> bytes:
    """The field of the row's hash that holds a column."""
    import mmh3

    return _UINT.pack(mmh3.hash(f"{view}:{column}", signed=False))


def stamp_field(view: str) -> str:
    """The field that holds the event timestamp of a view."""
    return f"_ts:{view}"


def value_bytes(value: bytes | str | int | float) -> bytes:
    """A value as a `feast.types.Value`.

    >>> value_bytes(b"abc"), value_bytes(300)
    (b'\\n\\x03abc', b' \\xac\\x02')
    """
    match value:
        case bytes():
            return _BYTES_TAG + _varint_again(len(value)) + value
        case str():
            encoded = value.encode()
            return _STRING_TAG + _varint(len(encoded)) + encoded
        case int():
            return _INT64_TAG + _varint(value % 2**64)  # as protobuf writes a negative one
        case float():
            return _DOUBLE_TAG + _DOUBLE.pack(value)


def bytes_of(value: bytes) -> bytes | None:
    """The bytes in a `feast.types.Value`; None for a value of another type, or none at all.

    >>> bytes_of(value_bytes(b"abc")), bytes_of(value_bytes("abc")), bytes_of(b"")
    (b'abc', None, None)
    """
    if value[:1] != _BYTES_TAG:
        return None
    size = 0
    for at, byte in enumerate(value[1:11]):
        size |= (byte & 0x7F) << 7 * at
        if byte < _ONE_MORE:
            return value[at + 2 :] if len(value) == at + 2 + size else None
    return None


def timestamp_bytes(us: int) -> bytes:
    """An instant in microseconds since the epoch as a `google.protobuf.Timestamp`."""
    seconds, nanos = us // SECOND, us % SECOND * 1000
    return (_SECONDS_TAG + _varint_again(seconds) if seconds else b"") + (_NANOS_TAG + _varint(nanos) if nanos else b"")


@lru_cache(maxsize=4096)
def _varint_again(value: int) -> bytes:
    """For sizes and seconds: the same few are asked for again and again."""
    return _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _ONE_MORE:
        out.append(value & 0x7F | _ONE_MORE)
        value >>= 7
    out.append(value)
    return bytes(out)
