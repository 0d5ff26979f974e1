"""Conditions over named columns, written as SQL boolean expressions: parsed, checked whole, and run over a batch.

The language is a part of SQL: names, numbers, 'texts', + - * / with coalesce() and abs(), = <> < <= > >=, BETWEEN,
IN (…), IN a_list, IS NULL, AND, OR, NOT. Its logic is SQL's of three values: what compares with something missing is
neither true nor false, and neither is its negation. The parser is sqlglot's; nothing is ever evaluated as Python, and
what is not named here is refused. Missing is NaN in a column of numbers and None in a column of texts.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

Kind = Literal["number", "text"]
Columns = Mapping[str, Any]
"""Name -> one value, or an array of one value per row."""
Run = Callable[[Columns], Any]
"""Gives one value, or an array of one value per row."""

MAX_LENGTH = 2_000
LARGEST = float(np.finfo(np.float32).max)
_COMPARE: dict[type[exp.Expr], tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    exp.LT: (operator.lt, operator.ge), exp.LTE: (operator.le, operator.gt), exp.GT: (operator.gt, operator.le),
    exp.GTE: (operator.ge, operator.lt),
}  # fmt: skip
"""Comparison -> how it is true, and how it is false; a NaN makes both of them false."""
_ARITHMETIC: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.Add: operator.add, exp.Sub: operator.sub, exp.Mul: operator.mul,
}  # fmt: skip


class BadExpressionError(ValueError):
    """An expression that can't be used; the message says what is wrong with it."""


@dataclass(frozen=True)
class Expression:
    """A checked condition."""

    text: str
    names: frozenset[str]
    """The columns it looks at."""
    tree: exp.Expr = field(compare=False, repr=False)
    holds: Run = field(compare=False, repr=False)
    """Whether it is true (rather than false or unknown): a bool, or an array of bools of shape ``(n,)``."""


def parse(text: str, names: Mapping[str, Kind], lists: Mapping[str, frozenset[str]] | None = None) -> Expression:
    """Read a condition over columns called `names`, with the texts of `lists` for ``IN``.

    Numbers of columns are float32 in origin, so the numbers of the text are rounded as they are: 0.7 equals the 0.7
    that a column holds. Raises BadExpressionError with one sentence.

    >>> parse("attempts >= 6 AND NOT ratio < 0.5", {"attempts": "number", "ratio": "number"}).holds(
    ...     {"attempts": np.array([7.0, 7.0, 7.0]), "ratio": np.array([0.6, 0.4, np.nan])}).tolist()
    [True, False, False]
    """
    if len(text) > MAX_LENGTH:
        raise BadExpressionError(f"has {len(text)} characters, more than {MAX_LENGTH}")
    try:
        tree = sqlglot.parse_one(text, read="duckdb")
        compiler = _Compiler(names, lists or {})
        holds = compiler.condition(tree, wanted=True)
    except SqlglotError as error:
        raise BadExpressionError(f"is no expression: {_first_fault(error)}") from error
    except RecursionError as error:
        raise BadExpressionError("is nested too deeply") from error
    if not compiler.used:
        raise BadExpressionError("looks at nothing: it names no feature and no field")
    return Expression(text, frozenset(compiler.used), tree, holds)


def _first_fault(error: SqlglotError) -> str:
    """The parser's words about its first fault, without the terminal codes that it marks the place with."""
    faults: Sequence[Mapping[str, Any]] = getattr(error, "errors", None) or [{}]
    first = faults[0]
    if not first.get("description"):
        return "it can't be cut into words"
    return f"{str(first['description']).split(' missing for ')[0]} at character {first.get('col')}"


class _Compiler:
    """From the tree to functions of columns. A condition is compiled for "is it true" or for "is it false"."""

    def __init__(self, names: Mapping[str, Kind], lists: Mapping[str, frozenset[str]]) -> None:
        self._names = names
        self._lists = lists
        self.used: set[str] = set()

    # ------------------------------------------------------------------------------------------------- conditions
    def condition(self, node: exp.Expr, *, wanted: bool) -> Run:
        """Whether a condition is `wanted`, where true and false both mean known."""
        match node:
            case exp.Paren():
                return self.condition(node.this, wanted=wanted)
            case exp.Not():
                return self.condition(node.this, wanted=not wanted)
            case exp.And() | exp.Or():
                both = operator.and_ if isinstance(node, exp.And) is wanted else operator.or_
                return _joined(both, self.condition(node.this, wanted=wanted),
                               self.condition(node.expression, wanted=wanted))  # fmt: skip
            case exp.Between():
                low, high = exp.GTE(this=node.this, expression=node.args["low"]), node.args["high"]
                above = exp.And(this=low, expression=exp.LTE(this=node.this, expression=high))
                return self.condition(above, wanted=wanted)
            case exp.EQ() | exp.NEQ():
                return self._equal(node, wanted=isinstance(node, exp.EQ) is wanted)
            case exp.In():
                return self._among(node, wanted=wanted)
            case exp.Is() if isinstance(node.expression, exp.Null):
                is_known = self._is_known(node.this)
                return is_known if not wanted else lambda columns: _not(is_known(columns))
        if type(node) in _COMPARE:
            left, right = self.number(node.this), self.number(node.expression)
            return _joined(_COMPARE[type(node)][not wanted], left, right)
        raise BadExpressionError(f"{_shown(node)} is nothing that can be true or false in a rule")

    def _equal(self, node: exp.Expr, *, wanted: bool) -> Run:
        value = self.text if self._kind(node.this) == "text" else self.number
        left, right = value(node.this), value(node.expression)
        if wanted:
            equal = _joined(operator.eq, left, right)
            return equal if value == self.number else _joined(operator.and_, equal, _known(left))
        known = _joined(operator.and_, _known(left), _known(right))
        return _joined(operator.and_, _joined(operator.ne, left, right), known)

    def _among(self, node: exp.In, *, wanted: bool) -> Run:
        if node.args.get("query") or node.args.get("unnest"):
            raise BadExpressionError(f"{_shown(node)} asks a query; only lists are allowed")
        listed: frozenset[Any]
        if self._kind(node.this) == "text":
            value, listed = self.text(node.this), self._texts(node)
        else:
            value, listed = self.number(node.this), frozenset(map(_constant, node.expressions))
        if not listed:
            raise BadExpressionError(f"{_shown(node)} has an empty list")
        return lambda columns: _is_among(value(columns), listed, wanted)

    def _texts(self, node: exp.In) -> frozenset[str]:
        named = node.args.get("field")
        if named is None:
            return frozenset(map(_text, node.expressions))
        name = named.name if isinstance(named, exp.Column) else _shown(named)
        if name not in self._lists:
            raise BadExpressionError(f"there is no list called {name}{_near(name, self._lists)}")
        return self._lists[name]

    def _is_known(self, node: exp.Expr) -> Run:
        return _known(self.text(node) if self._kind(node) == "text" else self.number(node))

    # ----------------------------------------------------------------------------------------------------- values
    def _kind(self, node: exp.Expr) -> Kind:
        if isinstance(node, exp.Column):
            return self._names[self._name(node)]
        return "text" if isinstance(node, exp.Literal) and node.is_string else "number"

    def _name(self, node: exp.Column) -> str:
        name = node.sql(dialect="duckdb") if len(node.parts) > 1 else node.name
        if name not in self._names:
            raise BadExpressionError(f"nothing is called {name}{_near(name, self._names)}")
        self.used.add(name)
        return name

    def text(self, node: exp.Expr) -> Run:
        """A text: a column, or a constant."""
        if isinstance(node, exp.Column):
            name = self._name(node)
            if self._names[name] != "text":
                raise BadExpressionError(f"{name} is a number, and is compared with a text")
            return lambda columns: columns[name]
        text = _text(node)
        return lambda columns: text

    def number(self, node: exp.Expr) -> Run:
        """A number: a column, a constant, or what is computed from them."""
        match node:
            case exp.Paren():
                return self.number(node.this)
            case exp.Column():
                name = self._name(node)
                if self._names[name] != "number":
                    raise BadExpressionError(
                        f"{name} is a text: it can be compared by =, <>, IN and IS NULL with texts"
                    )
                return lambda columns: columns[name]
            case exp.Neg() if not isinstance(node.this, exp.Literal):
                negative = self.number(node.this)
                return lambda columns: -negative(columns)
            case exp.Div():
                return _joined(_divided, self.number(node.this), self.number(node.expression))
            case exp.Coalesce():
                first, *others = map(self.number, (node.this, *node.expressions))
                for other in others:
                    first = _joined(_first_known, first, other)
                return first
            case exp.Abs():
                value = self.number(node.this)
                return lambda columns: abs(value(columns))
        if type(node) in _ARITHMETIC:
            return _joined(_ARITHMETIC[type(node)], self.number(node.this), self.number(node.expression))
        constant = _constant(node)
        return lambda columns: constant


def _joined(function: Callable[[Any, Any], Any], left: Run, right: Run) -> Run:
    return lambda columns: function(left(columns), right(columns))


def _text(node: exp.Expr) -> str:
    if isinstance(node, exp.Literal) and node.is_string:
        return str(node.this)
    raise BadExpressionError(f"{_shown(node)} is not a text in single quotes")


def _constant(node: exp.Expr) -> float:
    """A number as a feature would hold it."""
    sign, literal = (-1.0, node.this) if isinstance(node, exp.Neg) else (1.0, node)
    if not isinstance(literal, exp.Literal) or literal.is_string:
        raise BadExpressionError(f"{_shown(node)} is no number that a rule can use")
    if not float(literal.this) <= LARGEST:
        raise BadExpressionError(f"{_shown(node)} is not a finite number")
    return sign * float(np.float32(literal.this))


def _shown(node: object) -> str:
    return node.sql(dialect="duckdb") if isinstance(node, exp.Expr) else repr(node)


def _near(name: str, names: Mapping[str, object]) -> str:
    near = get_close_matches(name, names, n=3)
    return f"; there is {' and '.join(near)}" if near else ""


def _known(value: Run) -> Run:
    return lambda columns: _is_known(value(columns))


def _is_known(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.array([each is not None for each in value]) if value.dtype == object else value == value
    return value is not None and value == value


def _not(value: Any) -> Any:
    return np.logical_not(value) if isinstance(value, np.ndarray) else not value


def _is_among(value: Any, listed: frozenset[Any], wanted: bool) -> Any:
    if isinstance(value, np.ndarray):
        found = np.fromiter((each in listed for each in value.tolist()), np.bool_, len(value))
        return found if wanted else ~found & _is_known(value)
    return (value in listed) if wanted else (value not in listed and _is_known(value))


def _divided(left: Any, right: Any) -> Any:
    """A quotient; nothing known where the divisor is 0, as in SQL."""
    if isinstance(right, np.ndarray):
        return left / np.where(right == 0.0, np.nan, right)
    return left / (right or np.nan)


def _first_known(left: Any, right: Any) -> Any:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return np.where(_is_known(left), left, right)
    return left if _is_known(left) else right
