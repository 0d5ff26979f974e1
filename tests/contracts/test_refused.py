"""What is refused, and with which reason: the words that stand in a dead letter."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from ibook.codec import MAX_BYTES, MAX_OWN_BYTES
from ibook.errors import InvalidMessage
from ibook.topics import DEAD_LETTERS, EVENT_INVENTORY, EVENT_LISTINGS, TICKET_ACTIVITY, TICKET_PURCHASES, TOPICS, Topic
from tests.contracts.examples import TRAVELLING, examples, read

EXAMPLES = list(examples())
FIRST = {each.tag: each for each in reversed(EXAMPLES)}
"""One example of each message."""


def refused(topic: Topic, payload: bytes | None) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        read(topic, payload)
    return caught.value


def example(tag: str, **changes: object) -> bytes:
    return json.dumps(FIRST[tag].plain | changes).encode()


# ------------------------------------------------------------------------------------------- payloads as a whole
WHOLE = {
    "no payload": (None, "malformed", "empty payload"),
    "nothing in it": (b"", "malformed", "truncated"),
    "blanks": (b"  \n", "malformed", "truncated"),
    "not JSON": (b"buy 2 tickets", "malformed", "JSON is malformed"),
    "cut short": (b'{"type": "purchase_req', "malformed", "truncated"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "malformed", "JSON is malformed"),
    "UTF-16": ("{}".encode("utf-16"), "malformed", "JSON is malformed"),
    "a bare NaN": (b"NaN", "malformed", "JSON is malformed"),
    "null": (b"null", "invalid", "got `null`"),
    "a list": (b"[]", "invalid", "got `array`"),
    "a number": (b"7", "invalid", "got `int`"),
    "an empty object": (b"{}", "invalid", "missing required field `type`"),
    "an unknown tag": (b'{"type": "purchase_requested.v99"}', "invalid", "Invalid value 'purchase_requested.v99'"),
    "a tag without version": (b'{"type": "purchase_requested"}', "invalid", "Invalid value 'purchase_requested'"),
    "a tag that is a number": (b'{"type": 1}', "invalid", "Expected `str`"),
    "our own placeholder": (b'{"type": "never_sent"}', "invalid", ""),
    "lists in lists": (b"[" * 40_000, "invalid", "got `array`"),
    "objects in objects": (b'{"x":' * 10_000, "malformed", ""),
    "a deep unknown field": (b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "malformed", "recursion"),
}
topics = pytest.mark.parametrize("topic", [each for each in TOPICS if each.message], ids=lambda topic: topic.name)


@topics
@pytest.mark.parametrize("what", WHOLE)
def test_payload_is_refused_on_every_topic(topic: Topic, what: str) -> None:
    payload, reason, detail = WHOLE[what]
    error = refused(topic, payload)
    assert error.reason == reason
    assert detail in error.detail


@topics
def test_message_of_another_topic_is_refused(topic: Topic) -> None:
    for tag, foreign in FIRST.items():
        if TRAVELLING[tag][0] != topic:
            assert refused(topic, foreign.payload).reason == "invalid"


def test_two_messages_in_one_payload_are_refused() -> None:
    twice = FIRST["purchase_requested.v1"].payload * 2
    assert refused(TICKET_PURCHASES, twice).reason == "malformed"


@topics
def test_oversize_is_refused_before_it_is_read(topic: Topic) -> None:
    at_most = MAX_OWN_BYTES if topic is DEAD_LETTERS else MAX_BYTES
    payload = next(each.payload for each in EXAMPLES if each.topic == topic)
    padded = payload + b" " * (at_most - len(payload))
    read(topic, padded)
    error = refused(topic, padded + b" ")
    assert error.reason == "oversize"
    assert error.detail == f"{at_most + 1} bytes, at most {at_most}"


# -------------------------------------------------------------------------------------------------- field by field
def fields(*kinds: type[inspect.Type]) -> list[Any]:
    """(tag, field) of every field of one of these types, of any type by default, as parameters."""
    return list(_fields(kinds or (inspect.Type,)))


def _fields(kinds: tuple[type[inspect.Type], ...]) -> Iterator[Any]:
    for tag, (_, type_) in TRAVELLING.items():
        for field in type_.fields:
            parts = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
            if any(isinstance(part, kinds) for part in parts):
                yield pytest.param(tag, field, id=f"{tag}-{field.name}")


def changed(tag: str, name: str, value: object) -> InvalidMessage:
    """How a message is refused whose field has this value instead."""
    return refused(TRAVELLING[tag][0], example(tag, **{name: value}))


@pytest.mark.parametrize(("tag", "field"), fields())
def test_missing_field_is_named(tag: str, field: inspect.Field) -> None:
    topic = TRAVELLING[tag][0]
    plain = {name: value for name, value in FIRST[tag].plain.items() if name != field.name}
    if not field.required:
        read(topic, json.dumps(plain).encode())
        return
    error = refused(topic, json.dumps(plain).encode())
    assert (error.reason, error.detail) == ("invalid", f"Object missing required field `{field.name}`")


@pytest.mark.parametrize(("tag", "field"), fields())
def test_wrong_type_is_named(tag: str, field: inspect.Field) -> None:
    error = changed(tag, field.name, {"wrong": True})
    assert error.reason == "invalid"
    assert f"$.{field.name}`" in error.detail


@pytest.mark.parametrize("tag", TRAVELLING)
def test_missing_type_is_refused(tag: str) -> None:
    plain = {name: value for name, value in FIRST[tag].plain.items() if name != "type"}
    error = refused(TRAVELLING[tag][0], json.dumps(plain).encode())
    assert (error.reason, error.detail) == ("invalid", "Object missing required field `type`")


@pytest.mark.parametrize(("tag", "field"), fields(inspect.DateTimeType))
def test_what_is_no_time_with_offset_is_refused(tag: str, field: inspect.Field) -> None:
    no_times = ("2026-03-14T19:30:00", "2026-03-14", "yesterday", "", 1773516600, 1773516600.5, "2026-02-30T00:00:00Z")
    for no_time in no_times:
        assert changed(tag, field.name, no_time).reason == "invalid"


@pytest.mark.parametrize(("tag", "field"), fields(inspect.IntType, inspect.FloatType))
def test_what_is_no_number_is_refused(tag: str, field: inspect.Field) -> None:
    marked = example(tag, **{field.name: "@number@"})
    no_numbers = {
        "NaN": "malformed",
        "-Infinity": "malformed",
        "1e999": "invalid",
        '"12"': "invalid",
        "01": "malformed",
    }
    for text, reason in no_numbers.items():
        error = refused(TRAVELLING[tag][0], marked.replace(b'"@number@"', text.encode()))
        assert error.reason == reason, text


@pytest.mark.parametrize(("tag", "field"), fields(inspect.IntType))
def test_integer_with_a_fraction_is_refused(tag: str, field: inspect.Field) -> None:
    assert changed(tag, field.name, 1.5).reason == "invalid"


@pytest.mark.parametrize(("tag", "field"), fields(inspect.StrType))
def test_text_that_is_not_utf8_is_refused(tag: str, field: inspect.Field) -> None:
    marked = example(tag, **{field.name: "@text@"})
    for broken in (b"caf\xe9", b"\xff", b"\\ud800"):
        assert refused(TRAVELLING[tag][0], marked.replace(b"@text@", broken)).reason == "malformed"


# ------------------------------------------------------------------------------------------------ what a field allows
NOT_ALLOWED: list[tuple[Topic, str, dict[str, object]]] = [
    (TICKET_PURCHASES, "purchase_requested.v1", {"message_id": ""}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"transaction_id": "t" * 129}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"amount_minor": -1}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"amount_minor": 10**11 + 1}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"currency": "eur"}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"currency": "EURO"}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"n_tickets": 0}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"n_tickets": True}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"bin": "41111"}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"bin": "4111 1111"}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"card_country": "DEU"}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"ip_country": ""}),
    (TICKET_PURCHASES, "purchase_requested.v1", {"quote_id": ""}),
    (TICKET_ACTIVITY, "login_attempted.v1", {"succeeded": 1}),
    (TICKET_ACTIVITY, "account_changed.v1", {"change": "name"}),
    (EVENT_INVENTORY, "inventory_changed.v1", {"remaining": -1}),
    (EVENT_LISTINGS, "event_listed.v1", {"category": "opera"}),
    (EVENT_LISTINGS, "event_listed.v1", {"ticket_types": []}),
]


@pytest.mark.parametrize(("topic", "tag", "change"), NOT_ALLOWED, ids=lambda value: str(value)[:60])
def test_value_that_is_not_allowed_is_refused(topic: Topic, tag: str, change: dict[str, object]) -> None:
    error = refused(topic, example(tag, **change))
    assert error.reason == "invalid"
    assert f"$.{next(iter(change))}`" in error.detail


def test_list_price_outside_floor_and_cap_is_refused() -> None:
    ticket = {"name": "standing", "list_price_minor": 900, "floor_minor": 1000, "cap_minor": 2000}
    error = refused(EVENT_LISTINGS, example("event_listed.v1", ticket_types=[ticket]))
    assert error.reason == "invalid"
    assert "list price outside floor and cap" in error.detail


def test_probabilities_that_do_not_sum_to_one_are_refused() -> None:
    topic, _ = TRAVELLING["price_policy.v1"]
    plain = FIRST["price_policy.v1"].plain
    plain["upcoming"][0]["probabilities"][0] = 0.5
    assert "sum to 1" in refused(topic, msgspec.json.encode(plain)).detail


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+14:00", "1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z"])
def test_event_times_no_clock_shows_are_refused(when: str) -> None:
    error = refused(TICKET_PURCHASES, example("purchase_requested.v1", occurred_at=when))
    assert (error.reason, "not between 2000 and 2100" in error.detail) == ("invalid", True)
