"""The price API under Locust on the whole local platform: prices, quotes and scores, beside a bare route of FastAPI."""

import json
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

from bench import learning_lag
from bench.load import purchases
from bench.processes import cores_used, cpu_seconds
from bench.serving_events import (
    EVENTS,
    LARGE,
    publish_large_catalogue,
    publish_listings,
    quote_lines,
    resident_mb,
    where_lines,
)
from bench.serving_load import Load, Question, run_locust, sentence
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
from serving.scores import PATH as SCORES

RATES = (1000.0, 500.0)
PAST = 5_000
"""Purchases whose states are in the store before anything is asked."""
BODIES = 500
DEADLINE_MS = 1_000
READY_SECONDS = 120.0
QUOTES = "/v1/quotes"


@dataclass
class Figures:
    """What the bench prints."""

    loads: dict[str, dict[str, Load]] = field(default_factory=dict)
    """`at_1000` -> `price`, `quote`, `scores_1`, `bare_route` -> what came of it."""
    cores: dict[str, dict[str, float]] = field(default_factory=dict)
    """Load -> process -> share of a core; `load` is this process, without Locust."""
    lag: learning_lag.Lag | None = None
    memory_mb: dict[str, float] = field(default_factory=dict)
    """Resident memory of the price API: with the events of the bench, and with 10,000."""


def measure(settings: Settings, *, rates: Sequence[float], seconds: float, rows: Sequence[int], seed: int) -> Figures:
    """Prices, quotes and scores at each rate, one after the other; how soon prices learn; what events weigh."""
    figures = Figures()
    ready_to_score = settings.model_copy(update={"scores": "start"})
    with (
        running_platform(ready_to_score, fresh=True, say=_say) as platform,
        TemporaryDirectory(prefix="ibook-bench-") as name,
    ):
        folder = Path(name)
        publish_listings(platform.settings)
        _fill(platform, seed)
        for rate in rates:
            _measure_rate(figures, platform, folder, rate, seconds, rows, seed)
        figures.lag = learning_lag.measure(platform.settings, platform.serving_url)
        _say(figures.lag.sentence())
        _measure_memory(figures, platform)
    return figures


# ----------------------------------------------------------------------------------------------------------- the parts
def _fill(platform: Platform, seed: int) -> None:
    """States in the store, scores that are ready, a policy for every event."""
    client = producer(platform.settings)
    for purchase in islice(purchases("past", seed), PAST):
        client.produce(TICKET_PURCHASES.name, codec.encode(purchase), purchase.card_id.encode())
        client.poll(0)
    client.flush(30)
    store = OnlineStore(platform.settings)
    _until(lambda: features_behind(platform.settings, store) == 0, "The features were not there")
    store.close()
    _until(lambda: _readiness(platform)["scores"] == "ready", "Scores were not ready")
    _until(lambda: _readiness(platform)["policies"] == EVENTS, "Prices were not ready")


def _until(condition: "learning_lag.Condition", what: str) -> None:
    if not wait_until(condition, timeout_seconds=READY_SECONDS):
        raise ConfigurationError(f"{what} after {READY_SECONDS:.0f} s: give the machine a rest, or look at the logs.")


def _readiness(platform: Platform) -> dict[str, object]:
    try:
        with urllib.request.urlopen(f"{platform.serving_url}/readyz", timeout=5) as answer:
            ready: dict[str, object] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            ready = json.load(error)
    return ready


def _measure_rate(
    figures: Figures, platform: Platform, folder: Path, rate: float, seconds: float, rows: Sequence[int], seed: int
) -> None:
    at = figures.loads.setdefault(f"at_{rate:g}", {})
    url, requests = platform.serving_url, round(rate * seconds)
    prices = Question(name="price", method="GET", path="/v1/events/", requests=folder / "prices",
                      proof='"prices":[{')  # fmt: skip
    prices.requests.write_text("\n".join(where_lines()))
    quotes = Question(name="quote", method="POST", path=QUOTES, requests=folder / "quotes", proof='"quote_id":"')
    quotes.requests.write_text("\n".join(quote_lines(f"{rate:g}", requests)))
    for question in (prices, quotes, *(_scores(folder, n_rows, seed) for n_rows in rows)):
        _measure_one(figures, at, question, url, rate, seconds, platform)
    with bare_route(_answer(url, quotes, folder), folder) as bare:
        floor = Question(name="bare_route", method="POST", path=QUOTES, requests=quotes.requests, proof=quotes.proof)
        _measure_one(figures, at, floor, bare, rate, seconds, platform)


def _measure_one(
    figures: Figures, at: dict[str, Load], question: Question, url: str, rate: float, seconds: float, platform: Platform
) -> None:
    before, began = cpu_seconds(platform), time.perf_counter()
    at[question.name] = load = run_locust(url, question, rate, seconds)
    used = cores_used(before, cpu_seconds(platform), time.perf_counter() - began)
    figures.cores[f"{question.name} at {rate:g}"] = used
    _say(f"{sentence(question.name, load)} Cores: {used}.")


def _scores(folder: Path, n_rows: int, seed: int) -> Question:
    source = purchases(f"asked-{n_rows}", seed + 1)
    path = folder / f"scores-{n_rows}"
    path.write_text("\n".join("\t" + body_of(list(islice(source, n_rows))).decode() for _ in range(BODIES)))
    return Question(name=f"scores_{n_rows}", method="POST", path=SCORES, requests=path, proof='"posture":"normal"',
                    times=n_rows)  # fmt: skip


def body_of(rows: Sequence[PurchaseRequested]) -> bytes:
    """A request for scores, on one line."""
    return b'{"deadline_ms":%d,"purchases":[%s]}' % (DEADLINE_MS, b",".join(map(codec.encode, rows)))


def _answer(url: str, question: Question, folder: Path) -> Path:
    """A file with what the API answers to the first request."""
    body = question.requests.read_text().split("\n")[0].partition("\t")[2].encode()
    asked = urllib.request.Request(url + question.path, body, _headers())
    answer = folder / "answer"
    with urllib.request.urlopen(asked, timeout=30) as answered:
        answer.write_bytes(answered.read())
    return answer


def _headers() -> dict[str, str]:
    return {"content-type": "application/json", "authorization": f"Bearer {environ.get('IBOOK_API_KEY', '')}"}


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


def _measure_memory(figures: Figures, platform: Platform) -> None:
    """Last of all: the learner has a great deal to do then."""
    figures.memory_mb["at_40_events"] = resident_mb(platform.pid("serving"))
    publish_large_catalogue(platform.settings)
    _until(lambda: _readiness(platform)["policies"] == LARGE, f"{LARGE:,} events were not held")
    figures.memory_mb[f"at_{LARGE}_events"] = resident_mb(platform.pid("serving"))
    _say(f"Resident memory of the price API in MB: {figures.memory_mb}.")


# ---------------------------------------------------------------------------------------------------------- the answer
def as_json(figures: Figures) -> dict[str, object]:
    """The figures by their public names; latencies in ms are those at the highest rate asked for."""
    highest = max(figures.loads, key=lambda name: float(name.removeprefix("at_")))
    loads = figures.loads[highest]
    latency = {f"{name.removesuffix('_1')}_ms": load.latency for name, load in loads.items()}
    ours = [load for name, load in loads.items() if name != "bare_route"]
    return {
        **latency,
        "errors": sum(load.failures for load in ours) / max(1, sum(load.requests for load in ours)),
        "errors_by_route": {name: load.errors for name, load in loads.items()},
        "asked_per_s": {name: load.asked_per_s for name, load in loads.items()},
        "reached_per_s": {name: load.reached_per_s for name, load in loads.items()},
        "learning_lag_s": figures.lag.percentiles() if figures.lag else {},
        "memory_mb": figures.memory_mb,
        "loads": {name: {each: asdict(load) for each, load in at.items()} for name, at in figures.loads.items()},
        "cores": figures.cores,
    }


def write(figures: Figures, conditions: str, path: Path) -> None:
    """The figures as JSON."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({**as_json(figures), "conditions": conditions, "at": at}, indent=2) + "\n")


def _say(text: str) -> None:
    print(text, flush=True)
