"""How much processor time each process of a run took."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from infra.local.running import Platform


def cpu_seconds(platform: "Platform") -> dict[str, float]:
    """User and system seconds so far, by name; the bench itself, which makes the load, is `load`."""
    pids = {name: platform.pid(name) for name in platform.names}
    found = {name: _seconds(pid) for name, pid in pids.items() if pid is not None}
    return {**found, "load": _seconds(psutil.Process().pid)}


def _seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def cores_used(before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Share of a core each process took, the busiest first."""
    used = {name: (after[name] - before.get(name, 0.0)) / seconds for name in after}
    return {name: round(share, 2) for name, share in sorted(used.items(), key=lambda item: -item[1]) if share >= 0.005}
