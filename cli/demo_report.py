"""What the demo measured: one frozen record, as JSON and as a summary for people."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ibook.edges.freshness import percentiles_ms

if TYPE_CHECKING:
    from ibook.edges.audit import Audit
    from ibook.edges.parity import ParityReport
    from simulator.stats import ShopStats


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """Live purchases only, but for `missing`, `conflicting` and `duplicated`: those look at the history too."""

    seconds: float
    purchases: int
    verdicts: int
    missing: int
    conflicting: int
    duplicated: int
    latency_ms: dict[str, float]
    """From just before a purchase was produced until its verdict was readable by the shop."""
    freshness_ms: dict[str, float]
    """From a purchase's `occurred_at` until its card's state was readable in the online store; ten purchases a second
    are followed. `never_seen`: how many were given up after 30 s; they are in no percentile."""
    actions: dict[str, int]
    recall: float
    precision: float
    quotes: int
    sales: int
    dead_letters: int
    unquoted: int
    rate_reached: float
    history_purchases: int
    ready_seconds: float
    caught_up: bool
    """Whether every worker had finished everything in the end."""
    parity: dict[str, Any]
    """As `ibook features parity --json` writes it; history and live purchases alike."""
    agrees: bool = True
    """Every value that was served is what the log gives, and the log has every message."""
    attacks: list[dict[str, Any]] = field(default_factory=list)
    """Those that were launched here; the background has its own, which count in recall and precision."""

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @property
    def sound(self) -> bool:
        """Every purchase, past and live, has its one verdict, from features that the log confirms."""
        answered = not self.missing and not self.conflicting and self.verdicts == self.purchases > 0
        return answered and self.agrees


def report(
    stats: "ShopStats", audit: "Audit", latencies: list[float], freshness: list[float], parity: "ParityReport", *,
    never_seen: int, launched: Sequence[int], ready_seconds: float, caught_up: bool,
) -> DemoReport:  # fmt: skip
    """Put together what the shop, the auditor and the probe have seen."""
    return DemoReport(
        seconds=round(stats.seconds, 1), purchases=stats.purchases, verdicts=stats.verdicts,
        missing=len(audit.missing), conflicting=len(audit.conflicting), duplicated=audit.duplicated,
        latency_ms=percentiles_ms(latencies),
        freshness_ms={**percentiles_ms(freshness), "never_seen": never_seen}, actions=dict(stats.actions),
        recall=round(stats.recall or 0.0, 3), precision=round(stats.precision or 0.0, 3), quotes=stats.quotes,
        sales=stats.sales, dead_letters=audit.dead_letters, unquoted=stats.unquoted,
        rate_reached=round(stats.rate_reached, 1), history_purchases=audit.purchases - stats.purchases,
        ready_seconds=round(ready_seconds, 1), caught_up=caught_up,
        parity=parity.as_json(), agrees=parity.sound,
        attacks=[
            {"pattern": each.pattern, "purchases": each.purchases, "caught": len(each.caught)}
            for each in stats.attacks
            if each.number in launched
        ],
    )  # fmt: skip


def sentences(done: DemoReport) -> Iterator[str]:
    """The summary."""
    latency, fresh = done.latency_ms, done.freshness_ms
    yield (
        f"{done.purchases} purchases in {done.seconds:.0f} s, after a past of {done.history_purchases}: "
        f"{done.verdicts} verdicts, {done.missing} missing, {done.conflicting} conflicting, {done.duplicated} repeated."
    )
    yield "Actions: " + ", ".join(f"{action} {n}" for action, n in sorted(done.actions.items())) + "."
    yield f"Against the hidden truth: recall {done.recall:.2f}, precision {done.precision:.2f}."
    for attack in done.attacks:
        yield f"Attack {attack['pattern']}: {attack['caught']} of {attack['purchases']} purchases caught."
    if latency:
        yield "Purchase to readable verdict: " + _ms(latency) + "."
    if "p50" in fresh:
        yield "Purchase to readable feature: " + _ms(fresh) + "."
    if fresh["never_seen"]:
        yield f"{fresh['never_seen']:.0f} of the purchases that were followed never showed in their card's features."
    compared = done.parity
    yield (
        f"Features against the log: {compared['values_checked']:,} values recomputed, {compared['mismatches']} differ; "
        f"{compared['updates_expected']:,} updates due, {compared['updates_missing']} missing, "
        f"{compared['updates_extra']} extra."
    )
    yield from compared["examples"][:5]
    yield f"{done.quotes} prices shown ({done.unquoted} without a quote), {done.sales} sales."
    yield f"{done.dead_letters} unreadable messages in dead-letters, with their positions and reasons."
    if not done.caught_up:
        yield "Some workers had not finished everything when the demo ended."


def _ms(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f} ms" for name, value in values.items() if name.startswith("p"))
