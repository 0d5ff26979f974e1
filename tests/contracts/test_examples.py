"""Every message that travels has an example, and every example is read as it was meant."""

import re
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibook import entities, messages
from ibook.codec import encode
from ibook.entities import Fact
from tests.contracts.examples import FOLDER, TRAVELLING, Example, examples, read, tagged
from tests.contracts.strategies import TEXT
from tests.contracts.strategies import messages as any_message

EXAMPLES = list(examples())
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=str)
each_type = pytest.mark.parametrize("tag", TRAVELLING)


def test_every_message_travels_on_one_topic_under_a_versioned_tag() -> None:
    assert set(tagged(messages)) == set(TRAVELLING)
    assert [tag for tag in TRAVELLING if not re.fullmatch(r"[a-z_]+\.v[1-9][0-9]*", tag)] == []


@each_type
def test_every_message_that_travels_has_an_example(tag: str) -> None:
    topic, _ = TRAVELLING[tag]
    assert [each for each in EXAMPLES if (each.topic, each.tag) == (topic, tag)]


def test_every_file_among_the_examples_is_an_example() -> None:
    files = {path for path in FOLDER.rglob("*") if path.is_file()}
    assert files == {FOLDER / each.topic.name / each.tag / f"{each.name}.json" for each in EXAMPLES}


@each_example
def test_example_is_read_as_the_message_of_its_folder(example: Example) -> None:
    message = read(example.topic, example.payload)
    assert message.__struct_config__.tag == example.tag == example.plain["type"]


@each_example
def test_example_keeps_what_it_says(example: Example) -> None:
    said, kept = example.plain, msgspec.json.decode(encode(read(example.topic, example.payload)))
    known = {field.name for field in TRAVELLING[example.tag][1].fields}
    assert said.keys() - {"type"} <= known or "newer" in example.name
    assert {name: _plain(kept[name]) for name in known & said.keys()} == {
        name: _plain(said[name]) for name in known & said.keys()
    }


def _plain(value: Any) -> Any:
    """Times compared as instants, structs without the defaults that an example may leave out."""
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items() if each not in (None, [], "")}
        case list():
            return [_plain(each) for each in value]
        case str() if re.match(r"\d{4}-\d\d-\d\dT", value):
            return datetime.fromisoformat(value)
        case _:
            return value


@each_example
def test_example_survives_being_written_and_read_again(example: Example) -> None:
    message = read(example.topic, example.payload)
    assert read(example.topic, encode(message)) == message


@each_example
def test_fields_we_do_not_know_are_tolerated(example: Example) -> None:
    newer = example.plain | {"added_later": {"deep": [1, "two", None]}}
    assert read(example.topic, msgspec.json.encode(newer)) == read(example.topic, example.payload)


@each_type
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_message_survives_being_written_and_read(tag: str, data: st.DataObject) -> None:
    topic, type_ = TRAVELLING[tag]
    message = data.draw(any_message(type_.cls))
    again = read(topic, encode(message))
    assert again == message
    assert encode(again) == encode(message)


ID = st.text(TEXT, max_size=20)
INT = st.integers(-(2**63), 2**63 - 1)
FACT = st.builds(
    Fact, ID, ID, INT, st.dictionaries(ID, INT, max_size=3), st.dictionaries(ID, ID, max_size=3)
)  # fmt: skip
UPDATE = st.builds(
    entities.EntityUpdate, INT, INT, INT, st.lists(st.sampled_from(entities.ENTITIES), max_size=8, unique=True), FACT
)  # fmt: skip
UPDATES = st.builds(
    entities.EntityUpdates,
    st.lists(UPDATE, max_size=5),
    st.lists(st.builds(entities.Watermark, INT, INT, INT), max_size=5),
)


@given(record=UPDATES)
def test_any_record_of_entity_updates_survives_being_packed(record: entities.EntityUpdates) -> None:
    assert entities.unpack(entities.pack(record)) == record
