"""Verdict latency and rates on the whole local platform, beside a naive agent and the limit."""

import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from bench.load import Outcome, flood, steady
from bench.naive import TOPIC as NAIVE_TOPIC
from bench.processes import cores_used, cpu_seconds
from bench.raw_loop import stages_told
from ibook.edges import kafka_admin
from ibook.edges.lag import lag_of, wait_until_nothing_lags
from ibook.edges.online_store import OnlineStore
from ibook.errors import BrokerUnavailable
from ibook.features import FEATURE_NAMES
from ibook.fraud import load_policy
from ibook.settings import Settings
from ibook.topics import ENTITY_UPDATES, Topic
from infra.local.running import Platform, running_platform
from infra.local.workers import WORKERS, Worker

RATES = (500.0, 1000.0, 2000.0)
WARM_UP_RATE, WARM_UP_SECONDS = 200.0, 5.0
SETTLE_SECONDS = 60.0
RECOVERY_RATE, RECOVERY_AFTER_SECONDS, RECOVERY_SECONDS = 100.0, 3.0, 25.0
VERDICT_WORKER = "purchases-to-verdicts"
SECOND = Worker(
    name="purchases-to-verdicts-2", arguments=("streams", VERDICT_WORKER), environment={"IBOOK_WORKER_NAME": "2"}
)
NAIVE = Worker(name="naive", arguments=("bench", "naive-agent"))
RAW_LOOP = Worker(name="raw-loop", arguments=("bench", "raw-loop"))


@dataclass
class Figures:
    """What the bench prints. None: not measured in this run."""

    latency_ms: dict[str, float] = field(default_factory=dict)
    """At the first rate asked for."""
    at_1000: dict[str, float] | None = None
    at_rates: dict[str, dict[str, float]] = field(default_factory=dict)
    saturated_per_s: float = 0.0
    """By one worker."""
    two_workers_saturated_per_s: float | None = None
    naive_saturated_per_s: float = 0.0
    raw_loop_per_s: float | None = None
    stages_us: dict[str, float] | None = None
    """Processor time per purchase in the raw loop, whose core is ours."""
    recovery_s: float | None = None
    """From kill -9 of the only worker to the first verdict on a purchase published after it."""
    missing: int = 0
    stale: dict[str, int] = field(default_factory=dict)
    """Phase -> verdicts of another posture than `normal`."""
    not_approved: dict[str, float] = field(default_factory=dict)
    """Phase -> share of the verdicts."""
    entity_updates_lag: dict[str, dict[str, float]] = field(default_factory=dict)
    """Phase -> records of `entity-updates` that were not folded and pushed yet."""
    cores: dict[str, dict[str, float]] = field(default_factory=dict)
    """Phase -> process -> share of a core."""
    warm_start_seconds: float = 0.0
    """From the start of everything, with models and jars in place, to the first verdict."""


def measure(settings: Settings, *, rates: Sequence[float], seconds: float, count: int, seed: int) -> Figures:
    """Our worker first, then what it is compared with, each with the feature workers at the same traffic.

    Without `rates` at all of RATES, and two workers, a killed one and the limit too.
    """
    figures, everything = Figures(), not rates
    _say(f"{len(FEATURE_NAMES)} features, {len(load_policy().rules)} rules, reasons and evidence for every verdict.")
    with running_platform(settings, fresh=True, say=_say):
        pass  # trains a model and fills every cache, so that the next start is warm
    began = time.monotonic()
    with running_platform(settings, fresh=True, say=_say) as platform:
        _first_verdict(platform, figures, began)
        _warm_up(platform, seed)
        for rate in rates or RATES:
            _steady(platform, rate, seconds, seed, figures)
        figures.saturated_per_s = _saturated(platform, "saturated", count, seed, figures)
        if everything:
            _settle(platform)
            _recovery(platform, seed, figures)
            platform.start_workers([SECOND])
            _warm_up(platform, seed + 1)
            figures.two_workers_saturated_per_s = _saturated(platform, "two workers", count, seed + 1, figures)
    if everything:
        with _instead(settings, RAW_LOOP) as platform:
            _raw_loop(platform, count, seed, figures)
    with _instead(settings, NAIVE) as platform:
        _naive(platform, count // 10, seed, figures)
    return figures


def _instead(settings: Settings, worker: Worker) -> Any:
    """The platform with this worker in the place of ours."""
    others = [each for each in WORKERS if each.name != VERDICT_WORKER]
    return running_platform(settings, fresh=True, workers=[*others, worker], say=_say)


def _first_verdict(platform: Platform, figures: Figures, began: float) -> None:
    outcome = flood(platform.settings, count=1, run="first", seed=0)
    figures.missing += outcome.missing
    figures.warm_start_seconds = round(time.monotonic() - began, 1)
    _say(f"Warm start to the first verdict: {figures.warm_start_seconds} s.")


def _warm_up(platform: Platform, seed: int) -> None:
    steady(platform.settings, rate=WARM_UP_RATE, seconds=WARM_UP_SECONDS, run=f"warm-up-{seed}", seed=seed)


def _steady(platform: Platform, rate: float, seconds: float, seed: int, figures: Figures) -> None:
    def load() -> Outcome:
        return steady(platform.settings, rate=rate, seconds=seconds, run=f"steady-{rate:g}", seed=seed + 1)

    outcome = _watched(platform, f"{rate:g}/s", load, figures)
    figures.at_rates[f"{rate:g}"] = outcome.latency_ms()
    figures.latency_ms = figures.latency_ms or outcome.latency_ms()
    if rate == 1000.0:
        figures.at_1000 = outcome.latency_ms()
    held = len(outcome.sent) / outcome.produce_seconds
    _say(f"{rate:g}/s asked, {held:.0f}/s sent for {seconds:.0f} s: {_percentiles(outcome)}, {_told(outcome)}.")
    _say_beside(f"{rate:g}/s", held, figures)
    _settle(platform)


def _saturated(platform: Platform, phase: str, count: int, seed: int, figures: Figures) -> float:
    def load() -> Outcome:
        return flood(platform.settings, count=count, run=f"flood-{phase}", seed=seed + 2)

    outcome = _watched(platform, phase, load, figures)
    _say(f"{phase.capitalize()}, {count} purchases: {outcome.per_second()} verdicts/s, {_told(outcome)}.")
    _say_beside(phase, outcome.per_second(), figures)
    return outcome.per_second()


def _recovery(platform: Platform, seed: int, figures: Figures) -> None:
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(
            steady, platform.settings, rate=RECOVERY_RATE, seconds=RECOVERY_SECONDS, run="killed", seed=seed + 3
        )
        time.sleep(RECOVERY_AFTER_SECONDS)
        worker = platform.pid(VERDICT_WORKER)
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        killed = time.perf_counter()
        outcome = load.result()
    after = [at for one, at in outcome.answered.items() if outcome.sent.get(one, 0.0) > killed]
    figures.missing += outcome.missing
    figures.recovery_s = round(min(after) - killed, 2) if after else None
    _say(f"kill -9 of the only worker: first verdict after {figures.recovery_s} s, {_told(outcome)}.")


def _raw_loop(platform: Platform, count: int, seed: int, figures: Figures) -> None:
    _warm_up(platform, seed)
    figures.raw_loop_per_s = _saturated(platform, "raw loop", count, seed, figures)
    figures.stages_us = stages_told(platform.settings, count)
    share = figures.saturated_per_s / figures.raw_loop_per_s
    _say(f"The worker reaches {share:.0%} of the raw loop, which promises nothing.")
    _say(f"  processor time per purchase, in µs: {figures.stages_us}")


def _naive(platform: Platform, count: int, seed: int, figures: Figures) -> None:
    outcome = flood(platform.settings, count=count, run="naive", seed=seed + 4, topic=NAIVE_TOPIC)
    figures.naive_saturated_per_s = outcome.per_second()
    _say(f"Naive agent, {count} purchases: {outcome.per_second()} verdicts/s, {outcome.missing} missing.")
    _say(f"The worker's rate is {figures.saturated_per_s / figures.naive_saturated_per_s:.1f} times the naive agent's.")


def _watched(platform: Platform, phase: str, load: Callable[[], Outcome], figures: Figures) -> Outcome:
    """Run a load; note what it came to, and what it cost."""
    before, began = cpu_seconds(platform), time.perf_counter()
    done = Event()
    with ThreadPoolExecutor(1) as pool:
        lags = pool.submit(_lags, platform.settings, done)
        try:
            outcome = load()
        finally:
            done.set()
    figures.cores[phase] = cores_used(before, cpu_seconds(platform), time.perf_counter() - began)
    figures.entity_updates_lag[phase] = {"median": statistics.median(lags.result()), "max": max(lags.result())}
    figures.missing += outcome.missing
    figures.stale[phase], figures.not_approved[phase] = outcome.stale, outcome.not_approved_share
    return outcome


def _lags(settings: Settings, done: Event) -> list[int]:
    """The lag of `entity-updates`, once a second."""
    lags: list[int] = []
    while not lags or not done.wait(1.0):
        try:
            lags.append(lag_of(settings, "entities-to-features", (ENTITY_UPDATES,)))
        except BrokerUnavailable:
            continue
    return lags


def prepare_naive(settings: Settings) -> None:
    """The naive agent's own topic."""
    topic = Topic(name=NAIVE_TOPIC, message=None, key="transaction_id", written_by="bench", read_by="bench")
    kafka_admin.apply_topics(settings, [topic])


def _settle(platform: Platform) -> None:
    wait_until_nothing_lags(platform.settings, OnlineStore(platform.settings), SETTLE_SECONDS)


def _percentiles(outcome: Outcome) -> str:
    return ", ".join(f"{name} {value:.1f} ms" for name, value in outcome.latency_ms().items())


def _told(outcome: Outcome) -> str:
    return (
        f"{outcome.missing} missing, {outcome.stale} not in posture normal, "
        f"{outcome.not_approved_share:.1%} not approved"
    )


def _say_beside(phase: str, per_second: float, figures: Figures) -> None:
    lag, cores = figures.entity_updates_lag[phase], figures.cores[phase]
    _say(f"  entity-updates lag: median {lag['median']:g}, at most {lag['max']:g} records")
    _say(f"  cores: {cores}")
    _say(
        f"  µs of processor per purchase: { {name: round(share / per_second * 1e6) for name, share in cores.items()} }"
    )


def as_json(figures: Figures) -> dict[str, Any]:
    """As plain data."""
    return dict(figures.__dict__)


def _say(sentence: str) -> None:
    print(sentence, flush=True)
