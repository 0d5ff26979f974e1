"""Idempotency keys of quotes: whose they are, for how long, and in which replica."""

from datetime import timedelta
from pathlib import Path

import pytest

from ibook.api_keys import new_key
from serving.remembered import Remembered
from serving.schemas import QuoteRequest
from tests.api.test_prices import NOW, SETTINGS, Api


def test_quotes_without_a_key_differ(api: Api) -> None:
    assert api.quote()["quote_id"] != api.quote()["quote_id"]


def test_a_repeated_key_repeats_the_quote_while_it_is_valid(api: Api) -> None:
    first = api.quote(idempotency_key="cart-1")
    api.clock.advance(timedelta(seconds=400))
    assert api.quote(idempotency_key="cart-1") == first
    assert len(api.journal.entries) == 1
    api.clock.advance(timedelta(hours=1))
    assert api.quote(idempotency_key="cart-1")["quote_id"] != first["quote_id"]


def test_a_repeated_key_gives_the_same_quote_in_another_replica(api: Api) -> None:
    other = Api()
    with other.client:
        assert api.quote(idempotency_key="cart-1") == other.quote(idempotency_key="cart-1")


def test_a_key_is_a_key_for_its_event_and_ticket_type(api: Api) -> None:
    first = api.quote(idempotency_key="cart-1")
    assert api.quote(idempotency_key="cart-1", ticket_type="balcony")["quote_id"] != first["quote_id"]


def test_a_key_is_a_key_for_its_buyer(api: Api) -> None:
    alice = api.quote(idempotency_key="1", buyer="alice")
    bob = api.quote(idempotency_key="1", buyer="bob")
    assert bob["quote_id"] != alice["quote_id"]
    assert len({entry.buyer for entry in api.journal.entries}) == 2
    assert api.quote(idempotency_key="1", buyer="alice") == alice


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_a_key_is_a_key_for_the_shop_that_asks(tmp_path: Path, content_type: str) -> None:
    made = [new_key(name, ["quote:write"]) for name in ("one", "another")]
    (tmp_path / "keys").write_text("".join(f"{known.line()}\n" for _, known in made))
    replicas = [Api(SETTINGS.model_copy(update={"api_keys_file": tmp_path / "keys"})) for _ in range(2)]
    body = b'{"event_id": "gala", "ticket_type": "stalls", "idempotency_key": "1", "buyer": "guest"}'
    given = []
    for replica in replicas:
        with replica.client:
            for key, _ in made:
                headers = {"authorization": f"Bearer {key}", "content-type": content_type}
                answer = replica.client.post("/v1/quotes", content=body, headers=headers)
                assert answer.status_code == 200
                given.append(answer.json()["quote_id"])
    assert given[:2] == given[2:]
    assert len(set(given)) == 2


def test_a_key_that_is_used_again_is_not_the_first_to_be_forgotten() -> None:
    remembered, later = Remembered(room=2), NOW + timedelta(hours=1)
    first, second, third = (
        QuoteRequest(event_id="gala", ticket_type="stalls", idempotency_key=key) for key in ("1", "2", "3")
    )
    for request, answer in ((first, b"old"), (second, b"x"), (first, b"new"), (third, b"y")):
        remembered.add(request, "", answer, later)
    assert remembered.find(first, "", NOW) == b"new"
    assert remembered.find(second, "", NOW) is None
