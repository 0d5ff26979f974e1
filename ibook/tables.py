"""Features of any table: rows with a key, a time and values, no Kafka needed.

A row becomes a fact, the facts of a key are folded in the order of their time, and every instant that is asked for sees
what had happened until then. The tiles, the rounding and the numbers are those of the live platform.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ibook.clock import to_us
from ibook.declarations import EntityFeatures, Feature
from ibook.entities import Fact
from ibook.measures import FINE, Resolution


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the columns of a table are; `kind` is a column, or "" when all rows are of kind "row"."""

    key: str
    time: str
    kind: str = ""
    numbers: tuple[str, ...] = ()
    """Integers; scale decimals first (cents, thousandths)."""
    ids: tuple[str, ...] = ()
    """What distinct counts and filters look at; an empty cell has none."""

    def fact(self, row: Mapping[str, Any], number: int) -> Fact:
        """The fact of a row. Raises ValueError that names the row for a time or a number that can't be used."""
        return Fact(
            str(row[self.kind]) if self.kind else "row", str(number), _time_us(row[self.time], number),
            {name: _integer(row[name], name, number) for name in self.numbers},
            {name: str(row[name]) for name in self.ids if row[name] not in (None, "")},
        )  # fmt: skip


def features_at(
    declared: Sequence[Feature], columns: Columns, rows: Iterable[Mapping[str, Any]],
    instants: Sequence[tuple[str, datetime]], *, resolution: Resolution = FINE,
) -> list[dict[str, float]]:  # fmt: skip
    """The declared features of each (key, instant), in the order asked for.

    `declared` are of one entity, the one that `columns.key` names rows of. Rows may come in any order; one at the very
    instant counts. Raises ValueError as `Columns.fact` does, and for declarations of several entities.
    """
    if len(entities := {feature.entity for feature in declared}) != 1:
        raise ValueError(f"one entity at a time, not {sorted(entities)}")
    features = EntityFeatures(entities.pop(), declared, resolution=resolution)
    asked: dict[str, list[tuple[int, int]]] = {}
    for place, (key, instant) in enumerate(instants):
        asked.setdefault(key, []).append((to_us(instant), place))
    facts = facts_by_key(columns, rows, asked.keys())
    found: list[dict[str, float]] = [{} for _ in instants]
    for key, wanted in asked.items():
        for place, values in _replay(features, facts.get(key, []), sorted(wanted)):
            found[place] = dict(zip(features.names, values, strict=True))
    return found


def facts_by_key(
    columns: Columns, rows: Iterable[Mapping[str, Any]], keys: Iterable[str] | None = None
) -> dict[str, list[Fact]]:
    """The facts of each key (of `keys` alone, if given), oldest first."""
    only = None if keys is None else set(keys)
    facts: dict[str, list[Fact]] = {}
    for number, row in enumerate(rows, start=1):
        if only is None or str(row[columns.key]) in only:
            facts.setdefault(str(row[columns.key]), []).append(columns.fact(row, number))
    for each in facts.values():
        each.sort(key=lambda fact: fact.occurred_us)
    return facts


def _replay(
    features: EntityFeatures, facts: Sequence[Fact], wanted: Sequence[tuple[int, int]]
) -> Iterable[tuple[int, list[float]]]:
    """(place, values) for each (instant in microseconds, place), both oldest first."""
    state, done = features.layout.empty(), 0
    for as_of_us, place in wanted:
        while done < len(facts) and facts[done].occurred_us <= as_of_us:
            features.layout.fold_fact(state, facts[done])
            done += 1
        yield place, features.compute(state, as_of_us)


def _time_us(value: Any, number: int) -> int:
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"row {number}: {value!r} is no time in ISO 8601") from error
    if time.tzinfo is None:
        raise ValueError(f"row {number}: {value!r} does not say which time zone it means")
    return to_us(time)


def _integer(value: Any, name: str, number: int) -> int:
    try:
        integer = int(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"row {number}: {name} is {value!r}, no integer: such rows need a kind of their own"
        ) from error
    if not isinstance(value, str) and integer != value:
        raise ValueError(f"row {number}: {name} is {value!r}, not an integer: scale it first")
    return integer
