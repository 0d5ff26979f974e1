"""Who may ask for what: nothing without a key, nothing without its scope, nothing too often, and no key in a log."""

import base64
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.routing import Mount

from ibook.api_keys import SCOPES, new_key
from ibook.edges.logs import log_plainly
from ibook.errors import ConfigurationError
from ibook.settings import Settings
from serving import access
from serving.access import scope_of
from serving.app import create_app
from serving.exposure import check_exposure
from tests.api import test_scores
from tests.api.test_prices import SETTINGS, Api

KEYS = {scope: new_key(scope.replace(":", "-"), [scope]) for scope in SCOPES}
QUOTE = {"event_id": "gala", "ticket_type": "stalls"}
PUBLIC = {"/healthz", "/startupz", "/readyz"}


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return write(tmp_path / "keys", *(known.line() for _, known in KEYS.values()))


@pytest.fixture
def api(keys_file: Path) -> Iterator[Api]:
    api = Api(SETTINGS.model_copy(update={"api_keys_file": keys_file}), test_scores.Api(test_scores.Store()).desk)
    with api.client:
        yield api


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def operations(api: Api) -> list[tuple[str, str]]:
    """Every operation that the app has, with a path as a client would send it."""
    paths = api.client.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path.replace("{event_id}", "gala")) for path, methods in paths.items() for method in methods
    ]


def test_every_operation_needs_a_key_but_the_probes(api: Api) -> None:
    for method, path in operations(api):
        answer = api.client.request(method, path)
        if path in PUBLIC:
            assert answer.status_code in (200, 503), path
        else:
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["status"] == 401


def test_an_operation_is_done_for_its_scope_and_admin_alone(api: Api) -> None:
    for method, path in operations(api):
        needed = scope_of(method, path)
        for scope, (key, _) in KEYS.items():
            if needed is None:
                continue
            allowed = scope in (needed, "admin")
            answer = api.client.request(method, path, headers=bearer(key))
            assert (answer.status_code != 403) == allowed, (method, path, scope)
            assert allowed or needed in answer.json()["detail"]


def test_no_operation_is_left_to_admin_by_an_oversight(api: Api) -> None:
    """What nobody declared needs `admin`: safe, but then say so here."""
    assert [each for each in operations(api) if scope_of(*each) == "admin"] == []


def test_what_is_not_there_needs_a_key_too(api: Api) -> None:
    paths = ("/", "/v1", "/v1/quotes/", "/v1/events/gala/price/", "/V1/quotes", "/%2Fv1/quotes", "/redoc", "/docsx",
             "/admin", "/.env", "/healthz/", "/docs%0A")  # fmt: skip
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "QUERY"):
        statuses = {path: api.client.request(method, path).status_code for path in paths}
        assert set(statuses.values()) == {401}, statuses


def test_every_route_that_is_mounted_is_declared_too(api: Api) -> None:
    app = create_app(SETTINGS, snapshots=api.snapshots, journal=api.journal)
    mounts = [route.path for route in app.routes if isinstance(route, Mount)]
    assert mounts == ["/docs/assets"]
    assert all(scope_of("GET", f"{path}/x") is None for path in mounts)


@pytest.mark.parametrize(
    "header",
    [
        "", "Bearer", "Bearer ", "bearer x", "Basic", "Basic !!!", "Basic " + base64.b64encode(b"nocolon").decode(),
        "Digest x", KEYS["admin"][0], f"Bearer {KEYS['admin'][0]}x", f"Bearer x{KEYS['admin'][0]}",
        f"Bearer {KEYS['admin'][1].line()}", f"Bearer {KEYS['admin'][1].digest.hex()}",
    ],
    ids=itertools.count(),  # keys are new in every process, and names of tests must not be
)  # fmt: skip
def test_anything_but_a_key_of_ours_is_refused(api: Api, header: str) -> None:
    assert api.client.get("/v1/events/gala/price", headers={"Authorization": header}).status_code == 401


def test_a_browser_sends_its_key_as_a_password_and_may_only_read(api: Api) -> None:
    assert api.client.get("/v1/events/gala/price", auth=("me", KEYS["price:read"][0])).status_code == 200
    assert api.client.post("/v1/quotes", json=QUOTE, auth=("me", KEYS["admin"][0])).status_code == 401
    assert api.journal.entries == []


def test_a_refused_request_is_not_read(api: Api) -> None:
    answer = api.client.post("/v1/quotes", content=b"x" * (1 << 20), headers={"content-type": "application/json"})
    assert answer.status_code == 401


def test_a_key_that_asks_too_often_waits_and_others_go_on(tmp_path: Path) -> None:
    (slow, kept), (other, kept_too) = new_key("slow", ["price:read"], per_second=2), new_key("other", ["price:read"])
    api = Api(SETTINGS.model_copy(update={"api_keys_file": write(tmp_path / "k", kept.line(), kept_too.line())}))
    with api.client:
        answers = [api.client.get("/v1/events/gala/price", headers=bearer(slow)) for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert answers[0].status_code == 200
        assert refused
        assert refused[0].headers["retry-after"] == "1"
        assert refused[0].json()["detail"] == "The key slow may ask 2 times a second."
        assert api.client.get("/v1/events/gala/price", headers=bearer(other)).status_code == 200


def test_keys_are_revoked_without_a_restart_and_a_broken_file_revokes_none(
    api: Api, keys_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "LOOK_SECONDS", -1.0)
    key = bearer(KEYS["price:read"][0])
    keys_file.write_text("nonsense")
    assert api.client.get("/v1/events/gala/price", headers=key).status_code == 200
    assert "former keys stay in force" in str(api.client.get("/readyz").json()["degraded"])
    write(keys_file, KEYS["admin"][1].line())
    os.utime(keys_file, ns=(1, 1))
    assert api.client.get("/v1/events/gala/price", headers=key).status_code == 401
    assert api.client.get("/v1/events/gala/price", headers=bearer(KEYS["admin"][0])).status_code == 200
    assert api.client.get("/readyz").json()["degraded"] == []


def test_no_key_or_secret_reaches_a_log(
    keys_file: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    written = io.StringIO()
    log_plainly(logger_factory=structlog.PrintLoggerFactory(written))
    monkeypatch.setattr(access, "LOOK_SECONDS", -1.0)
    settings = SETTINGS.model_copy(update={"api_keys_file": keys_file, "quote_secret": SecretStr("s3cret" * 9)})
    api = Api(settings)
    try:
        with TestClient(api.client.app, raise_server_exceptions=False) as client:
            api.snapshots.listings["gala"] = None  # type: ignore[assignment]  # whatever a bug may do
            keys = [key for key, _ in KEYS.values()]
            answers = [client.post("/v1/quotes", json=QUOTE, headers=bearer(key)) for key in keys]
            os.utime(keys_file, ns=(1, 1))
            answers += [client.get("/v1/events/gala/price", headers=bearer(f"{key}x")) for key in keys]
    finally:
        log_plainly(logger_factory=structlog.PrintLoggerFactory())
    told = "".join([written.getvalue(), *capfd.readouterr(), caplog.text, *(answer.text for answer in answers)])
    assert not [key for key, _ in KEYS.values() if key.split("_", 2)[2] in told]
    assert "s3cret" not in told


def test_a_failure_of_ours_is_a_problem_without_its_reason(api: Api) -> None:
    with TestClient(api.client.app, raise_server_exceptions=False) as client:
        api.snapshots.listings["gala"] = 7  # type: ignore[assignment]
        answer = client.post("/v1/quotes", json=QUOTE, headers=bearer(KEYS["admin"][0]))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["detail"] == "The request failed by a fault of ours."


def test_a_keys_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="IBOOK_API_KEYS_FILE"):
        create_app(Settings(api_keys_file=tmp_path / "none"))


GOOD = "8f2kQz7mWx4nVb6tYr1pLs9dHg3jKc5a"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"quote_secret": "development-only"}, "IBOOK_QUOTE_SECRET"),
     ({"quote_secret": GOOD[:31]}, "IBOOK_QUOTE_SECRET"),
     ({"quote_secret": "a" * 64}, "IBOOK_QUOTE_SECRET"),
     ({"quote_secret": "development-only-development-only"}, "IBOOK_QUOTE_SECRET"),
     ({"quote_old_secrets": ["development-only"]}, "IBOOK_QUOTE_OLD_SECRETS"),
     ({"api_keys_file": None}, "IBOOK_API_KEYS_FILE")],
)  # fmt: skip
def test_beyond_this_machine_keys_and_secrets_are_real(keys_file: Path, wrong: dict[str, object], named: str) -> None:
    right = {"serving_host": "0.0.0.0", "quote_secret": GOOD, "api_keys_file": keys_file}
    check_exposure(Settings.model_validate(right))
    with pytest.raises(ConfigurationError, match=named) as caught:
        check_exposure(Settings.model_validate(right | wrong))
    assert GOOD[:8] not in str(caught.value)


@pytest.mark.parametrize(("host", "bare"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::", False),
                                            ("10.0.0.1", False), ("example.org", False)])  # fmt: skip
def test_on_this_machine_nothing_is_asked_for(host: str, bare: bool) -> None:
    settings = Settings(serving_host=host)
    if bare:
        check_exposure(settings)
    else:
        with pytest.raises(ConfigurationError):
            check_exposure(settings)
