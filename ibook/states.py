"""What is known of one entity: its tiles and positions, and their bytes."""

from typing import NamedTuple

import msgspec
from msgspec import Struct


class Last(NamedTuple):
    """The value of the latest fact; ties break by the hash of the message id."""

    occurred_us: int
    message_hash: int
    value: int


# gc=False on the structs below: they hold no cycles, and the collector need not visit tens of thousands of them.
class Tile(Struct, array_like=True, gc=False):
    """What happened in `[start, start + hop of level)`, seconds since the epoch; the tile for life starts at 0."""

    start: int
    level: int
    numbers: dict[int, int]
    """Measure index -> count, sum, extreme, or last time."""
    sets: dict[int, list[int]]
    """Measure index -> sorted 32-bit hashes."""
    lasts: dict[int, Last]


class WindowState(Struct, array_like=True, gc=False):
    """All that is known of one entity, up to a position in every source."""

    layout: int
    """Fingerprint of the layout; a state of another layout is translated, never misread."""
    measures: msgspec.Raw
    """What `encode_measures` made of its measures: only a translation looks, every read would pay."""
    resolution: str
    stamp_us: int = 0
    """Event timestamp of the online store's row: strictly increasing, the same on every replay."""
    latest_us: int = 0
    """Latest event time folded."""
    updates_offset: int = -1
    """Offset in `entity-updates` of the newest record that changed this state: it is the fold up to there."""
    positions: dict[int, int] = {}
    """Source slot -> last folded offset."""
    first_us: dict[int, int] = {}
    """Measure index -> when its kinds first happened."""
    since_us: dict[int, int] = {}
    """Measure index -> event time from which on it is complete; absent when it always was."""
    tiles: list[Tile] = []
    """Oldest first; older tiles are never finer than younger ones."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(WindowState)
_measures_decoder = msgspec.msgpack.Decoder(dict[int, int])


def encode_measures(longest_of: dict[int, int]) -> msgspec.Raw:
    """The id of each measure, in the order of its index -> the longest window it is kept for."""
    return msgspec.Raw(_encoder.encode(longest_of))


def decode_measures(measures: msgspec.Raw) -> dict[int, int]:
    """Read what `encode_measures` made. Raises msgspec.DecodeError."""
    return _measures_decoder.decode(measures)


def encode_state(state: WindowState) -> bytes:
    """The state as bytes; folding the same log gives the same bytes."""
    return _encoder.encode(state)


def decode_state(payload: bytes) -> WindowState:
    """Read what `encode_state` wrote. Raises msgspec.DecodeError."""
    return _decoder.decode(payload)


class StoredState(Struct, array_like=True, gc=False):
    """What a worker keeps of an entity: its state, and what catches the shop's own repeats."""

    state: WindowState
    recent: list[int] = []
    """Hashes of the latest message ids, oldest first; never pushed."""


_stored_decoder = msgspec.msgpack.Decoder(StoredState)


def encode_stored(stored: StoredState) -> bytes:
    """The stored state as bytes."""
    return _encoder.encode(stored)


def decode_stored(payload: bytes) -> StoredState:
    """Read what `encode_stored` wrote. Raises msgspec.DecodeError."""
    return _stored_decoder.decode(payload)


def encode_both(stored: StoredState) -> tuple[bytes, bytes]:
    """`encode_state` of the state alone, and `encode_stored`, for the price of one: the first lies in the second."""
    state = _encoder.encode(stored.state)
    return state, _ARRAY_OF_TWO + state + _encoder.encode(stored.recent)


class StateHead(Struct, array_like=True, frozen=True):
    """The beginning of a state, read without the rest."""

    layout: int
    measures: msgspec.Raw
    resolution: str
    stamp_us: int
    latest_us: int


_ARRAY_OF_TWO = b"\x92"
_parts_decoder = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw])
_head_decoder = msgspec.msgpack.Decoder(StateHead)


def state_in(stored: bytes) -> tuple[bytes, StateHead]:
    """The encoded state that lies in an encoded stored state, and its head; nothing else is decoded.

    Raises msgspec.DecodeError.
    """
    state = bytes(_parts_decoder.decode(stored)[0])
    return state, _head_decoder.decode(state)
