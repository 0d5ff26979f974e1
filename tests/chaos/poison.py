"""Purchases nobody can read, in every way that was ever seen, and some that only look so."""

from collections.abc import Callable
from random import Random

from ibook import codec
from ibook.edges.kafka import Outgoing
from ibook.messages import PurchaseRequested
from ibook.topics import TICKET_PURCHASES


def _with(name: bytes, value: bytes) -> Callable[[bytes], bytes]:
    """A copy in which a field has this JSON value: the last of two equal names counts."""
    return lambda good: good[:-1] + b',"' + name + b'":' + value + b"}"


CORPUS: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda good: b"",
    "tombstone": lambda good: None,
    "bad UTF-8": lambda good: good.replace(b"example.org", b"\xff\xfe.org"),
    "a lone surrogate": _with(b"email_domain", rb'"\ud800"'),
    "deep nesting": lambda good: b"[" * 30_000,
    "deeply nested in a field nobody reads": _with(b"note", b'{"a":' * 9_000 + b"1" + b"}" * 9_000),
    "1 MB": _with(b"note", b'"' + b"x" * 1_000_000 + b'"'),
    "NaN": _with(b"amount_minor", b"NaN"),
    "infinite": _with(b"n_tickets", b"1e999"),
    "duplicate keys": _with(b"amount_minor", b"700"),
    "duplicate keys, the last one wrong": _with(b"amount_minor", b"null"),
    "a huge integer": _with(b"amount_minor", b"9" * 5_000),
    "a huge integer in a field nobody reads": _with(b"note", b"9" * 5_000),
    "a negative one": _with(b"amount_minor", b"-9223372036854775809"),
    "wrong types": _with(b"card_id", b'["card"]'),
    "no object": lambda good: b'"' + good.hex().encode() + b'"',
    "a naive time": _with(b"occurred_at", b'"2026-01-15T18:30:00"'),
    "the year 9999": _with(b"occurred_at", b'"9999-12-31T23:59:59Z"'),
    "an unknown type": lambda good: good.replace(b"purchase_requested.v1", b"purchase_requested.v9"),
    "cut short": lambda good: good[:-30],
    "two at once": lambda good: good + good,
}
"""What becomes of a good payload. Whether it can be read in the end is for the codec to say."""


def unreadable(bought: PurchaseRequested, rng: Random) -> Outgoing:
    """One of the corpus; half of them say in a header which transaction they are."""
    value = CORPUS[rng.choice(list(CORPUS))](codec.encode(bought))
    named = rng.random() < 0.5
    headers = (("transaction_id", bought.transaction_id.encode()),) if named else ()
    return Outgoing(topic=TICKET_PURCHASES.name, value=value, key=bought.card_id.encode(), headers=headers)
