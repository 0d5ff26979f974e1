"""The tables of `docs/simulator.md`: patterns, scenarios, measures, assumptions, and the keys of the JSON."""

import ast
import inspect
import types
import typing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec

from simulator.attacks import PATTERNS
from simulator.judgement import Judgement, load_thresholds
from simulator.scenarios import SCENARIOS
from simulator.validators import MEASURES

ROOT = Path(__file__).parents[2]
Row = tuple[str, ...]
Table = tuple[Row, list[Row]]
"""Head and rows."""
KINDS = {str: "text", float: "number", int: "number", bool: "`true` or `false`", dict: "object", tuple: "list"}


def patterns() -> Table:
    """Every way to attack."""
    head = ("pattern", "kind", "share of all purchases", "first seen", "what gives it away", "who looks like it")
    return head, [
        (f"`{each.name}`", each.kind, f"{each.share:.2%}", f"after {each.begins:.0%} of a run" if each.begins else "",
         _one_line(each.tell), ", ".join(f"`{name}`" for name in each.look_alikes))
        for each in PATTERNS.values()
    ]  # fmt: skip


def scenarios() -> Table:
    """Every scenario, in its own words."""
    return ("scenario", "what happens"), [(f"`{each.name}`", each.description) for each in SCENARIOS.values()]


def measures() -> Table:
    """What is measured, and the bound it has unless a file says otherwise."""
    bounds = load_thresholds().general
    return ("measure", "what it is", "passes when", "why there"), [
        (f"`{name}`", meaning.says, str(bounds[name]) if name in bounds else "",
         bounds[name].why if name in bounds else "")
        for name, meaning in MEASURES.items()
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------- assumptions
def assumptions() -> Table:
    """Every constant and field whose docstring says that it is assumed."""
    rows: list[Row] = []
    for path in sorted((ROOT / "simulator").rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        for name, value, doc in _documented(ast.parse(path.read_text(encoding="utf-8"))):
            if "Assumed" in doc:
                rows.append((f"`{name}`", f"`{_short(value)}`", f"[{module}](../{module})", _one_line(doc)))
    return ("assumed", "value", "where", "what it is, and why"), rows


def _documented(tree: ast.Module) -> Iterator[tuple[str, ast.expr, str]]:
    """Names with a value and a string below them, in the module and in its classes."""
    bodies = [("", tree.body), *((f"{node.name}.", node.body) for node in tree.body if isinstance(node, ast.ClassDef))]
    for prefix, body in bodies:
        for above, below in pairwise(body):
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                target = above.targets[0] if isinstance(above, ast.Assign) else getattr(above, "target", None)
                value = getattr(above, "value", None)
                if target is not None and value is not None:
                    yield f"{prefix}{ast.unparse(target)}", value, str(below.value.value)


def _short(value: ast.expr) -> str:
    text = ast.unparse(value)
    return text if len(text) <= 60 else "…"


# ------------------------------------------------------------------------------------------------------ keys of JSON
def report_keys() -> Table:
    """Every key of the JSON, by its path."""
    return ("key", "holds", "what it is"), list(_keys(Judgement, ""))


def _keys(struct: type[msgspec.Struct], path: str) -> Iterator[Row]:
    docs, hints = _attribute_docs(struct), typing.get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        name, (kind, inner, suffix) = f"{path}{field.encode_name}", _kind(hints[field.name])
        yield f"`{name}`", kind, docs.get(field.name) or (_first_sentence(inner) if inner else "")
        if inner is not None:
            yield from _keys(inner, f"{name}{suffix}.")


def _kind(hint: Any) -> tuple[str, type[msgspec.Struct] | None, str]:
    """A type in words, the struct in it, and what stands between its name and that of the struct's fields."""
    args, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin is typing.Annotated:
        return _kind(args[0])
    if origin in (typing.Union, types.UnionType):
        words, inner, suffix = _kind(args[0])
        return f"{words} or null", inner, suffix
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in args), None, ""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return "object", hint, ""
    if origin is dict:
        return "object by name", _kind(args[1])[1], ".<name>"
    if origin is tuple:
        return "list", _kind(args[0])[1], "[]"
    return KINDS[hint], None, ""


def _attribute_docs(struct: type) -> dict[str, str]:
    [body] = [node.body for node in ast.parse(inspect.getsource(struct)).body if isinstance(node, ast.ClassDef)]
    return {
        above.target.id: _one_line(str(below.value.value))
        for above, below in pairwise(body)
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name)
        and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }  # fmt: skip


def _first_sentence(cls: type) -> str:
    return _one_line(inspect.getdoc(cls) or "").split(". ")[0].rstrip(".") + "."


def _one_line(text: str) -> str:
    return " ".join(text.split())
