"""Latency: from just before a purchase is produced until its verdict is readable, and whether there was just one."""

from collections import defaultdict

import numpy as np
from msgspec import Struct

from simulator.record import RunRecord
from simulator.validators.measure import Meaning, Measure, known, not_taken

MEASURES = {
    "latency.p50_ms": Meaning("ms", "median time from purchase to readable verdict"),
    "latency.p95_ms": Meaning("ms", "95th percentile of it"),
    "latency.p99_ms": Meaning("ms", "99th percentile of it"),
    "latency.missing": Meaning("count", "purchases that Kafka took and nobody answered"),
    "latency.conflicting": Meaning("count", "purchases with two verdicts that differ"),
}
SLICES = 60
"""Slices of time the plot has."""
EDGES_MS = (0, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 125, 150, 200, 250, 300, 400, 500, 750, 1000, 2000, 5000)


class Slice(Struct, frozen=True, kw_only=True):
    """Percentiles of the purchases of a few seconds."""

    second: float
    """Where it begins, since the load began."""
    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Bar(Struct, frozen=True, kw_only=True):
    """How many were answered within `(previous edge, up_to_ms]`; None is the rest."""

    up_to_ms: float | None
    n: int


class Latency(Struct, frozen=True, kw_only=True):
    """How long verdicts took. Times are in milliseconds; None without a live platform."""

    n: int
    """Purchases that were answered."""
    missing: int
    conflicting: int
    duplicated: int
    """Answered twice with the same verdict: harmless, the first one counts."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    over_time: tuple[Slice, ...]
    histogram: tuple[Bar, ...]


def figures(record: RunRecord) -> Latency:
    """Percentiles of the whole run and of its slices."""
    timed = [(each.occurred_us, each.latency_ms) for each in record.purchases if each.latency_ms is not None]
    values = np.array([latency for _, latency in timed])
    p50, p95, p99 = _percentiles(values)
    return Latency(
        n=len(timed), missing=record.missing, conflicting=record.conflicting, duplicated=record.duplicated,
        p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=float(values.max()) if timed else None,
        over_time=_over_time(record, timed), histogram=_histogram(values),
    )  # fmt: skip


def measures(record: RunRecord, found: Latency) -> tuple[Measure, ...]:
    """What thresholds may bound."""
    if record.decided_by != "platform":
        return not_taken(tuple(MEASURES), "A stand-in decided, no platform was asked.")
    times = {"p50_ms": found.p50_ms, "p95_ms": found.p95_ms, "p99_ms": found.p99_ms}
    taken = [
        known(f"latency.{name}", value, found.n, f"{name.split('_')[0]} of {found.n} verdicts is {value:.0f} ms.")
        for name, value in times.items() if value is not None
    ]  # fmt: skip
    if not taken:
        taken = list(not_taken(tuple(f"latency.{name}" for name in times), "No purchase was answered."))
    asked = len(record.purchases)
    return (
        *taken,
        known("latency.missing", found.missing, asked, f"{found.missing} of {asked} purchases have no verdict."),
        known("latency.conflicting", found.conflicting, asked,
              f"{found.conflicting} of {asked} purchases have two verdicts that differ."),
    )  # fmt: skip


def _percentiles(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[float | None, ...]:
    if not values.size:
        return None, None, None
    return tuple(float(np.percentile(values, q)) for q in (50, 95, 99))


def _over_time(record: RunRecord, timed: list[tuple[int, float]]) -> tuple[Slice, ...]:
    length_us = max(1.0, record.seconds * 1e6 / SLICES)
    slices: defaultdict[int, list[float]] = defaultdict(list)
    for occurred_us, latency in timed:
        slices[int((occurred_us - record.started_us) / length_us)].append(latency)
    return tuple(
        Slice(second=number * length_us / 1e6, n=len(values), **dict(zip(
            ("p50_ms", "p95_ms", "p99_ms"), map(float, np.percentile(values, (50, 95, 99))), strict=True)))
        for number, values in sorted(slices.items())
    )  # fmt: skip


def _histogram(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[Bar, ...]:
    if not values.size:
        return ()
    counts, _ = np.histogram(values, bins=[*EDGES_MS, np.inf])
    return tuple(
        Bar(up_to_ms=edge, n=int(n)) for edge, n in zip([*EDGES_MS[1:], None], counts, strict=True)
    )  # fmt: skip
