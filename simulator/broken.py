"""Messages that nobody can read, for demonstrations and tests of dead letters, and for degraded runs."""

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec

from ibook import codec, topics
from ibook.messages import EventViewed, Message, PurchaseRequested
from simulator.ids import Ids

Sample = tuple[str, str, bytes, str]
"""Topic, key, payload, and why it can't be read."""
Fields = dict[str, Any]
DAY = datetime(2026, 1, 15, 18, 30, tzinfo=UTC)


def samples(seed: int) -> list[Sample]:
    """One message for each way to be wrong, the same for a seed; every one of them is refused by `codec.decode`."""
    rng, ids = Random(f"{seed}/broken"), Ids(f"broken/{seed}")
    purchase = _fields(_purchase(rng, ids))
    key = str(purchase["card_id"])
    on_purchases = [(topics.TICKET_PURCHASES.name, key, broken(dict(purchase)), why) for why, broken in _WAYS.items()]
    view = _fields(_view(ids))
    return [
        *on_purchases,
        (topics.TICKET_ACTIVITY.name, str(view["user_id"]), _without(view, "event_id"), "missing field"),
        (topics.TICKET_ACTIVITY.name, str(view["user_id"]), _with(view, "type", "event_dreamt_of.v1"), "unknown tag"),
        (topics.PAYMENT_OUTCOMES.name, ids.next(), b"", "empty payload"),
        (topics.FRAUD_LABELS.name, ids.next(), b"[1, 2, 3]", "not an object"),
    ]


def damaged(message: Message, rng: Random, message_id: str, transaction_id: str) -> bytes:
    """A copy of any message under other ids, in one of the ways that `codec.decode` refuses."""
    fields = {**_fields(message), "message_id": message_id}
    if "transaction_id" in fields:
        fields["transaction_id"] = transaction_id
    return rng.choice(_DAMAGES)(fields)


def _purchase(rng: Random, ids: Ids) -> PurchaseRequested:
    return PurchaseRequested(
        message_id=ids.next(), occurred_at=DAY, transaction_id=ids.next(), user_id=ids.next(), card_id=ids.next(),
        device_id=ids.next(), ip="77.12.3.4", event_id=ids.next(), amount_minor=rng.randrange(1000, 9000),
        currency="EUR", n_tickets=2, ticket_type="standard", bin="412345", card_country="DE", ip_country="DE",
        email_domain="gmx.de", account_opened_at=DAY,
    )  # fmt: skip


def _view(ids: Ids) -> EventViewed:
    return EventViewed(
        message_id=ids.next(), occurred_at=DAY, user_id=ids.next(), device_id=ids.next(), ip="77.12.3.4",
        event_id=ids.next(),
    )  # fmt: skip


def _fields(message: msgspec.Struct) -> Fields:
    fields: Fields = msgspec.json.decode(codec.encode(message))
    return fields


def _with(fields: Fields, name: str, value: object) -> bytes:
    return msgspec.json.encode({**fields, name: value})


def _without(fields: Fields, name: str) -> bytes:
    return msgspec.json.encode({key: value for key, value in fields.items() if key != name})


_WAYS: dict[str, Callable[[Fields], bytes]] = {
    "malformed JSON": lambda fields: msgspec.json.encode(fields)[:-25],
    "not UTF-8": lambda fields: msgspec.json.encode(fields).replace(b"gmx.de", b"\xff\xfe.de"),
    "wrong type": lambda fields: _with(fields, "amount_minor", "a lot"),
    "missing field": lambda fields: _without(fields, "device_id"),
    "naive time": lambda fields: _with(fields, "occurred_at", "2026-01-15T18:30:00"),
    "NaN": lambda fields: _with(fields, "amount_minor", "?").replace(b'"?"', b"NaN"),
    "negative amount": lambda fields: _with(fields, "amount_minor", -500),
    "unknown tag": lambda fields: _with(fields, "type", "purchase_requested.v99"),
    "oversize": lambda fields: _with(fields, "note", "x" * 100_000),
}
_DAMAGES: tuple[Callable[[Fields], bytes], ...] = (
    lambda fields: msgspec.json.encode(fields)[:-25],
    lambda fields: msgspec.json.encode(fields).replace(b'"type"', b'"ty\xff\xfe"'),
    lambda fields: _with(fields, "occurred_at", 12.5),
    lambda fields: _with(fields, "occurred_at", str(fields["occurred_at"]).rstrip("Z")),
    lambda fields: _with(fields, "type", f"{fields['type']}9"),
    lambda fields: _without(fields, "message_id"),
    lambda fields: b"",
)
