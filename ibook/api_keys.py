"""API keys: who may ask for what. We keep hashes; a key holds 32 random bytes, so a plain hash can't be reversed."""

import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, get_args

from ibook.errors import ConfigurationError

Scope = Literal["price:read", "quote:write", "score:write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_PREFIX = "ibook_"
_KEY_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_RATE = re.compile(r"([1-9][0-9]{0,6})/s")
_NOBODY = bytes(32)
"""Compared with when no key has the id, so that an unknown id takes as long as a wrong key."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What is known of a key: not the key."""

    key_id: str
    scopes: frozenset[Scope]
    digest: bytes
    per_second: int | None = None
    """Requests a second it may make; None is what the settings say."""

    def allows(self, scope: Scope) -> bool:
        """Whether it may be used for this; `admin` may do everything."""
        return scope in self.scopes or "admin" in self.scopes

    def line(self) -> str:
        """The line of a keys file that stands for it."""
        scopes = ",".join(scope for scope in SCOPES if scope in self.scopes)
        return f"{self.key_id} {scopes} sha256:{self.digest.hex()}" + (
            f" {self.per_second}/s" if self.per_second else ""
        )


class KeyRing:
    """The keys that are honoured."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys: Mapping[str, ApiKey] = {key.key_id: key for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, presented: str) -> ApiKey | None:
        """The key that was presented; None when we never made it. Takes as long whatever is wrong with it.

        >>> key, known = new_key("shop", ["price:read"])
        >>> KeyRing([known]).find(key) == known, KeyRing([known]).find(key + "x")
        (True, None)
        """
        known = self._keys.get(presented.removeprefix(_PREFIX).partition("_")[0])
        same = hmac.compare_digest(_digest(presented), known.digest if known else _NOBODY)
        return known if same else None


def new_key(key_id: str, scopes: Iterable[str], *, per_second: int | None = None) -> tuple[str, ApiKey]:
    """A new key, to be shown once, and what to keep of it. Raises ConfigurationError on a wrong id or scope."""
    if not _KEY_ID.fullmatch(key_id):
        raise ConfigurationError(f"{key_id!r} can't name a key: use up to 32 of a-z, 0-9 and dashes.")
    key = f"{_PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
    return key, ApiKey(key_id=key_id, scopes=_scopes(scopes), digest=_digest(key), per_second=per_second)


def parse_keys(text: str) -> KeyRing:
    """The keys of a file: lines of id, scopes (by commas), hash, and if need be requests a second (`500/s`).

    Empty lines and those that begin with `#` are passed over. Raises ConfigurationError naming the line.
    """
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = _parse_line(line)
        except ConfigurationError as error:
            raise ConfigurationError(f"Line {number} of the API keys can't be read: {error}") from None
        if key.key_id in keys:
            raise ConfigurationError(f"Line {number} of the API keys names {key.key_id} a second time.")
        keys[key.key_id] = key
    if not keys:
        raise ConfigurationError("There is no API key in the keys file: `ibook keys new --scope …` makes one.")
    return KeyRing(keys.values())


def _parse_line(line: str) -> ApiKey:
    key_id, scopes, hashed, rate = ([*line.split(), "", "", "", ""])[:4]
    digest, per_second = _HASH.fullmatch(hashed), _RATE.fullmatch(rate)
    if not _KEY_ID.fullmatch(key_id) or digest is None or (rate and per_second is None) or len(line.split()) > 4:
        # The line is not repeated: somebody may have put the key itself there.
        raise ConfigurationError("it should say `id scope,scope sha256:…`, and perhaps `500/s`.")
    return ApiKey(
        key_id=key_id,
        scopes=_scopes(scopes.split(",")),
        digest=bytes.fromhex(digest[1]),
        per_second=int(per_second[1]) if per_second else None,
    )


def _scopes(named: Iterable[str]) -> frozenset[Scope]:
    wanted = set(named)
    found = frozenset(scope for scope in SCOPES if scope in wanted)
    unknown = sorted(wanted.difference(SCOPES))
    if unknown or not found:
        raise ConfigurationError(f"scopes are {', '.join(SCOPES)}, not {', '.join(map(repr, unknown)) or 'none'}.")
    return found


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
