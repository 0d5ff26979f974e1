"""The example payloads of `examples/<topic>/<tag>/`, and what travels at all."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct, inspect

from ibook.codec import decode, decode_letters
from ibook.topics import BY_NAME, DEAD_LETTERS, TOPICS, Topic

FOLDER = Path(__file__).parent / "examples"


@dataclass(frozen=True)
class Example:
    """One payload as the wire would carry it, pretty-printed."""

    topic: Topic
    tag: str
    name: str
    payload: bytes

    def __str__(self) -> str:
        return f"{self.topic.name}/{self.tag}/{self.name}"

    @property
    def plain(self) -> dict[str, Any]:
        """The payload as plain JSON data; a fresh copy."""
        plain: dict[str, Any] = json.loads(self.payload)
        return plain


def examples() -> Iterator[Example]:
    """Every example, in the order of the files' names."""
    for path in sorted(FOLDER.glob("*/*/*.json")):
        topic, tag = path.parts[-3], path.parts[-2]
        yield Example(BY_NAME[topic], tag, path.stem, path.read_bytes())


def read(topic: Topic, payload: bytes | None) -> Any:
    """Decode a payload as the readers of this topic do. Raises InvalidMessage."""
    return decode_letters(payload) if topic is DEAD_LETTERS else decode(payload, topic.message)


def types_of(topic: Topic) -> list[inspect.StructType]:
    """The message types that travel on a topic."""
    if topic.message is None:
        return []
    described = inspect.type_info(topic.message)
    found = described.types if isinstance(described, inspect.UnionType) else (described,)
    return [each for each in found if isinstance(each, inspect.StructType)]


TRAVELLING: dict[str, tuple[Topic, inspect.StructType]] = {
    str(each.tag): (topic, each) for topic in TOPICS for each in types_of(topic)
}
"""Tag -> its topic and type."""


def tagged(module: Any) -> dict[str, type[Struct]]:
    """Every struct of a module that has a tag of its own, so is meant to travel."""
    found = (each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Struct))
    with_tags = {str(each.__struct_config__.tag): each for each in found if each.__struct_config__.tag is not None}
    return {tag: each for tag, each in with_tags.items() if "." in tag}
