"""The tables in `docs/` that are made from the code: `python -m tests.docs.generated` writes them anew.

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`; a test fails when it differs from the code.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic_core import to_json

from ibook import metrics, settings
from ibook.declarations import Feature
from ibook.features import ENTITY_FEATURES, FEATURES, REQUEST_FEATURES
from ibook.measures import LIFETIME, Resolution
from ibook.topics import CHANGELOGS, TOPICS, Topic
from infra.local.workers import WORKERS
from tests.contracts.examples import types_of
from tests.docs import simulated

ROOT = Path(__file__).parents[2]
FOLDER = "tests/contracts/examples"
BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(text: str) -> str:
    """Text as code; nothing for nothing."""
    return f"`{text}`" if text else ""


# ------------------------------------------------------------------------------------------------------------ topics
def kept(topic: Topic) -> str:
    """How long a topic's messages are kept."""
    if topic.compacted:
        return "compacted"
    return "for ever" if topic.retention_days < 0 else f"{topic.retention_days} d"


def topics() -> str:
    """Every topic and changelog."""
    head = ("topic", "key", "written by", "read by", "kept", "partitions", "unreadable ones dead-lettered by")
    rows = [
        (code(topic.name), topic.key, topic.written_by, topic.read_by, kept(topic),
         "1" if topic.partitions == "one" else "`IBOOK_PARTITIONS`", topic.dead_letters_by)
        for topic in (*TOPICS, *CHANGELOGS)
    ]  # fmt: skip
    return table(head, rows)


def shop_topics() -> str:
    """What the shop publishes, and under which key."""
    rows = [
        (code(topic.name), code(topic.key), ", ".join(code(str(each.tag)) for each in types_of(topic)))
        for topic in TOPICS
        if topic.from_outside
    ]
    return table(("topic", "key", "`type` of its messages"), rows)


def workers() -> str:
    """Every process of the platform, and the first sentence of the module it runs."""
    rows = []
    for worker in WORKERS:
        name = worker.arguments[-1].replace("-", "_")
        path = f"streams/{name}.py" if worker.arguments[0] == "streams" else f"{name}/app.py"
        doc = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
        rows.append((code(worker.name), f"[{path}](../{path})", doc.splitlines()[0]))
    return table(("process", "file", "what it does"), rows)


# ------------------------------------------------------------------------------------------------- messages, by field
def fields() -> str:
    """The fields of every message the shop writes or reads, but those that every message has."""
    named = [topic for topic in TOPICS if topic.from_outside or "shop" in topic.read_by]
    rows = [
        (f"[`{each.tag}`](../{FOLDER}/{topic.name}/{each.tag})", _sentence(each.cls), "<br>".join(_fields(each)))
        for topic in named
        for each in types_of(topic)
    ]
    return table(("`type`", "says", "fields"), rows)


def _sentence(cls: type) -> str:
    """The first sentence of a docstring."""
    doc = " ".join((inspect.getdoc(cls) or "").split())
    return doc.split(". ")[0].rstrip(".") + "."


def _fields(type_: msgspec.inspect.StructType) -> Iterator[str]:
    for field in type_.fields:
        if field.name not in ("message_id", "occurred_at"):
            rule = allowed(field.type) + ("" if field.required else ", optional")
            yield code(field.encode_name) + (f": {rule}" if rule != "id" else "")


def allowed(type_: msgspec.inspect.Type) -> str:
    """What a field may hold, in words."""
    match type_:
        case msgspec.inspect.StrType():
            return f"text matching `{type_.pattern}`" if type_.pattern else "id" if type_.min_length else "text"
        case msgspec.inspect.IntType():
            return f"integer, {type_.ge} to {type_.le}"
        case msgspec.inspect.DateTimeType():
            return "time"
        case msgspec.inspect.LiteralType():
            return ", ".join(code(str(each)) for each in type_.values)
        case msgspec.inspect.UnionType():
            return " or ".join(allowed(each) for each in type_.types)
        case msgspec.inspect.ListType():
            return f"list of {type_.min_length} to {type_.max_length}, each {allowed(type_.item_type)}"
        case msgspec.inspect.StructType():
            return "{" + "; ".join(_fields(type_)) + "}"
        case _:
            return "null" if isinstance(type_, msgspec.inspect.NoneType) else "`true` or `false`"


# ----------------------------------------------------------------------------------------------------------- features
def features() -> str:
    """Every declared feature; an error bound in seconds for each of its windows."""
    head = ("entity", "features", "kind", "of", "tail at most, s", "delay, s", "error of the count", "why")
    rows = [
        (f"**{each.entity}**", "<br>".join(map(code, each.names())), each.kind, _of(each), _tails(each),
         str(each.delay_s or ""), _count_error(each), each.why)
        for each in FEATURES
    ]  # fmt: skip
    return table(head, rows)


def _of(feature: Feature) -> str:
    said = f"{feature.field} of " if feature.field else ""
    conditions = "".join(f", {where.field} {where.is_} {where.value}" for where in feature.where)
    below = f"{feature.of_field} of " if feature.of_field else ""
    return said + ", ".join(feature.kinds) + conditions + (f" / {below}{', '.join(feature.of)}" if feature.of else "")


def _tails(feature: Feature) -> str:
    """By how much the begin of each window may be rounded down."""
    resolution = _resolution(feature)
    return "<br>".join(str(resolution.hop_of(window)) if window < LIFETIME else "0" for window in feature.windows_s)


def _resolution(feature: Feature) -> Resolution:
    return {str(entity): each.resolution for entity, each in ENTITY_FEATURES.items()}[feature.entity]


def _count_error(feature: Feature) -> str:
    """The relative standard error of distinct counts."""
    cap = _resolution(feature).distinct_cap
    distinct = feature.kind == "distinct" or (feature.kind == "ratio" and feature.field)
    return f"0; from {cap} in a tile on {1 / sqrt(cap - 2):.0%}" if distinct else ""


def request_features() -> str:
    """The features that need nothing but the purchase."""
    return "".join(f"- {code(name)}: {why}\n" for name, why in REQUEST_FEATURES.items())


# --------------------------------------------------------------------------------------------- settings and metrics
def settings_table() -> str:
    """Every setting with its default."""
    docs = _attribute_docs(settings.Settings)
    rows = [
        (code(f"IBOOK_{name.upper()}"), code(_default(field.default)), docs[name])
        for name, field in settings.Settings.model_fields.items()
    ]
    return table(("variable", "default", "what it says"), rows)


def _attribute_docs(cls: type) -> dict[str, str]:
    """The string below each attribute of a class; KeyError later for one that has none."""
    [body] = [node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef)]
    return {
        above.target.id: " ".join(str(below.value.value).split())
        for above, below in pairwise(body)
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name)
        and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }  # fmt: skip


def _default(value: Any) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case str() | Path():
            return str(value)
        case _:
            return to_json(value).decode()


def metrics_table() -> str:
    """Every Prometheus metric."""
    kinds = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
    rows = [
        (code(next(iter(each.describe())).name + ("_total" if isinstance(each, Counter) else "")),
         kinds[type(each)], ", ".join(map(code, each._labelnames)), each._documentation)
        for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)
    ]  # fmt: skip
    return table(("metric", "kind", "labels", "what it counts"), rows)


def decisions() -> str:
    """The ADRs by their titles."""
    paths = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    return "".join(f"- [{path.read_text().splitlines()[0].removeprefix('# ')}]({path.name})\n" for path in paths)


BLOCKS: dict[str, Callable[[], str]] = {
    "topics": topics, "shop-topics": shop_topics, "workers": workers, "fields": fields, "features": features,
    "request-features": request_features, "settings": settings_table, "metrics": metrics_table,
    "decisions": decisions,
    "patterns": lambda: table(*simulated.patterns()), "scenarios": lambda: table(*simulated.scenarios()),
    "measures": lambda: table(*simulated.measures()), "assumptions": lambda: table(*simulated.assumptions()),
    "report-keys": lambda: table(*simulated.report_keys()),
}  # fmt: skip


def pages() -> Iterator[Path]:
    """Every page that may hold a generated table."""
    yield from sorted((ROOT / "docs").rglob("*.md"))


def renewed(text: str) -> str:
    """A page's text with its tables as the code has them now. Raises KeyError for a table nobody makes."""
    return BLOCK.sub(lambda block: f"{block[1]}{BLOCKS[block[2]]()}{block[3]}", text)


if __name__ == "__main__":
    for page in pages():
        page.write_text(renewed(page.read_text()))
