"""Quotes as tokens: honoured when ours and in time, refused with a reason otherwise."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.errors import QuoteRefused
from ibook.quotes import Quote, QuoteKeys, quote_keys, tag
from ibook.settings import Settings

EXPIRES = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUOTE = Quote(
    event_tag=tag("e"), ticket_tag=tag("stalls"), price_minor=5000, slot=17, expires_at=EXPIRES, nonce=b"12345678"
)
KEYS = QuoteKeys(b"secret")


@given(
    event_id=st.text(min_size=1, max_size=128), price=st.integers(0, 10**11), slot=st.integers(0, 2**40),
    nonce=st.binary(min_size=8, max_size=8), us=st.integers(0, 4 * 10**15),
)  # fmt: skip
def test_a_quote_survives_its_token(event_id: str, price: int, slot: int, nonce: bytes, us: int) -> None:
    expires_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    quote = Quote(
        event_tag=tag(event_id), ticket_tag=tag("t"), price_minor=price, slot=slot, expires_at=expires_at, nonce=nonce
    )
    quote_id = KEYS.sign(quote)
    assert len(quote_id) <= 128
    assert KEYS.verify(quote_id, event_id=event_id, at=expires_at) == quote


def refusal(quote_id: str, *, event_id: str = "e", at: datetime = EXPIRES, keys: QuoteKeys = KEYS) -> str:
    with pytest.raises(QuoteRefused) as caught:
        keys.verify(quote_id, event_id=event_id, at=at)
    return caught.value.reason


@given(st.text(max_size=130) | st.text("ABCDEFabcdef0123456789-_", min_size=92, max_size=92))
def test_what_we_never_signed_is_refused(quote_id: str) -> None:
    assert refusal(quote_id) in ("forged", "unknown")


@pytest.mark.parametrize("position", range(92))
def test_changing_any_character_breaks_a_quote(position: int) -> None:
    quote_id = KEYS.sign(QUOTE)
    other = "A" if quote_id[position] != "A" else "B"
    assert refusal(quote_id[:position] + other + quote_id[position + 1 :]) in ("forged", "unknown")


def test_a_quote_is_good_for_its_event_only() -> None:
    assert refusal(KEYS.sign(QUOTE), event_id="f") == "other_event"


def test_a_quote_expires_and_grace_prolongs_it() -> None:
    late = EXPIRES + timedelta(seconds=1)
    assert refusal(KEYS.sign(QUOTE), at=late) == "expired"
    assert KEYS.verify(KEYS.sign(QUOTE), event_id="e", at=late, grace=timedelta(seconds=1)) == QUOTE


def test_quotes_of_a_former_secret_are_honoured_until_it_is_dropped() -> None:
    quote_id = KEYS.sign(QUOTE)
    assert QuoteKeys(b"new", b"secret").verify(quote_id, event_id="e", at=EXPIRES) == QUOTE
    assert refusal(quote_id, keys=QuoteKeys(b"new")) == "unknown"


def test_settings_name_the_secrets() -> None:
    settings = Settings(quote_secret="new", quote_old_secrets=("secret",))
    assert quote_keys(settings).verify(KEYS.sign(QUOTE), event_id="e", at=EXPIRES) == QUOTE


def test_the_same_request_in_a_slot_repeats_its_nonce_in_every_replica() -> None:
    request = ("e", "stalls", 17, "order-1", "alice", "shop")
    nonce = nonce_of(KEYS, *request)
    assert nonce == nonce_of(QuoteKeys(b"secret"), *request)
    others = [("f", *request[1:]), ("e", "pit", *request[2:]), ("e", "stalls", 18, *request[3:]),
              (*request[:3], "order-2", *request[4:]), ("e", "stall", 17, "sorder-1", *request[4:]),
              (*request[:4], "bob", "shop"), (*request[:5], "another")]  # fmt: skip
    assert nonce not in [nonce_of(KEYS, *other) for other in others]


def nonce_of(keys: QuoteKeys, event_id: str, ticket_type: str, slot: int, key: str, buyer: str, shop: str) -> bytes:
    return keys.repeatable_nonce(event_id, ticket_type, slot, key, buyer=buyer, asked_by=shop)
