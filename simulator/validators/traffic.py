"""Traffic: what came when, by what it really was."""

from msgspec import Struct

from simulator.record import RunRecord
from simulator.visits import HONEST

SLICES = 60


class Traffic(Struct, frozen=True, kw_only=True):
    """Purchases per slice of time and pattern."""

    slice_seconds: float
    purchases: dict[str, tuple[int, ...]]
    """Per pattern, one count for each slice; whatever is neither fraud nor abuse is `honest`."""
    changes: tuple[tuple[float, str], ...]
    """What the scenario did: seconds since the load began, and what."""


def figures(record: RunRecord) -> Traffic:
    """Counted over the run's length; what came after it counts to the last slice."""
    seconds = max(1.0, record.seconds / SLICES)
    n = max(1, round(record.seconds / seconds))
    counts: dict[str, list[int]] = {}
    for each in record.purchases:
        number = int((each.occurred_us - record.started_us) / (seconds * 1e6))
        counts.setdefault(each.pattern if each.is_fraud or each.is_abuse else HONEST, [0] * n)[
            min(n - 1, max(0, number))
        ] += 1
    return Traffic(
        slice_seconds=seconds, purchases={pattern: tuple(counts[pattern]) for pattern in sorted(counts)},
        changes=tuple(((change.at_us - record.started_us) / 1e6, change.what) for change in record.changes),
    )  # fmt: skip
