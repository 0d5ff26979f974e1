"""Drift: whether the platform noticed what the scenario changed, after how long, and whether it cried wolf."""

from msgspec import Struct

from simulator.record import Change, Noticed, RunRecord
from simulator.validators.measure import Meaning, Measure, known, not_taken, unknown

MEASURES = {
    "drift.noticed": Meaning("share", "share of the injected drifts that the platform noticed"),
    "drift.delay_seconds": Meaning("seconds", "longest time from an injected drift until it was noticed"),
    "drift.false_alarms": Meaning("count", "drifts reported before there was one"),
}
SILENT = "The platform reports no drift yet, so nothing can be said about it."


class Injected(Struct, frozen=True, kw_only=True):
    """A drift and the first report after it, in seconds since the load began."""

    what: str
    at_seconds: float
    noticed_seconds: float | None
    """None when nobody noticed."""


class Drift(Struct, frozen=True, kw_only=True):
    """What was changed, and what was noticed of it."""

    reported: bool
    """Whether the platform reports drift at all."""
    injected: tuple[Injected, ...]
    false_alarms: int


def figures(record: RunRecord) -> Drift:
    """Every report is about the latest drift before it; one before any is a false alarm."""
    drifts = sorted((each for each in record.changes if each.is_drift), key=lambda change: change.at_us)
    reports = sorted(record.noticed or (), key=lambda noticed: noticed.at_us)
    first = drifts[0].at_us if drifts else None
    return Drift(
        reported=record.noticed is not None,
        injected=tuple(
            _injected(record, each, later, reports)
            for each, later in zip(drifts, [*drifts[1:], None], strict=False)
        ),
        false_alarms=sum(first is None or report.at_us < first for report in reports),
    )  # fmt: skip


def measures(record: RunRecord, found: Drift) -> tuple[Measure, ...]:
    """What thresholds may bound."""
    if not found.reported:
        return not_taken(tuple(MEASURES), SILENT)
    n = len(found.injected)
    alarms = known("drift.false_alarms", found.false_alarms, len(record.purchases),
                   f"{found.false_alarms} drifts were reported before there was one.")  # fmt: skip
    if not n:
        return (*not_taken(("drift.noticed", "drift.delay_seconds"), "Nothing drifted in this scenario."), alarms)
    delays = [each.noticed_seconds - each.at_seconds for each in found.injected if each.noticed_seconds is not None]
    noticed = known("drift.noticed", len(delays) / n, n, f"{len(delays)} of {n} injected drifts were noticed.")
    if not delays:
        return noticed, unknown("drift.delay_seconds", "No injected drift was noticed."), alarms
    sentence = f"The injected drifts were noticed within {max(delays):.0f} s."
    return noticed, known("drift.delay_seconds", max(delays), len(delays), sentence), alarms


def _injected(record: RunRecord, change: Change, later: Change | None, reports: list[Noticed]) -> Injected:
    own = [
        report.at_us for report in reports
        if report.at_us >= change.at_us and (later is None or report.at_us < later.at_us)
    ]  # fmt: skip
    return Injected(
        what=change.what, at_seconds=(change.at_us - record.started_us) / 1e6,
        noticed_seconds=(own[0] - record.started_us) / 1e6 if own else None,
    )  # fmt: skip
