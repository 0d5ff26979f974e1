"""Features of foreign rows are those of a recount, at every instant asked for."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibook.clock import from_us
from ibook.declarations import Feature
from ibook.entities import Fact
from ibook.measures import SECOND
from ibook.tables import Columns, facts_by_key, features_at
from tests.facts import LATEST_US, every_kind, facts, things
from tests.oracle import hop_at, named_windows, same
from tests.unit.test_declarations import is_right

COLUMNS = Columns(key="who", time="at", kind="what", numbers=("amount_minor",), ids=("user", "card"))
ROW: dict[str, Any] = {
    "who": "k", "at": "2026-03-01T12:00:00Z", "what": "a", "amount_minor": "3", "user": "u", "card": "",
}  # fmt: skip


def row_of(fact: Fact, key: str) -> dict[str, Any]:
    return {
        "who": key, "at": from_us(fact.occurred_us), "what": fact.kind, "amount_minor": fact.numbers["amount_minor"],
        "user": fact.ids["user"], "card": fact.ids["card"],
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(facts(things(), max_size=25), st.lists(st.integers(0, 3 * 86400 * SECOND), min_size=1, max_size=5))
def test_every_instant_sees_what_had_happened_until_then(history: list[Fact], agos_us: list[int]) -> None:
    history = list({fact.occurred_us: fact for fact in history}.values())  # ties break by ids, which rows have not
    features = things()
    rows = [row_of(fact, "mine") for fact in history] + [row_of(fact, "another's") for fact in history]
    instants = [("mine", from_us(LATEST_US - ago_us)) for ago_us in agos_us]
    found = features_at(every_kind(), COLUMNS, rows, instants)
    for ago_us, values in zip(agos_us, found, strict=True):
        as_of_us = LATEST_US - ago_us
        past = [fact for fact in history if fact.occurred_us <= as_of_us]
        for name, feature, window_s in named_windows(features):
            if past:
                assert is_right(features, feature, window_s, past, as_of_us, values[name]), name
            else:
                assert same(values[name], 0.0 if feature.kind in ("count", "sum", "distinct") else float("nan"))
    assert hop_at(features, 0) == 1


def test_empty_cells_are_no_ids() -> None:
    [fact] = facts_by_key(COLUMNS, [ROW])["k"]
    assert (fact.kind, fact.numbers, fact.ids) == ("a", {"amount_minor": 3}, {"user": "u"})
    assert facts_by_key(COLUMNS, [ROW], keys=["another"]) == {}


def test_rows_without_a_kind_are_of_kind_row() -> None:
    declared = [Feature(entity="who", name="n", kind="count", kinds=("row",), windows_s=(60,), why="")]
    asked = [("k", datetime(2026, 3, 1, 12, tzinfo=UTC))]
    assert features_at(declared, Columns(key="who", time="at"), [ROW], asked) == [{"n_1m": 1.0}]


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"at": "yesterday"}, "row 1: 'yesterday' is no time"),
        ({"at": "2026-03-01T12:00:00"}, "time zone"),
        ({"amount_minor": ""}, "no integer"),
        ({"amount_minor": 1.5}, "scale it first"),
        ({"amount_minor": None}, "no integer"),
    ],
)
def test_rows_that_can_not_be_used_are_named(changed: dict[str, Any], refused: str) -> None:
    with pytest.raises(ValueError, match=refused):
        facts_by_key(COLUMNS, [ROW | changed])


def test_large_integers_keep_their_last_digit() -> None:
    [fact] = facts_by_key(COLUMNS, [ROW | {"amount_minor": "9007199254740993"}])["k"]
    assert fact.numbers == {"amount_minor": 9007199254740993}


def test_declarations_of_two_entities_are_refused() -> None:
    declared = [
        Feature(entity=entity, name=entity, kind="count", kinds=("row",), windows_s=(60,), why="") for entity in "ab"
    ]
    with pytest.raises(ValueError, match="one entity at a time"):
        features_at(declared, COLUMNS, [], [])
