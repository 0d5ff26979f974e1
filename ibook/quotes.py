"""Quotes: a price as a signed, expiring decision that anyone with the secret can check, without a store."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from struct import Struct

from ibook.clock import from_us, to_us
from ibook.errors import QuoteRefused
from ibook.ids import frame
from ibook.settings import Settings

_VERSION = 1
_CLAIMS = Struct(">B4sQqQ8s8s8s")
"""Version, key id, price, slot, expiry in µs, nonce, and what event and ticket type hash to: 53 bytes."""
_MAC_BYTES = 16
ACCOUNT = "account"
"""The kind of identity that a quote's buyer is; see `QuoteKeys.pseudonym`."""
_TOKEN_CHARS = (_CLAIMS.size + _MAC_BYTES) * 4 // 3


@dataclass(frozen=True, kw_only=True)
class Quote:
    """What a quote promises: this price, for this ticket type of this event, until it expires."""

    event_tag: bytes
    """See `tag`: ids may be as long as the token, so it carries eight bytes that stand for them."""
    ticket_tag: bytes
    price_minor: int
    slot: int
    expires_at: datetime
    nonce: bytes


def tag(identifier: str) -> bytes:
    """Eight bytes that stand for an id inside a token."""
    return sha256(identifier.encode()).digest()[:8]


class QuoteKeys:
    """Signs with the newest secret, honours the quotes of the former ones too."""

    def __init__(self, secret: bytes, *former: bytes) -> None:
        self._keys = {_key_id(one): _derive(one, "sign") for one in (secret, *former)}
        self._key_id = _key_id(secret)
        self._nonce_key = _derive(secret, "nonce")
        self._name_key = _derive(secret, "pseudonym")

    def repeatable_nonce(
        self, event_id: str, ticket_type: str, slot: int, idempotency_key: str, *, buyer: str, asked_by: str
    ) -> bytes:
        """Eight bytes that every replica gives to the same request of the same API key in the same slot."""
        request = frame(event_id, ticket_type, str(slot), idempotency_key, buyer, asked_by)
        return hmac.digest(self._nonce_key, request, "sha256")[:8]

    def pseudonym(self, kind: str, identifier: str) -> str:
        """Twelve characters that stand for somebody: always the same, and nobody without the secret can guess whose."""
        return urlsafe_b64encode(hmac.digest(self._name_key, frame(kind, identifier), "sha256")[:9]).decode()

    def sign(self, quote: Quote) -> str:
        """The quote as a token of 92 characters, its `quote_id`."""
        claims = _CLAIMS.pack(
            _VERSION, self._key_id, quote.price_minor, quote.slot, to_us(quote.expires_at), quote.nonce,
            quote.event_tag, quote.ticket_tag,
        )  # fmt: skip
        return urlsafe_b64encode(claims + _mac(self._keys[self._key_id], claims)).decode()

    def verify(
        self, quote_id: str, *, event_id: str, at: datetime | None = None, grace: timedelta = timedelta(0)
    ) -> Quote:
        """What the token promises for this event; without `at` also when it has expired.

        Raises QuoteRefused: `forged` (we never signed it), `unknown` (signed with a secret we no longer have),
        `other_event`, or `expired` (at `at`, even with `grace`).
        """
        key_id, quote, genuine = self._open(quote_id)
        if key_id not in self._keys:
            raise QuoteRefused("unknown")
        if not genuine:
            raise QuoteRefused("forged")
        if quote.event_tag != tag(event_id):
            raise QuoteRefused("other_event")
        if at is not None and at > quote.expires_at + grace:
            raise QuoteRefused("expired")
        return quote

    def _open(self, quote_id: str) -> tuple[bytes, Quote, bool]:
        raw = _bytes_of(quote_id)
        claims, mac = raw[: _CLAIMS.size], raw[_CLAIMS.size :]
        version, key_id, price_minor, slot, expires_us, nonce, event_tag, ticket_tag = _CLAIMS.unpack(claims)
        if version != _VERSION:
            raise QuoteRefused("forged")
        genuine = hmac.compare_digest(mac, _mac(self._keys.get(key_id, b""), claims))
        try:
            expires_at = from_us(expires_us)
        except OverflowError as error:  # no clock of ours reaches such a time
            raise QuoteRefused("forged") from error
        quote = Quote(
            event_tag=event_tag, ticket_tag=ticket_tag, price_minor=price_minor, slot=slot, expires_at=expires_at,
            nonce=nonce,
        )  # fmt: skip
        return key_id, quote, genuine


def quote_keys(settings: Settings) -> QuoteKeys:
    """The keys that the settings name."""
    former = (secret.get_secret_value().encode() for secret in settings.quote_old_secrets)
    return QuoteKeys(settings.quote_secret.get_secret_value().encode(), *former)


def _derive(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, frame("ibook quote v1", purpose), "sha256")


def _key_id(secret: bytes) -> bytes:
    return _derive(secret, "key id")[:4]


def _mac(key: bytes, claims: bytes) -> bytes:
    return hmac.digest(key, claims, "sha256")[:_MAC_BYTES]


def _bytes_of(quote_id: str) -> bytes:
    """The token's bytes; only the one spelling that `sign` writes is read. Raises QuoteRefused: `forged`."""
    try:
        raw = urlsafe_b64decode(quote_id.encode("ascii")) if len(quote_id) == _TOKEN_CHARS else b""
    except ValueError as error:
        raise QuoteRefused("forged") from error
    if len(raw) != _CLAIMS.size + _MAC_BYTES or urlsafe_b64encode(raw).decode() != quote_id:
        raise QuoteRefused("forged")
    return raw
