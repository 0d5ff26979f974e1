"""Conditions of rules: what DuckDB says of the same text, in every combination of known and missing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibook.expression_bounds import holds_on_what_is_known
from ibook.expressions import BadExpressionError, Kind, parse

NAMES: dict[str, Kind] = {"a": "number", "b": "number", "g": "number", "s": "text", "t": "text"}
LISTS = {"some_texts": frozenset({"x", "y"})}

NUMBERS = st.recursive(
    st.sampled_from(["a", "b", "g", "0", "1", "2.5", "-1", "3"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner),
        st.builds("coalesce({}, {})".format, inner, inner), st.builds("abs({})".format, inner),
        st.builds("-({})".format, inner),
    ), max_leaves=4,
)  # fmt: skip
TEXTS = st.sampled_from(["s", "t", "'x'", "'z'"])
LEAVES = st.one_of(
    st.builds("{} {} {}".format, NUMBERS, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), NUMBERS),
    st.builds("{} {} {}".format, TEXTS, st.sampled_from(["=", "<>"]), TEXTS),
    st.builds("{} BETWEEN {} AND {}".format, NUMBERS, NUMBERS, NUMBERS),
    st.builds("{} {}".format, st.sampled_from(["a", "b", "s"]), st.sampled_from(["IS NULL", "IS NOT NULL"])),
    st.sampled_from(["a IN (1, 2.5)", "a NOT IN (1, -1)", "s IN ('x', 'y')", "t NOT IN ('x')", "s IN some_texts"]),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner), st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ), max_leaves=5,
)  # fmt: skip
NUMBER = st.sampled_from([None, -1.0, 0.0, 1.0, 2.5, 3.0])
ROWS = st.lists(
    st.tuples(NUMBER, NUMBER, NUMBER, st.sampled_from([None, "x", "z"]), st.sampled_from([None, "x", "y"])),
    min_size=2, max_size=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def database() -> Iterator[Any]:
    import duckdb  # here, or what it leaks at exit would be told after every run

    with duckdb.connect() as connection:
        connection.execute("SET ieee_floating_point_ops = false")  # what is divided by 0 is then NULL, and no fault
        connection.execute("SET error_on_division_by_zero = false")
        connection.execute("CREATE TABLE t (n INT, a DOUBLE, b DOUBLE, g DOUBLE, s TEXT, t TEXT, some_texts TEXT[])")
        yield connection


@settings(max_examples=200, deadline=None)
@given(text=CONDITIONS, rows=ROWS)
def test_a_condition_holds_where_duckdb_says_so(database: Any, text: str, rows: list[tuple[Any, ...]]) -> None:
    try:
        condition = parse(text, NAMES, LISTS)
    except BadExpressionError as error:
        assert "names no feature" in str(error)  # such as 1 < 2
        return
    values = [dict(zip(NAMES, map(_value, NAMES.values(), row), strict=True)) for row in rows]
    columns = {name: np.array([row[name] for row in values], float if NAMES[name] == "number" else object)
               for name in NAMES}  # fmt: skip
    together = np.broadcast_to(condition.holds(columns), (len(rows),)).tolist()
    alone = [bool(condition.holds(row)) for row in values]
    assert together == alone == _by_duckdb(database, text, rows)


def _value(kind: Kind, value: Any) -> Any:
    return np.nan if kind == "number" and value is None else value


def _by_duckdb(database: Any, text: str, rows: list[tuple[Any, ...]]) -> list[bool]:
    database.execute("TRUNCATE t")
    places = ", ".join(["(?, ?, ?, ?, ?, ?, ['x', 'y'])"] * len(rows))
    database.execute(f"INSERT INTO t VALUES {places}", [value for n, row in enumerate(rows) for value in (n, *row)])
    return [found is True for (found,) in database.execute(f"SELECT {text} FROM t ORDER BY n").fetchall()]


GROWING, FIXED = ("g", "b"), ("a", "s", "t")


@settings(max_examples=300)
@given(text=CONDITIONS, row=ROWS.map(lambda rows: rows[0]), more=st.tuples(st.floats(0, 5), st.floats(0, 5)))
def test_what_holds_on_a_part_of_the_history_holds_on_all_of_it(
    text: str, row: tuple[Any, ...], more: tuple[float, float]
) -> None:
    try:
        condition = parse(text, NAMES, LISTS)
    except BadExpressionError:
        return
    part = dict(zip(NAMES, map(_value, NAMES.values(), row), strict=True))
    if not holds_on_what_is_known(condition, fixed=FIXED, growing=GROWING) or not condition.holds(part):
        return
    whole = part | {name: part[name] + grown for name, grown in zip(GROWING, more, strict=True)}
    assert condition.holds(whole)


@pytest.mark.parametrize(
    ("text", "is_safe"),
    [("g >= 5", True), ("5 <= g", True), ("NOT g < 5", True), ("g + b - a > 3", True), ("g * 2 >= 5", True),
     ("g >= 5 AND s IN some_texts AND a BETWEEN 1 AND 3", True), ("a IS NULL", True),
     ("g < 5", False), ("NOT g >= 5", False), ("g = 5", False), ("g > b", False), ("g - b > 1", False),
     ("coalesce(g, 9) > 1", False), ("g BETWEEN 1 AND 9", False), ("-g < -5", False), ("g * a > 1", False)],
)  # fmt: skip
def test_what_only_grows_may_be_compared_from_below_alone(text: str, is_safe: bool) -> None:
    assert holds_on_what_is_known(parse(text, NAMES, LISTS), fixed=FIXED, growing=GROWING) is is_safe


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a >", "is no expression"),
        ("a > 'x", "is no expression"),
        ("a > 3 b", "can be true or false"),
        ("a > 3; DROP TABLE t", "DROP TABLE"),
        ("(SELECT 1) > a", "no number"),
        ("a IN (SELECT 1)", "asks a query"),
        ("EXISTS (SELECT 1)", "can be true or false"),
        ("system('x') = 'y'", "no number"),
        ("read_text(s) = 'y'", "no number"),
        ("a::INT > 3", "no number"),
        ("lower(s) = 'x'", "no number"),
        ("a", "can be true or false"),
        ("1 < 2", "names no feature"),
        ("a = 'x'", "no number"),
        ("s = 3", "not a text"),
        ("s < 'x'", "s is a text"),
        ("s IN others", "no list called others"),
        ("s IN (a)", "not a text"),
        ("a IN ()", "empty list"),
        ("aa > 3", "there is a"),
        ("u.a > 3", "nothing is called u.a"),
        ("a > ?", "no number"),
        ("a > 1e99", "finite"),
        ("__import__('os') = 'x'", "no number"),
        ("(" * 300 + "a > 1" + ")" * 300, "too deeply"),
        ("a > 1 OR " * 400 + "a > 1", "characters"),
    ],
)
def test_what_is_not_in_the_language_is_refused_with_what_is_wrong(text: str, fault: str) -> None:
    with pytest.raises(BadExpressionError) as refused:
        parse(text, NAMES, LISTS)
    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)
