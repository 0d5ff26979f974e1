"""What `ibook features` says: sentences and tables."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ibook.edges.freshness import percentiles_ms
from ibook.features import FEATURE_NAMES

if TYPE_CHECKING:
    from rich.table import Table

    from ibook.edges.parity import ParityReport

SHOWN = 20
"""Disagreements printed; the JSON has one of each feature and entity."""


def parity_sentences(report: "ParityReport") -> Iterator[str]:
    """What was compared, and whatever disagrees."""
    values, pairs = report.values, report.pairs
    yield (
        f"Parity: {values.values_checked:,} values of {values.verdicts:,} verdicts ({len(FEATURE_NAMES)} features), "
        f"{values.mismatches:,} differ from the log."
    )
    yield (
        f"Completeness: {pairs.expected:,} updates due, {pairs.missing:,} missing, {pairs.extra:,} extra, "
        f"{pairs.repeated:,} sent twice and folded once. It took {report.seconds:.1f} s."
    )
    if values.verdicts_of_other_features:
        yield f"{values.verdicts_of_other_features:,} verdicts of other declarations were left out."
    if not values.values_checked:
        yield "Nothing was compared: no verdict with features has been served here."
    if report.updates_waiting:
        yield f"{report.updates_waiting:,} source messages are not sent on yet: they are left out."
    counts = {**values.mismatches_by_feature, **{f"{e} (state)": n for e, n in values.miscounted_by_entity.items()}}
    for name, count in sorted(counts.items(), key=lambda each: -each[1])[:SHOWN]:
        yield f"DIFFERS: {name} {count:,} times."
    for sentence in report.examples()[:SHOWN]:
        yield f"  {sentence}"


STALENESS = (
    "Staleness of purchases decided as they happened. Heartbeat: decision time minus the oldest one, as recorded.",
    "Views: how long the broker had held the oldest update of the entity that neither its state nor the worker's own",
    "purchases had; 0 when none was missed.",
)
"""What the table below shows."""


def staleness_table(report: "ParityReport") -> "Table":
    """How stale features were when verdicts were decided: one row for all, one per view."""
    from rich.table import Table

    table = Table("stale by", "p50", "p95", "p99", "verdicts", "missed nothing", box=None)
    _row(table, "heartbeat", percentiles_ms(report.values.staleness_s), len(report.values.staleness_s))
    for entity, missed in report.values.missed_s.items():
        share = f"{sum(each == 0 for each in missed) / len(missed):.1%}" if missed else ""
        _row(table, f"{entity}_state", percentiles_ms(missed), len(missed), share)
    return table


def _row(table: "Table", name: str, found: dict[str, float], count: int, share: str = "") -> None:
    cells = [f"{found[q]:.0f} ms" if found else "" for q in ("p50", "p95", "p99")]
    table.add_row(name, *cells, f"{count:,}", share)
