"""Which entities a message touches, and the facts it carries for their windows.

An update carries the facts of its message rather than finished measures: a feature declared tomorrow over a field
that travels today can be computed from yesterday's updates.
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from ibook import messages as m
from ibook.clock import to_us
from ibook.errors import InvalidMessage
from ibook.topics import BY_NAME, FEATURE_SOURCES, FRAUD_EVIDENCE

EntityName = Literal["user", "card", "device", "ip", "subnet", "bin", "event", "promoter"]
ENTITIES: tuple[EntityName, ...] = get_args(EntityName)
SOURCE_INDEX = {topic.name: index for index, topic in enumerate(FEATURE_SOURCES)}
MAX_PARTITIONS = 1024

FUTURE_TOLERANCE_US = 5 * 60 * 1_000_000
"""How far ahead of the broker's clock a message may claim to have happened."""


class PastScore(m.Message, frozen=True, kw_only=True, tag="verdict_evidence.v1"):
    """What the features read of a `VerdictEvidence`: whose purchase got which score."""

    class Buyer(Struct, frozen=True, kw_only=True):
        """The purchase, as far as it is looked at."""

        user_id: m.Id

    purchase: Buyer | None
    score: float | None


Source = m.TicketActivity | m.PurchaseRequested | m.PaymentOutcome | m.FraudLabel | m.InventoryChanged | PastScore

ROUTES: Mapping[str, tuple[EntityName, ...]] = {
    "purchase": ENTITIES,
    "authorised": ("card",),
    "declined": ("user", "card", "device", "ip", "subnet", "bin", "event"),
    "settled": ("user", "card", "event", "promoter"),
    "refunded": ("user", "card", "event", "promoter"),
    "fraud": ("user", "card", "device", "ip", "bin", "event", "promoter"),
    "cleared": ("user", "card", "device", "ip", "bin", "event", "promoter"),
    "view": ("user", "device", "event"),
    "hold": ("user", "device", "ip", "event"),
    "release": ("user", "device", "ip", "event"),
    "login": ("user", "device", "ip"),
    "login_failed": ("user", "device", "ip", "subnet"),
    "account_opened": ("user", "device", "ip", "subnet"),
    "account_changed": ("user", "device", "ip"),
    "transfer": ("user", "device", "event"),
    "inventory": ("event", "promoter"),
    "scored": ("user",),
    "not_scored": (),
}
"""Kind of fact -> the entities that hear of it. Wider than today's features need; what is not sent is not archived."""


class Fact(Struct, frozen=True, array_like=True, gc=False):
    """What a message says, as the windows see it."""

    kind: str
    message_id: str
    """What a repeat repeats: a purchase's or payment's transaction, the message's own id otherwise."""
    occurred_us: int
    numbers: dict[str, int]
    ids: dict[str, str]
    """Ids that distinct counts look at; those of entities are their keys."""


class EntityUpdate(Struct, frozen=True, array_like=True, gc=False):
    """One fact for the entities whose states lie in one partition, with the position of the message it came from."""

    source: int
    """`source_slot` of topic and partition."""
    offset: int
    broker_ms: int
    """When the broker took the message."""
    entities: list[EntityName]
    """Their keys are `fact.ids`."""
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


def source_message(topic: str) -> Any:
    """The type that the features decode a source topic's values to."""
    return PastScore if topic == FRAUD_EVIDENCE.name else BY_NAME[topic].message


def is_future(message: m.Message, broker_us: int) -> bool:
    """Whether a message claims to have happened later than the broker received it, beyond any clock skew."""
    return to_us(message.occurred_at) > broker_us + FUTURE_TOLERANCE_US


def check_not_future(message: m.Message, broker_us: int) -> None:
    """Raises InvalidMessage, `future`, for such a message."""
    if is_future(message, broker_us):
        raise InvalidMessage("future", f"occurred_at {message.occurred_at.isoformat()} is ahead of the broker's clock")


_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"((?:{_OCTET}\.){{3}}){_OCTET}")
"""What `ip_address` takes for IPv4; it takes twenty times as long."""


@lru_cache(maxsize=65_536)
def subnet_of(ip: str) -> str | None:
    """The network an address is rented out in: /24 for IPv4, /48 for IPv6; None when it is no address.

    >>> subnet_of("192.0.2.77"), subnet_of("2001:db8:1:2::3"), subnet_of("proxy-7")
    ('192.0.2.0/24', '2001:db8:1::/48', None)
    """
    if (usual := _IPV4.fullmatch(ip)) is not None:
        return usual[1] + "0/24"
    try:
        address = ip_address(ip)
    except ValueError:
        return None
    return str(ip_network(f"{address}/{24 if address.version == 4 else 48}", strict=False))


def update_of(message: Source, source: int, offset: int, broker_ms: int) -> EntityUpdate:
    """The update of every entity that a message touches."""
    fact = fact_of(message)
    touched = [entity for entity in ROUTES[fact.kind] if entity in fact.ids]
    return EntityUpdate(source, offset, broker_ms, touched, fact)


def fact_of(message: Source) -> Fact:
    """The facts a message carries for every entity it touches.

    A shop that publishes a purchase twice may give it a new message id, but never a new transaction: it is answered
    once, and so it is counted once.
    """
    kind, numbers = _kind_and_numbers(message)
    once = message.transaction_id if isinstance(message, m.PurchaseRequested | m.PaymentOutcome) else message.message_id
    return Fact(kind, once, to_us(message.occurred_at), numbers, _ids(message))


_ID_FIELDS = {
    "user": "user_id", "card": "card_id", "device": "device_id", "ip": "ip", "bin": "bin", "event": "event_id",
    "promoter": "promoter_id", "category": "category", "ticket_type": "ticket_type", "email_domain": "email_domain",
    "card_country": "card_country", "ip_country": "ip_country",
}  # fmt: skip


@cache
def _id_fields(type_: type[Source]) -> tuple[tuple[str, str], ...]:
    """Those of `_ID_FIELDS` that messages of a type have."""
    return tuple((name, field) for name, field in _ID_FIELDS.items() if field in type_.__struct_fields__)


def _ids(message: Source) -> dict[str, str]:
    if isinstance(message, PastScore):
        return {"user": message.purchase.user_id} if message.purchase else {}
    ids = {name: value for name, field in _id_fields(type(message)) if (value := getattr(message, field)) is not None}
    subnet = subnet_of(ids["ip"]) if "ip" in ids else None
    return ids if subnet is None else {**ids, "subnet": subnet}


_CHANGE_KINDS = {"opened": "account_opened", "email": "account_changed", "password": "account_changed",
                 "phone": "account_changed"}  # fmt: skip


def _kind_and_numbers(message: Source) -> tuple[str, dict[str, int]]:
    match message:
        case m.PurchaseRequested() | m.PaymentOutcome():
            kind = "purchase" if isinstance(message, m.PurchaseRequested) else message.status
            return kind, {"amount_minor": message.amount_minor, "n_tickets": message.n_tickets}
        case m.FraudLabel():
            return ("fraud" if message.is_fraud else "cleared"), {
                "amount_minor": message.amount_minor, "delay_seconds": _seconds(message),
            }  # fmt: skip
        case m.InventoryChanged():
            sold = message.capacity - message.remaining
            share = sold * 1000 // message.capacity if message.capacity else 0
            return "inventory", {
                "capacity": message.capacity, "remaining": message.remaining, "sold_permille": share,
            }  # fmt: skip
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
        case PastScore():
            if message.score is None:
                return "not_scored", {}
            return "scored", {"score_ppm": round(message.score * 1_000_000)}


def _seconds(label: m.FraudLabel) -> int:
    """How long after the purchase its label became known."""
    return (to_us(label.occurred_at) - to_us(label.effective_at)) // 1_000_000
