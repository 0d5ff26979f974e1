"""Who may do what: every request needs a key with the scope below, whatever is not listed needs `admin`."""

import math
import re
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ibook import api_keys, metrics
from ibook.api_keys import ApiKey, KeyRing, parse_keys
from ibook.errors import ConfigurationError
from ibook.rate_limit import RateLimit
from serving.problems import problem

log = structlog.get_logger()

PUBLIC = re.compile(r"/healthz|/startupz|/readyz|/openapi\.json|/docs(/.*)?", re.DOTALL)
SCOPES: tuple[tuple[str, re.Pattern[str], api_keys.Scope], ...] = (
    ("GET", re.compile(r"/v1/events/.*/price", re.DOTALL), "price:read"),
    ("POST", re.compile(r"/v1/quotes"), "quote:write"),
    ("POST", re.compile(r"/v1/fraud/scores"), "score:write"),
    ("GET", re.compile(r"/metrics"), "price:read"),
    ("GET", re.compile(r"/|/prices(/.*)?", re.DOTALL), "price:read"),
)
ASKED_BY = "ibook.asked_by"
"""Where a request's ASGI scope has the id of its API key; see `asked_by`."""
LOOK_SECONDS = 1.0
"""How often it is looked whether the keys file has changed."""


def scope_of(method: str, path: str) -> api_keys.Scope | None:
    """The scope a request needs; None when anybody may make it.

    >>> scope_of("POST", "/v1/quotes"), scope_of("DELETE", "/v1/quotes"), scope_of("GET", "/healthz")
    ('quote:write', 'admin', None)
    """
    if method in ("GET", "HEAD") and PUBLIC.fullmatch(path):
        return None
    return next((scope for verb, paths, scope in SCOPES if verb == method and paths.fullmatch(path)), "admin")


def asked_by(scope: Scope) -> str:
    """The id of the API key that a request was let in with; empty where nobody needs one."""
    return str(scope.get(ASKED_BY, ""))


class KeysFile:
    """The keys of a file, read again when it changes; one that can't be read leaves the former ones in force."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp, self._ring = self._read()
        self._looked_at = time.monotonic()
        self.problem = ""
        """Why the file as it is now is not in force, in a sentence."""

    def ring(self) -> KeyRing:
        """The keys in force."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._look()
        return self._ring

    def _look(self) -> None:
        try:
            if _stamp(self._path) != self._stamp:
                self._stamp, self._ring = self._read()
                log.warning("API keys were read anew", keys=len(self._ring))
            self.problem = ""
        except ConfigurationError as error:
            if not self.problem:
                log.warning("API keys can't be read, the former ones stay in force", reason=str(error))
            self.problem = f"{error} The former keys stay in force."

    def _read(self) -> tuple[tuple[int, int], KeyRing]:
        stamp = _stamp(self._path)
        try:
            return stamp, parse_keys(self._path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"IBOOK_API_KEYS_FILE={self._path} can't be read: {error}.") from error


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigurationError(f"IBOOK_API_KEYS_FILE={path} can't be read: {error.strerror}.") from error
    return found.st_mtime_ns, found.st_ino


class Access:
    """ASGI middleware: 401 without a key of ours, 403 without the scope, 429 when it asks too often.

    It stands before everything that reads a body. `per_second` is of keys that name no rate of their own.
    """

    def __init__(
        self, app: ASGIApp, *, keys: KeysFile, per_second: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._keys = keys
        self._per_second = per_second
        self._limit = RateLimit()
        self._monotonic = monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        needed = scope_of(scope["method"], scope["path"])
        if needed is None:
            return None
        key = self._keys.ring().find(_presented(scope))
        if key is None:
            return _refused("no_key", 401, "Send a key of yours: `Authorization: Bearer …`.", _challenge())
        if not key.allows(needed):
            return _refused("no_scope", 403, f"The key {key.key_id} may not do this: it lacks the scope {needed}.", {})
        scope[ASKED_BY] = key.key_id
        return self._too_often(key)

    def _too_often(self, key: ApiKey) -> Response | None:
        per_second = key.per_second or self._per_second
        wait = self._limit.wait_seconds(key.key_id, per_second, now=self._monotonic())
        if not wait:
            return None
        after = {"Retry-After": str(math.ceil(wait))}
        return _refused("too_often", 429, f"The key {key.key_id} may ask {per_second:g} times a second.", after)


def _refused(reason: str, status: int, detail: str, headers: dict[str, str]) -> Response:
    metrics.API_REFUSED.labels(reason).inc()
    return problem(status, detail, headers=headers)


def _challenge() -> dict[str, str]:
    """A browser asks its user for a name and a password, and sends the key as the latter."""
    return {"WWW-Authenticate": 'Bearer realm="ibook", Basic realm="ibook"'}


def _presented(scope: Scope) -> str:
    """The key of a request; Basic, which browsers send by themselves, is taken for reading alone."""
    kind, _, credentials = Headers(scope=scope).get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return credentials.strip()
    if kind.lower() == "basic" and scope["method"] == "GET":
        return _password(credentials)
    return ""


def _password(credentials: str) -> str:
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
