"""Scores over HTTP under Locust, on the whole local platform, beside a bare route of FastAPI in the same run."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from os import environ
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.load import purchases
from bench.processes import cores_used, cpu_seconds
from ibook import codec
from ibook.edges.kafka import producer
from ibook.edges.lag import features_behind
from ibook.edges.online_store import OnlineStore
from ibook.errors import ConfigurationError
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES
from infra.local.processes import free_port, start, wait_until
from infra.local.running import Platform, running_platform
from infra.local.workers import WORKERS
from serving.scores import PATH

NEEDED = ("activity-to-entities", "entities-to-features", "serving")
PAST = 5_000
"""Purchases whose states are in the store before anything is asked."""
BODIES = 500
USERS = 40
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
DEADLINE_MS = 1_000
READY_SECONDS = 120.0
HELD = 0.95
"""A rate of which less was reached is more than the machine carries …"""
HALF = 0.5
"""… and then latency is measured at this share of what was reached."""


@dataclass
class Load:
    """What came of asking at a rate."""

    asked_per_s: float
    reached_per_s: float
    requests: int
    failures: int
    """Errors, and answers in which a row had no verdict, or one without features."""
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def held(self) -> bool:
        """Whether the rate that was asked was reached."""
        return self.reached_per_s >= HELD * self.asked_per_s


@dataclass
class Figures:
    """What the bench prints."""

    loads: dict[str, list[Load]] = field(default_factory=dict)
    """`scores_1`, `scores_20`, `bare_1`, `bare_20`: at the rate asked for, then at half of what was reached."""
    cores: dict[str, dict[str, float]] = field(default_factory=dict)
    """Load -> process -> share of a core; `load` is this process, without Locust."""


def measure(settings: Settings, *, rate: float, seconds: float, rows: Sequence[int], seed: int) -> Figures:
    """Ours and the bare route one after the other, for every number of rows per request."""
    figures = Figures()
    workers = [worker for worker in WORKERS if worker.name in NEEDED]
    ready_to_score = settings.model_copy(update={"scores": "start"})
    with (
        running_platform(ready_to_score, fresh=True, workers=workers, say=_say) as platform,
        TemporaryDirectory(prefix="ibook-bench-") as name,
    ):
        _fill(platform, seed)
        for n_rows in rows:
            bodies = Path(name) / f"bodies-{n_rows}"
            answer = _write_bodies(platform, bodies, n_rows, seed)
            _measure_one(figures, f"scores_{n_rows}", platform.serving_url, bodies, n_rows, rate, seconds, platform)
            with bare_route(answer, Path(name)) as url:
                _measure_one(figures, f"bare_{n_rows}", url, bodies, n_rows, rate, seconds, platform)
    return figures


def _fill(platform: Platform, seed: int) -> None:
    """States in the store, and scores that are ready."""
    client = producer(platform.settings)
    for purchase in islice(purchases("past", seed), PAST):
        client.produce(TICKET_PURCHASES.name, codec.encode(purchase), purchase.card_id.encode())
        client.poll(0)
    client.flush(30)
    store = OnlineStore(platform.settings)
    if not wait_until(lambda: features_behind(platform.settings, store) == 0, timeout_seconds=READY_SECONDS):
        raise ConfigurationError(f"The features were not there after {READY_SECONDS:.0f} s: give the machine a rest.")
    store.close()
    if not wait_until(lambda: _state(platform.serving_url) == "ready", timeout_seconds=READY_SECONDS):
        raise ConfigurationError(f"Scores were not ready after {READY_SECONDS:.0f} s: look at the log of serving.")


def _state(url: str) -> str:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            ready = json.load(answer)
    except urllib.error.HTTPError as error:  # no event is listed: there are no prices here, and none are asked for
        with error:
            ready = json.load(error)
    return str(ready["scores"])


def _write_bodies(platform: Platform, path: Path, n_rows: int, seed: int) -> Path:
    """Bodies, one a line, and beside them the answer to the first."""
    source = purchases(f"asked-{n_rows}", seed + 1)
    bodies = [body_of(list(islice(source, n_rows))) for _ in range(BODIES)]
    path.write_bytes(b"\n".join(bodies))
    request = urllib.request.Request(platform.serving_url + PATH, bodies[0], {"content-type": "application/json"})
    answer = path.with_suffix(".answer")
    with urllib.request.urlopen(request, timeout=30) as answered:
        answer.write_bytes(answered.read())
    return answer


def body_of(rows: Sequence[PurchaseRequested]) -> bytes:
    """A request for scores, on one line."""
    return b'{"deadline_ms":%d,"purchases":[%s]}' % (DEADLINE_MS, b",".join(map(codec.encode, rows)))


@contextmanager
def bare_route(answer: Path, folder: Path) -> Iterator[str]:
    """Where the floor listens while it runs; it answers with the bytes of a file. Raises ConfigurationError."""
    port = free_port()
    argv = [sys.executable, "-m", "bench", "bare-route", str(port), str(answer)]
    child = start("bare-route", argv, log=folder / "bare.log", env=dict(environ))
    try:
        url = f"http://127.0.0.1:{port}"
        if not wait_until(lambda: _listens(url), timeout_seconds=READY_SECONDS):
            raise ConfigurationError("The bare route did not start.")
        yield url
    finally:
        child.stop()


def _listens(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/openapi.json", timeout=5).close()
    except OSError:
        return False
    return True


def _measure_one(
    figures: Figures, name: str, url: str, bodies: Path, n_rows: int, rate: float, seconds: float, platform: Platform
) -> None:
    before, began = cpu_seconds(platform), time.perf_counter()
    load = run_locust(url, bodies, n_rows, rate, seconds)
    figures.cores[name] = cores_used(before, cpu_seconds(platform), time.perf_counter() - began)
    figures.loads[name] = [load]
    _say(_sentence(name, load))
    if not load.held:
        figures.loads[name].append(run_locust(url, bodies, n_rows, HALF * load.reached_per_s, seconds))
        _say(_sentence(name, figures.loads[name][-1]))
    _say(f"  cores: {figures.cores[name]}")


def run_locust(url: str, bodies: Path, n_rows: int, rate: float, seconds: float) -> Load:
    """Ask at a rate for so long. Raises ConfigurationError when Locust does not say what came of it."""
    argv = [
        sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--users", str(USERS), "--spawn-rate",
        str(USERS), "--run-time", f"{max(1, round(seconds))}s", "--host", url, "--json", "--loglevel", "ERROR",
    ]  # fmt: skip
    told = {"BENCH_BODIES": str(bodies), "BENCH_ROWS": str(n_rows), "BENCH_RATE_PER_USER": str(rate / USERS)}
    done = subprocess.run(
        argv, env=dict(environ) | told, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    try:
        [stats] = json.loads(done.stdout)
    except ValueError as error:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ConfigurationError(f"Locust did not say what came of it: {last}.") from error
    return load_of(stats, rate)


def load_of(stats: dict[str, Any], rate: float) -> Load:
    """A load from Locust's statistics of one address; its response times are a histogram in milliseconds."""
    lasted = stats["last_request_timestamp"] - stats["start_time"]
    times = sorted((float(ms), count) for ms, count in stats["response_times"].items())
    p50, p95, p99 = (_percentile(times, share) for share in (0.5, 0.95, 0.99))
    return Load(
        asked_per_s=round(rate, 1), reached_per_s=round(stats["num_requests"] / max(lasted, 1e-9), 1),
        requests=stats["num_requests"], failures=stats["num_failures"], p50_ms=p50, p95_ms=p95, p99_ms=p99,
    )  # fmt: skip


def _percentile(times: Sequence[tuple[float, int]], share: float) -> float:
    """The smallest time that this share of the requests does not exceed.

    >>> _percentile([(1.0, 98), (5.0, 2)], 0.95), _percentile([(1.0, 98), (5.0, 2)], 0.99)
    (1.0, 5.0)
    """
    left = share * sum(count for _, count in times)
    for ms, count in times:
        left -= count
        if left <= 0:
            return ms
    return float("nan")


def _sentence(name: str, load: Load) -> str:
    share = load.failures / load.requests if load.requests else 0.0
    return (
        f"{name}: {load.asked_per_s:g} requests/s asked, {load.reached_per_s:g}/s reached, {share:.2%} failed: "
        f"p50 {load.p50_ms:g} ms, p95 {load.p95_ms:g} ms, p99 {load.p99_ms:g} ms."
    )


def write(figures: Figures, conditions: str, path: Path) -> None:
    """The figures as JSON."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({**asdict(figures), "conditions": conditions, "at": at}, indent=2) + "\n")


def _say(sentence: str) -> None:
    print(sentence, flush=True)
