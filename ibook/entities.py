"""Which entities a message touches, and the facts it carries for their windows.

An update carries the facts of its message rather than finished measures: a feature declared tomorrow over a field
that travels today can be computed from yesterday's updates.
"""

from typing import Literal, get_args

import msgspec
from msgspec import Struct

from ibook import messages as m
from ibook.clock import to_us
from ibook.errors import InvalidMessage
from ibook.topics import FEATURE_SOURCES

EntityName = Literal["user", "card", "device", "event"]
ENTITIES: tuple[EntityName, ...] = get_args(EntityName)
SOURCE_INDEX = {topic.name: index for index, topic in enumerate(FEATURE_SOURCES)}
MAX_PARTITIONS = 1024

FUTURE_TOLERANCE_US = 5 * 60 * 1_000_000
"""How far ahead of the broker's clock a message may claim to have happened."""

Source = m.TicketActivity | m.PurchaseRequested | m.PaymentOutcome | m.FraudLabel | m.InventoryChanged


class Fact(Struct, frozen=True, array_like=True, gc=False):
    """What a message says, as the windows see it."""

    kind: str
    message_id: str
    occurred_us: int
    numbers: dict[str, int]
    ids: dict[str, str]
    """Ids that distinct counts look at."""


class EntityUpdate(Struct, frozen=True, array_like=True, gc=False):
    """One fact for one entity, with the position of the message it came from."""

    entity: EntityName
    key: str
    source: int
    """`source_slot` of topic and partition."""
    offset: int
    fact: Fact


class Watermark(Struct, frozen=True, array_like=True, gc=False):
    """All of a source partition up to `offset` has been sent; `broker_us` is how far that is in broker time."""

    source: int
    offset: int
    broker_us: int


class EntityUpdates(Struct, frozen=True, array_like=True, gc=False):
    """One record of `entity-updates`: many updates for one partition, and what they complete."""

    updates: list[EntityUpdate] = []
    watermarks: list[Watermark] = []


_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(EntityUpdates)


def pack(updates: EntityUpdates) -> bytes:
    """The record's value. MessagePack, not JSON: nobody but us reads it, and it is the busiest topic."""
    return _packer.encode(updates)


def unpack(payload: bytes) -> EntityUpdates:
    """Read a record of `entity-updates`. Raises InvalidMessage."""
    try:
        return _unpacker.decode(payload)
    except msgspec.DecodeError as error:
        raise InvalidMessage("malformed", str(error)) from error


def source_slot(topic: str, partition: int) -> int:
    """One integer for a source topic and partition, stable across versions.

    >>> source_of(source_slot("ticket-purchases", 3))
    ('ticket-purchases', 3)
    """
    return SOURCE_INDEX[topic] * MAX_PARTITIONS + partition


def source_of(slot: int) -> tuple[str, int]:
    """Topic and partition of a source slot."""
    return FEATURE_SOURCES[slot // MAX_PARTITIONS].name, slot % MAX_PARTITIONS


def is_future(message: m.Message, broker_us: int) -> bool:
    """Whether a message claims to have happened later than the broker received it, beyond any clock skew."""
    return to_us(message.occurred_at) > broker_us + FUTURE_TOLERANCE_US


def fact_of(message: Source) -> Fact:
    """The facts a message carries for every entity it touches."""
    kind, numbers = _kind_and_numbers(message)
    return Fact(kind, message.message_id, to_us(message.occurred_at), numbers, _ids(message))


def updates_of(message: Source, source: int, offset: int) -> list[EntityUpdate]:
    """One update for each entity the message touches.

    A user's inventory of ids is read off the fact, so each update repeats it; that is what makes a group of
    updates for one partition self-contained.
    """
    fact = fact_of(message)
    return [
        EntityUpdate(entity, key, source, offset, fact)
        for entity in ENTITIES
        if (key := fact.ids.get(entity)) is not None
    ]


def _ids(message: Source) -> dict[str, str]:
    ids: dict[str, str] = {}
    for entity, field in (("user", "user_id"), ("card", "card_id"), ("device", "device_id"), ("event", "event_id")):
        value = getattr(message, field, None)
        if value is not None:
            ids[entity] = value
    return ids


_CHANGE_KINDS = {"opened": "account_opened", "email": "account_changed", "password": "account_changed",
                 "phone": "account_changed"}  # fmt: skip


def _kind_and_numbers(message: Source) -> tuple[str, dict[str, int]]:
    match message:
        case m.PurchaseRequested():
            return "purchase", {"amount_minor": message.amount_minor, "n_tickets": message.n_tickets}
        case m.PaymentOutcome():
            return message.status, {"amount_minor": message.amount_minor, "n_tickets": message.n_tickets}
        case m.FraudLabel():
            return ("fraud" if message.is_fraud else "cleared"), {}
        case m.InventoryChanged():
            return "inventory", {"capacity": message.capacity, "remaining": message.remaining}
        case m.EventViewed():
            return "view", {}
        case m.SeatsHeld():
            return "hold", {"n_seats": message.n_seats}
        case m.SeatsReleased():
            return "release", {"n_seats": message.n_seats}
        case m.LoginAttempted():
            return ("login" if message.succeeded else "login_failed"), {}
        case m.AccountChanged():
            return _CHANGE_KINDS[message.change], {}
        case m.TicketsTransferred():
            return "transfer", {"n_tickets": message.n_tickets}
