"""Verdict latency at steady rates and the saturated rate, on the whole local platform, beside a naive agent."""

import time
from dataclasses import dataclass, field
from typing import Any

from bench.load import Outcome, flood, steady
from bench.naive import TOPIC as NAIVE_TOPIC
from bench.processes import cores_used, cpu_seconds
from ibook.edges import kafka_admin
from ibook.edges.lag import wait_until_nothing_lags
from ibook.edges.online_store import OnlineStore
from ibook.settings import Settings
from ibook.topics import Topic
from infra.local.running import Platform, running_platform
from infra.local.workers import WORKERS, Worker

WARM_UP_RATE, WARM_UP_SECONDS = 200.0, 5.0
SETTLE_SECONDS = 60.0
VERDICT_WORKER = "purchases-to-verdicts"
NAIVE = Worker(name="naive", arguments=("bench", "naive-agent"))


@dataclass
class Figures:
    """What the bench prints."""

    latency_ms: dict[str, float] = field(default_factory=dict)
    """At the first rate asked for."""
    at_rates: dict[str, dict[str, float]] = field(default_factory=dict)
    saturated_per_s: float = 0.0
    naive_saturated_per_s: float = 0.0
    missing: int = 0
    stale: dict[str, int] = field(default_factory=dict)
    """Phase -> verdicts of another posture than `normal`."""
    cores: dict[str, dict[str, float]] = field(default_factory=dict)
    """Phase -> process -> share of a core."""
    warm_start_seconds: float = 0.0
    """From the start of everything, with models and jars in place, to the first verdict."""


def measure(settings: Settings, *, rates: list[float], seconds: float, count: int, seed: int) -> Figures:
    """Our worker first, then the naive one on the same machine, both with the feature workers at the same traffic."""
    figures = Figures()
    with running_platform(settings, fresh=True, say=_say):
        pass  # trains a model and fills every cache, so that the next start is warm
    began = time.monotonic()
    with running_platform(settings, fresh=True, say=_say) as platform:
        _first_verdict(platform, figures, began)
        _warm_up(platform, seed)
        for rate in rates:
            _steady(platform, rate, seconds, seed, figures)
        figures.saturated_per_s = _saturated(platform, count, seed, figures)
    others = [worker for worker in WORKERS if worker.name != VERDICT_WORKER]
    with running_platform(settings, fresh=True, workers=[*others, NAIVE], say=_say) as platform:
        figures.naive_saturated_per_s = _naive(platform, count // 10, seed, figures)
    return figures


def _first_verdict(platform: Platform, figures: Figures, began: float) -> None:
    outcome = flood(platform.settings, count=1, run="first", seed=0)
    figures.missing += outcome.missing
    figures.warm_start_seconds = round(time.monotonic() - began, 1)
    _say(f"Warm start to the first verdict: {figures.warm_start_seconds} s.")


def _warm_up(platform: Platform, seed: int) -> None:
    steady(platform.settings, rate=WARM_UP_RATE, seconds=WARM_UP_SECONDS, run="warm-up", seed=seed)


def _steady(platform: Platform, rate: float, seconds: float, seed: int, figures: Figures) -> None:
    before, began = cpu_seconds(platform), time.perf_counter()
    outcome = steady(platform.settings, rate=rate, seconds=seconds, run=f"steady-{rate:g}", seed=seed + 1)
    figures.cores[f"{rate:g}/s"] = cores_used(before, cpu_seconds(platform), time.perf_counter() - began)
    figures.at_rates[f"{rate:g}"] = outcome.latency_ms()
    figures.latency_ms = figures.latency_ms or outcome.latency_ms()
    figures.missing += outcome.missing
    figures.stale[f"{rate:g}/s"] = outcome.stale
    held = len(outcome.sent) / outcome.produce_seconds
    _say(
        f"{rate:g}/s asked, {held:.0f}/s sent for {seconds:.0f} s: {_percentiles(outcome)}, "
        f"{outcome.missing} missing, {outcome.stale} not in posture normal."
    )
    _say(f"  cores: {figures.cores[f'{rate:g}/s']}")
    _settle(platform)


def _saturated(platform: Platform, count: int, seed: int, figures: Figures) -> float:
    before, began = cpu_seconds(platform), time.perf_counter()
    outcome = flood(platform.settings, count=count, run="flood", seed=seed + 2)
    figures.cores["saturated"] = cores_used(before, cpu_seconds(platform), time.perf_counter() - began)
    figures.missing += outcome.missing
    figures.stale["saturated"] = outcome.stale
    _say(
        f"Saturated, one worker, {count} purchases: {outcome.per_second()} verdicts/s, "
        f"{outcome.missing} missing, {outcome.stale} not in posture normal."
    )
    _say(f"  cores: {figures.cores['saturated']}")
    return outcome.per_second()


def _naive(platform: Platform, count: int, seed: int, figures: Figures) -> float:
    outcome = flood(platform.settings, count=count, run="naive", seed=seed + 3, topic=NAIVE_TOPIC)
    _say(f"Naive agent, {count} purchases: {outcome.per_second()} verdicts/s, {outcome.missing} missing.")
    return outcome.per_second()


def prepare_naive(settings: Settings) -> None:
    """The naive agent's own topic."""
    topic = Topic(name=NAIVE_TOPIC, message=None, key="transaction_id", written_by="bench", read_by="bench")
    kafka_admin.apply_topics(settings, [topic])


def _settle(platform: Platform) -> None:
    wait_until_nothing_lags(platform.settings, OnlineStore(platform.settings), SETTLE_SECONDS)


def _percentiles(outcome: Outcome) -> str:
    return ", ".join(f"{name} {value:.1f} ms" for name, value in outcome.latency_ms().items())


def as_json(figures: Figures) -> dict[str, Any]:
    """As plain data."""
    return dict(figures.__dict__)


def _say(sentence: str) -> None:
    print(sentence, flush=True)
