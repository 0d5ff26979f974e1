"""Whether FastAPI or the short way answers is nothing that a caller could tell, but by the time it takes."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace
from starlette.types import Receive, Scope, Send

from ibook.api_keys import new_key
from ibook.messages import PriceControlled, TicketType
from serving.desk import PriceDesk
from serving.limits import BodyLimit
from serving.remembered import Remembered
from serving.schemas import EventPrices, QuoteRequest, QuoteResponse
from tests.api.test_prices import LISTING, NOW, SETTINGS, Api, policy

LONG_WAY = {"content-type": "application/json; charset=utf-8"}
"""What the short way does not take."""
RIGHT = {"event_id": "gala", "ticket_type": "stalls", "idempotency_key": "k", "buyer": "b"}


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    with api.client:
        yield api


@pytest.fixture(scope="module")
def steady() -> Iterator[Api]:
    """For tests that change nothing."""
    api = Api()
    with api.client:
        yield api


def post(api: Api, body: bytes, **headers: str) -> Any:
    return api.client.post("/v1/quotes", content=body, headers={"content-type": "application/json", **headers})


def passed_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the requests that go on towards FastAPI's routes, from now on."""
    seen: list[str] = []
    go_on = BodyLimit.__call__

    async def watched(limit: BodyLimit, scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await go_on(limit, scope, receive, send)

    monkeypatch.setattr(BodyLimit, "__call__", watched)
    return seen


def test_right_requests_are_answered_without_the_routes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = passed_on(monkeypatch)
    for path in ("/v1/events/gala/price", "/v1/events/gala/price?ticket_type=stalls"):
        EventPrices.model_validate_json(api.client.get(path).content, strict=False)
    QuoteResponse.model_validate_json(post(api, json.dumps(RIGHT).encode()).content)
    assert seen == []
    assert post(api, json.dumps(RIGHT).encode(), **LONG_WAY).status_code == 200
    assert seen == ["/v1/quotes"]
    assert len(api.journal.entries) == 1


@pytest.mark.parametrize(
    "query", ["", "?ticket_type=stalls", "?ticket_type=nowhere", "?ticket_type=", "?ticket_type=%C3%A9"]
)
@pytest.mark.parametrize("event_id", ["gala", "nowhere", "a/b", "%67ala", "x" * 129])
def test_a_price_is_the_same_either_way(steady: Api, event_id: str, query: str) -> None:
    path = f"/v1/events/{event_id}/price{query}"
    short, long = steady.client.get(path), steady.client.get(path + ("&" if query else "?") + "other=1")
    assert (short.status_code, short.content, short.headers) == (long.status_code, long.content, long.headers)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(RIGHT).encode(),
        json.dumps({**RIGHT, "event_id": "nowhere"}).encode(),
        json.dumps({**RIGHT, "ticket_type": "nowhere"}).encode(),
        json.dumps({**RIGHT, "ticket_type": "x" * 129}).encode(),
        json.dumps({**RIGHT, "buyer": ""}).encode(),
        json.dumps({**RIGHT, "buyer": None}).encode(),
        json.dumps({**RIGHT, "buyer": 7}).encode(),
        json.dumps({**RIGHT, "buyer": "é" * 128}, ensure_ascii=False).encode(),
        json.dumps({**RIGHT, "more": 1}).encode(),
        json.dumps(RIGHT).encode("utf-16"),
        b'{"event_id":"other","event_id":"gala","ticket_type":"stalls","idempotency_key":"k"}',
        b'{"event_id":"gala","ticket_type":"stalls","idempotency_key":"k","buyer":"\\ud800"}',
        b'{"event_id":"gala","ticket_type":"stalls","idempotency_key":NaN}',
        b'{"event_id":"gala","ticket_type":"\xff"}',
        b"[" * 2000,
        b"",
        b"null",
        json.dumps({**RIGHT, "buyer": "x" * 70_000}).encode(),
    ],
)  # fmt: skip
def test_a_quote_is_the_same_either_way(steady: Api, body: bytes) -> None:
    answers = []
    for headers in ({}, LONG_WAY):
        steady.client.app.state.desk.remembered = Remembered()  # type: ignore[attr-defined]
        before = len(steady.journal.entries)
        answers.append(post(steady, body, **headers))
        assert len(steady.journal.entries) - before == (answers[-1].status_code == 200)
    short, long = answers
    assert (short.status_code, short.content, short.headers) == (long.status_code, long.content, long.headers)


def test_a_body_in_pieces_is_read_whole(api: Api) -> None:
    body = json.dumps(RIGHT).encode()
    answer = api.client.post(
        "/v1/quotes", content=iter([body[:10], body[10:]]), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200
    assert answer.content == post(api, body).content


def test_a_prepared_price_follows_what_it_was_made_from(api: Api) -> None:
    path = "/v1/events/gala/price?ticket_type=stalls"
    assert api.client.get(path).json()["prices"][0]["source"] == "policy"
    api.snapshots.controls["gala"] = PriceControlled(message_id="c", occurred_at=NOW, event_id="gala", frozen=True)
    frozen = api.client.get(path).json()["prices"][0]
    assert (frozen["price_minor"], frozen["source"], frozen["explanation"]) == (
        5000, "frozen", "Frozen at list price by order.")  # fmt: skip
    assert api.quote()["source"] == "frozen"
    del api.snapshots.controls["gala"]
    assert api.client.get(path).json()["prices"][0]["source"] == api.quote()["source"] == "policy"
    del api.snapshots.listings["gala"]
    assert api.client.get(path).status_code == 404


PATH = "/v1/events/gala/price?ticket_type=stalls"


def listed(api: Api) -> tuple[object, ...]:
    """What both ways say of the price, which a quote says too."""
    short, long, quote = api.client.get(PATH), api.client.get(PATH + "&other=1"), api.quote()
    assert short.content == long.content
    body = short.json()
    price = body["prices"][0]
    assert (quote["price_minor"], quote["currency"], quote["source"]) == (
        price["price_minor"], body["currency"], price["source"])  # fmt: skip
    return price["price_minor"], body["currency"], price["source"], body["slot_ends_at"], body["policy_version"]


def test_a_prepared_price_follows_its_listing(api: Api) -> None:
    assert listed(api)[1:3] == ("GBP", "policy")
    dearer = TicketType(name="stalls", list_price_minor=9000, floor_minor=8000, cap_minor=9900)
    api.snapshots.listings["gala"] = replace(LISTING, currency="JPY", ticket_types=[dearer])
    assert listed(api)[:3] == (9000, "JPY", "list_price")


def test_a_prepared_price_ends_with_its_slot(api: Api) -> None:
    seen = set()
    for _ in range(12):
        seen.add(listed(api)[::3])
        api.clock.advance(timedelta(seconds=300))
    assert len({ends_at for _, ends_at in seen}) == 12
    assert {price for price, _ in seen} == {4000, 6000}


def test_a_prepared_price_follows_a_policy_that_comes_in_its_slot(api: Api) -> None:
    del api.snapshots.policies["gala"]
    assert listed(api)[2::2] == ("list_price", 0)
    api.snapshots.take_policy(policy())
    assert listed(api)[2::2] == ("policy", 4)


@pytest.mark.parametrize("stale", [False, True])
def test_a_prepared_price_ends_with_the_order_it_follows(api: Api, stale: bool) -> None:
    if stale:
        api.snapshots.policies["gala"] = policy(occurred_at=NOW - timedelta(hours=2))
    before = listed(api)
    frozen = PriceControlled(
        message_id="c", occurred_at=NOW, event_id="gala", frozen=True, until=NOW + timedelta(minutes=1)
    )
    api.snapshots.controls["gala"] = frozen
    assert listed(api)[2] == "frozen"
    api.clock.advance(timedelta(minutes=1))
    assert listed(api) == before


def test_the_short_way_asks_for_keys(tmp_path: Path) -> None:
    key, known = new_key("lists", ["price:read"], per_second=2)
    (tmp_path / "keys").write_text(known.line())
    api = Api(SETTINGS.model_copy(update={"api_keys_file": tmp_path / "keys"}))
    allowed = {"authorization": f"Bearer {key}"}
    with api.client:
        assert api.client.get("/v1/events/gala/price").status_code == 401
        assert post(api, json.dumps(RIGHT).encode(), **allowed).status_code == 403
        answered = [api.client.get("/v1/events/gala/price", headers=allowed).status_code for _ in range(10)]
        assert answered[0] == 200
        assert 429 in answered
    assert api.journal.entries == []


def test_a_fault_of_ours_is_a_problem_as_everywhere(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(desk: PriceDesk, request: QuoteRequest, asked_by: str) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(PriceDesk, "quote", fail)
    client = TestClient(api.client.app, raise_server_exceptions=False)
    answer = client.post("/v1/quotes", json=RIGHT)
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
