"""What the declarations of topics promise one another."""

import importlib
from collections import Counter

import pytest

from ibook.edges.kafka_admin import partition_count
from ibook.entities import SOURCE_INDEX
from ibook.settings import Settings
from ibook.topics import (
    BY_NAME,
    CHANGELOGS,
    DEAD_LETTERS,
    ENTITY_UPDATES,
    FEATURE_SOURCES,
    FRAUD_VERDICTS,
    TICKET_PURCHASES,
    TOPICS,
    Topic,
)
from streams.__main__ import WORKERS
from tests.contracts.examples import types_of

ALL = (*TOPICS, *CHANGELOGS)
SPEECHLESS = {"clock_ticked.v1"}
"""Messages about no key: they go to every partition."""


def test_names_are_unique_and_well_formed() -> None:
    assert [name for name, count in Counter(topic.name for topic in ALL).items() if count > 1] == []
    assert [topic.name for topic in ALL if not topic.name.replace("-", "").isalpha() or not topic.name.islower()] == []
    assert set(BY_NAME) == {topic.name for topic in TOPICS}


@pytest.mark.parametrize("partitions", [1, 4, 32])
def test_verdicts_have_the_partitions_of_purchases(partitions: int) -> None:
    settings = Settings(partitions=partitions)
    assert partition_count(TICKET_PURCHASES, settings) == partition_count(FRAUD_VERDICTS, settings) == partitions


def test_verdicts_are_never_compacted() -> None:
    assert not FRAUD_VERDICTS.compacted, "compaction keeps the last, the first counts"


def _tables() -> set[str]:
    modules = [importlib.import_module(f"streams.{name.replace('-', '_')}") for name in WORKERS]
    assert [module.NAME for module in modules] == list(WORKERS)
    return {f"{module.NAME}-{module.TABLE}-changelog" for module in modules if hasattr(module, "TABLE")}


def test_every_table_has_its_changelog_declared() -> None:
    assert {topic.name for topic in CHANGELOGS} == _tables()
    assert all(topic.compacted and topic.partitions == "keyed" for topic in CHANGELOGS)


@pytest.mark.parametrize("topic", [each for each in TOPICS if each.message], ids=lambda topic: topic.name)
def test_key_is_a_field_of_every_message(topic: Topic) -> None:
    field = topic.key.split(",")[0]
    if topic is DEAD_LETTERS:
        return
    without = {str(t.tag) for t in types_of(topic) if field not in {each.name for each in t.fields}}
    assert without <= SPEECHLESS


def test_whatever_comes_from_outside_is_dead_lettered_by_one_of_its_readers_if_it_has_any() -> None:
    for topic in TOPICS:
        if topic.from_outside:
            assert bool(topic.dead_letters_by) == (topic.read_by != "nobody yet"), topic.name
            assert topic.written_by in ("shop", "back office")
    assert all("," not in topic.dead_letters_by for topic in TOPICS)


def test_brokers_stamp_their_own_time() -> None:
    assert {topic.config()["message.timestamp.type"] for topic in ALL} == {"LogAppendTime"}


def test_retention_is_stated_in_milliseconds() -> None:
    assert TICKET_PURCHASES.config()["retention.ms"] == str(30 * 24 * 3600 * 1000)
    assert {topic.config()["retention.ms"] for topic in ALL if topic.compacted} == {"-1"}


def test_feature_sources_keep_their_places() -> None:
    """Stored states hold these numbers: append, never reorder."""
    assert list(SOURCE_INDEX.items()) == [
        ("ticket-activity", 0), ("ticket-purchases", 1), ("payment-outcomes", 2), ("fraud-labels", 3),
        ("event-inventory", 4), ("fraud-evidence", 5),
    ]  # fmt: skip
    assert [topic.name for topic in FEATURE_SOURCES if not topic.from_outside] == ["fraud-evidence"]


def test_only_our_own_busiest_topic_is_not_json() -> None:
    assert [topic for topic in TOPICS if topic.message is None] == [ENTITY_UPDATES]
