"""What a condition is worth when part of the history is unknown: it may be missed then, but not be found in error."""

from collections.abc import Collection
from typing import Literal

from sqlglot import exp

from ibook.expressions import Expression

Direction = Literal["fixed", "grows"]
"""`fixed`: the same however much is known; `grows`: can only be too low while something is unknown."""


def holds_on_what_is_known(expression: Expression, *, fixed: Collection[str], growing: Collection[str]) -> bool:
    """Whether a condition that holds on a part of the history holds on the whole of it.

    `fixed` names what needs no history, `growing` what more history can only raise. So growing names may only be
    compared from below, everything else only if it is fixed.
    """
    known: dict[str, Direction] = dict.fromkeys(fixed, "fixed")
    known.update(dict.fromkeys(growing, "grows"))
    return _is_safe(expression.tree, known, True)


def is_at_least_a_constant(expression: Expression, name: str) -> bool:
    """Whether a condition says that `name` reaches a constant, and nothing else.

    >>> from ibook.expressions import parse
    >>> [is_at_least_a_constant(parse(text, {"a": "number"}), "a") for text in ("a >= 3", "3 < a", "a >= 3 AND a > 1")]
    [True, True, False]
    """
    match expression.tree:
        case exp.GTE() | exp.GT():
            value, bound = expression.tree.this, expression.tree.expression
        case exp.LTE() | exp.LT():
            bound, value = expression.tree.this, expression.tree.expression
        case _:
            return False
    return isinstance(value, exp.Column) and value.name == name and isinstance(bound, exp.Literal)


def _is_safe(node: exp.Expr, known: dict[str, Direction], wanted: bool) -> bool:
    match node:
        case exp.Paren():
            return _is_safe(node.this, known, wanted)
        case exp.Not():
            return _is_safe(node.this, known, not wanted)
        case exp.And() | exp.Or():
            return _is_safe(node.this, known, wanted) and _is_safe(node.expression, known, wanted)
        case exp.GTE() | exp.GT():
            high, low = (node.this, node.expression) if wanted else (node.expression, node.this)
        case exp.LTE() | exp.LT():
            high, low = (node.expression, node.this) if wanted else (node.this, node.expression)
        case _:
            return all(
                known.get(column.name) == "fixed" for column in node.find_all(exp.Column) if not _is_list(column)
            )
    return _direction(high, known) is not None and _direction(low, known) == "fixed"


def _is_list(column: exp.Expr) -> bool:
    return isinstance(column.parent, exp.In) and column.arg_key == "field"


def _direction(node: exp.Expr, known: dict[str, Direction]) -> Direction | None:
    """How a number moves as more becomes known; None when that can't be said."""
    match node:
        case exp.Paren():
            return _direction(node.this, known)
        case exp.Column():
            return known.get(node.name)
        case exp.Literal():
            return "fixed"
    parts = [_direction(part, known) for part in node.iter_expressions()]
    if all(part == "fixed" for part in parts):
        return "fixed"
    can_grow = None not in parts and _keeps_order(node, parts)
    return "grows" if can_grow else None


def _keeps_order(node: exp.Expr, parts: list[Direction | None]) -> bool:
    """Whether more in the growing parts gives more in the whole."""
    match node:
        case exp.Add():
            return True
        case exp.Sub():
            return parts[1] == "fixed"
        case exp.Mul():
            return any(isinstance(part, exp.Literal) for part in (node.this, node.expression))
        case exp.Div():
            return isinstance(node.expression, exp.Literal)
    return False
