"""Locust as a process: requests at a rate, and what came of them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from ibook.errors import ConfigurationError

USERS = 40
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
START_SECONDS = 90
HELD = 0.95
"""A rate of which less was reached is more than the machine carries."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, again and again."""

    name: str
    method: str
    path: str
    requests: Path
    """A request a line: what follows `path`, a tab, and the body."""
    proof: str
    """A right answer holds this …"""
    times: int = 1
    """… so many times."""


@dataclass
class Load:
    """What came of asking at a rate."""

    asked_per_s: float
    reached_per_s: float
    requests: int
    failures: int
    """Errors, and answers without what they should hold."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    generator_cores: float
    """What Locust itself took of a core, its start included."""

    @property
    def held(self) -> bool:
        """Whether the rate that was asked was reached."""
        return self.reached_per_s >= HELD * self.asked_per_s

    @property
    def errors(self) -> float:
        """The share of requests that failed."""
        return self.failures / self.requests if self.requests else 1.0

    @property
    def latency(self) -> dict[str, float]:
        """Percentiles in ms."""
        return {"p50": self.p50_ms, "p95": self.p95_ms, "p99": self.p99_ms}


def run_locust(url: str, question: Question, rate: float, seconds: float) -> Load:
    """Ask at a rate for so long. Raises ConfigurationError when Locust does not say what came of it."""
    argv = [
        sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--users", str(USERS), "--spawn-rate",
        str(USERS), "--run-time", f"{max(1, round(seconds))}s", "--host", url, "--json", "--loglevel", "ERROR",
    ]  # fmt: skip
    told = {
        "BENCH_METHOD": question.method, "BENCH_PATH": question.path, "BENCH_REQUESTS": str(question.requests),
        "BENCH_PROOF": question.proof, "BENCH_TIMES": str(question.times), "BENCH_RATE_PER_USER": str(rate / USERS),
    }  # fmt: skip
    before = _children_seconds()
    done = subprocess.run(
        argv, env=dict(environ) | told, capture_output=True, text=True, timeout=seconds + START_SECONDS, check=False
    )
    try:
        [stats] = json.loads(done.stdout)
    except ValueError as error:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ConfigurationError(f"Locust did not say what came of it: {last}.") from error
    return load_of(stats, rate, (_children_seconds() - before) / seconds)


def _children_seconds() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def load_of(stats: dict[str, Any], rate: float, generator_cores: float) -> Load:
    """A load from Locust's statistics of one name; its response times are a histogram in milliseconds."""
    lasted = stats["last_request_timestamp"] - stats["start_time"]
    times = sorted((float(ms), count) for ms, count in stats["response_times"].items())
    p50, p95, p99 = (percentile(times, share) for share in (0.5, 0.95, 0.99))
    return Load(
        asked_per_s=round(rate, 1), reached_per_s=round(stats["num_requests"] / max(lasted, 1e-9), 1),
        requests=stats["num_requests"], failures=stats["num_failures"], p50_ms=p50, p95_ms=p95, p99_ms=p99,
        generator_cores=round(generator_cores, 2),
    )  # fmt: skip


def percentile(times: Sequence[tuple[float, int]], share: float) -> float:
    """The smallest time that this share of the requests does not exceed.

    >>> percentile([(1.0, 98), (5.0, 2)], 0.95), percentile([(1.0, 98), (5.0, 2)], 0.99)
    (1.0, 5.0)
    """
    left = share * sum(count for _, count in times)
    for ms, count in times:
        left -= count
        if left <= 0:
            return ms
    return float("nan")


def sentence(name: str, load: Load) -> str:
    """What came of a load, to be printed."""
    return (
        f"{name}: {load.asked_per_s:g} requests/s asked, {load.reached_per_s:g}/s reached, {load.errors:.2%} failed: "
        f"p50 {load.p50_ms:g} ms, p95 {load.p95_ms:g} ms, p99 {load.p99_ms:g} ms; "
        f"Locust took {load.generator_cores:.0%} of a core."
    )
