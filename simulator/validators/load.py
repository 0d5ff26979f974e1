"""Load: whether the simulator itself kept its promise. A machine that can't hold the rate measures something else."""

from msgspec import Struct

from simulator.record import RunRecord
from simulator.validators.measure import Meaning, Measure, known, unknown

MEASURES = {
    "load.rate_share": Meaning("share", "purchases per second reached, as a share of what was asked"),
    "load.held": Meaning("count", "1 when the machine held the rate to the end, 0 when not"),
    "load.pacing_p99_ms": Meaning("ms", "99th percentile of how late messages of the schedule were published"),
    "load.undelivered": Meaning("count", "messages that Kafka did not take"),
}

UNWATCHED = "Nobody kept watch over the pace."


class Load(Struct, frozen=True, kw_only=True):
    """What was asked of the machine, and what it did."""

    rate_asked: float
    """Purchases per second."""
    rate_reached: float
    held: bool | None
    """None in virtual time."""
    worst_lag_seconds: float | None
    pacing_error_ms: dict[str, float]
    messages: dict[str, int]
    """Per topic."""
    messages_per_second: float
    undelivered: int


def figures(record: RunRecord) -> Load:
    """As recorded."""
    total = sum(record.messages.values())
    return Load(
        rate_asked=record.rate_asked, rate_reached=record.rate_reached, held=record.holds_rate,
        worst_lag_seconds=record.worst_lag_seconds, pacing_error_ms=record.pacing_error_ms, messages=record.messages,
        messages_per_second=total / record.seconds if record.seconds > 0 else 0.0, undelivered=record.undelivered,
    )  # fmt: skip


def measures(record: RunRecord, found: Load) -> tuple[Measure, ...]:
    """What thresholds may bound."""
    n = len(record.purchases)
    reached = found.rate_reached / found.rate_asked
    return (
        known("load.rate_share", reached, n,
              f"{found.rate_reached:.1f} purchases/s of the {found.rate_asked:g} asked were reached."),
        *(_pace(found, n) if record.mode == "live" else _no_pace()),
    )  # fmt: skip


def _pace(found: Load, n: int) -> tuple[Measure, ...]:
    late = "" if found.worst_lag_seconds is None else f", {found.worst_lag_seconds * 1000:.0f} ms late at worst"
    did, p99 = "held" if found.held else "did not hold", found.pacing_error_ms.get("p99")
    return (
        unknown("load.held", UNWATCHED) if found.held is None else
        known("load.held", float(found.held), n, f"The machine {did} the rate{late}."),
        unknown("load.pacing_p99_ms", UNWATCHED) if p99 is None else
        known("load.pacing_p99_ms", p99, n, f"99 % of the messages that were due left at most {p99:.1f} ms late."),
        known("load.undelivered", found.undelivered, n, f"Kafka did not take {found.undelivered} messages."),
    )  # fmt: skip


def _no_pace() -> tuple[Measure, ...]:
    why = "The run was in virtual time, which has no pace to keep and no Kafka."
    return tuple(unknown(name, why) for name in MEASURES if name != "load.rate_share")
