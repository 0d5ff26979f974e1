"""How fast the simulator writes a past, how punctually it plays the shop, and how its memory grows.

Each figure stands beside the least that must be done for it, measured in the same run.

A past hands on what is over, so its memory must stay flat. The live shop keeps what its run is judged by, and grows
with every purchase: when it was sent and what was answered (the scoreboard), what it really was (the truth), and what
is still to come of it (refunds and disputes). It grows with households that come for the first time, too, until all
have. Nothing is kept of the messages themselves.
"""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from ibook import codec
from ibook.edges import kafka_admin
from ibook.edges.kafka import producer
from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES
from infra.local.backends import local_parts
from infra.local.state import mark_data_dir
from simulator.history import History
from simulator.lateness import Lateness
from simulator.past import HistoryOptions, history_of
from simulator.realtime import RealtimeShop
from simulator.shop import ShopRules
from simulator.sinks import ParquetSink, Record
from simulator.stats import ShopStats
from simulator.truth_files import TruthFiles
from simulator.world import World

END = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 120.0
SAMPLE_MESSAGES = 10_000
"""Memory is looked at every so many messages …"""
SETTLES = 1 / 3
"""… and the first part of the run is left out, in which the town's households are met for the first time."""
SAMPLE_SECONDS = 0.5
"""Memory of the live shop is looked at so often."""
MESSAGES_PER_PURCHASE = 7.0
"""To begin with; what a warm-up comes to sets the rate of purchases that gives the messages asked for."""
WARM_UP_SECONDS = 5.0
ALONE = ShopRules(patience=0.05, small_amount_minor=10**9)
"""No platform runs beside it: the shop hears no verdict, and approves everything almost at once."""


@dataclass
class Figures:
    """What the bench prints, and the keys of its JSON. Rates are messages per second, durations milliseconds."""

    history_messages: int = 0
    history_messages_per_s: float = 0.0
    """A past of 120 days written as Parquet with its truth, by one process, per second of the wall clock …"""
    history_messages_per_cpu_s: float = 0.0
    """… and per second that the process was given a core: the same on a machine with nothing else to do."""
    floor_messages_per_cpu_s: float = 0.0
    """Messages of the same past, ready made, only encoded and written to the same files."""
    history_times_the_floor: float = 0.0
    """How many times as much processor time a message of the history takes."""
    realtime_asked_per_s: float = 0.0
    realtime_reached_per_s: float = 0.0
    realtime_purchases_per_s: float = 0.0
    realtime_pacing_error_ms: dict[str, float] = field(default_factory=dict)
    """p50, p95, p99 of how late messages of the schedule were handed to Kafka's client."""
    realtime_cores: float = 0.0
    """Share of a core that the process took."""
    realtime_holds: bool = False
    """Whether it kept up all the time."""
    realtime_memory_mb_per_100k_messages: float | None = None
    """Slope of the resident memory while the shop is open, without its first third …"""
    realtime_memory_mb: dict[str, float] = field(default_factory=dict)
    """… and the memory itself: messages sent so far -> MB."""
    bare_reached_per_s: float = 0.0
    """A loop that does nothing but send one ready-made message at its time …"""
    bare_pacing_error_ms: dict[str, float] = field(default_factory=dict)
    bare_cores: float = 0.0
    memory_mb_per_100k_messages: float | None = None
    """Slope of the resident memory while the past is written, without its first third."""
    memory_mb: dict[str, float] = field(default_factory=dict)
    """Messages made so far -> resident memory."""


def measure(settings: Settings, *, purchases: int, rate: float, seconds: float, seed: int) -> Figures:
    """The past first, in a young process. `rate` is in messages per second; Kafka is started for it, and stopped."""
    figures = Figures()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=settings.data_dir) as folder:
        _history(Path(folder), seed, purchases, figures)
        _floor(Path(folder), seed, purchases // 4, figures)
    _realtime(settings, rate, seconds, seed, figures)
    return figures


# ---------------------------------------------------------------------------------------------------------- in the past
def _past(seed: int, purchases: int) -> History:
    return history_of(HistoryOptions(seed=seed, days=DAYS, end=END, purchases=purchases))


def _with_truth(past: History, folder: Path) -> Iterator[Record]:
    """The messages, while the truth is written beside them as `python -m simulator history --days` does."""
    files = TruthFiles(folder / "truth")
    for number, record in enumerate(past, 1):
        yield record
        if number % 1024 == 0:
            files.take(past.truth)
    files.close(past.truth)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line with the least squares through the points (x, y).

    >>> round(slope([(0, 1), (10, 21), (20, 41)]), 6)
    2.0
    """
    x, y = np.array(points, dtype=np.float64).T
    return float(np.polyfit(x - x[0], y, 1)[0])


def growth(sizes: Sequence[tuple[float, float]]) -> float | None:
    """MB more per 100,000 messages, of (messages so far, MB), without the first third; None with less than 3 points.

    >>> growth([(0, 10), (50_000, 90), (100_000, 100), (150_000, 101), (200_000, 102), (250_000, 103)])
    2.0
    >>> growth([(0, 10), (50_000, 90)]) is None
    True
    """
    if len(sizes) < 3:
        return None
    return round(slope(sizes[int(len(sizes) * SETTLES) :]) * 100_000, 2)


def thinned(sizes: Sequence[tuple[float, float]]) -> dict[str, float]:
    """About ten of the points, to be printed."""
    return {f"{at:.0f}": round(size, 1) for at, size in sizes[:: max(1, len(sizes) // 10)]}


def _history(folder: Path, seed: int, purchases: int, figures: Figures) -> None:
    past, sizes = _past(seed, purchases), list[tuple[float, float]]()
    wall, cpu, n = _written(_looked_at(_with_truth(past, folder), sizes), folder / "history")
    figures.history_messages = n
    figures.history_messages_per_s, figures.history_messages_per_cpu_s = round(n / wall), round(n / cpu)
    figures.memory_mb, figures.memory_mb_per_100k_messages = thinned(sizes), growth(sizes)
    _say(
        f"History of {purchases} purchases in {DAYS:g} days to Parquet, one process: {n} messages, "
        f"{figures.history_messages_per_s}/s, {figures.history_messages_per_cpu_s} per second of processor time."
    )
    _say(f"Its memory: {_grown(figures.memory_mb_per_100k_messages)}; MB by messages: {figures.memory_mb}.")


def _looked_at(records: Iterable[Record], sizes: list[tuple[float, float]]) -> Iterator[Record]:
    """The records; `sizes` gets messages so far and resident memory in MB."""
    process = psutil.Process()
    for number, record in enumerate(records, 1):
        yield record
        if number % SAMPLE_MESSAGES == 0:
            sizes.append((number, process.memory_info().rss / 1e6))


def _floor(folder: Path, seed: int, purchases: int, figures: Figures) -> None:
    _, cpu, n = _written(list(_past(seed, purchases)), folder / "floor")
    figures.floor_messages_per_cpu_s = round(n / cpu)
    figures.history_times_the_floor = round(figures.floor_messages_per_cpu_s / figures.history_messages_per_cpu_s, 2)
    _say(
        f"Ready-made messages, only encoded and written: {figures.floor_messages_per_cpu_s} per second of processor "
        f"time; the history takes {figures.history_times_the_floor:g} times as long."
    )


def _written(records: Iterable[Record], folder: Path) -> tuple[float, float, int]:
    """Wall clock and processor seconds that writing took, and how many messages there were."""
    sink, n = ParquetSink(folder), 0
    wall, cpu = time.perf_counter(), time.process_time()
    for topic, key, message in records:
        sink.write(topic, key, message)
        n += 1
    sink.close()
    return time.perf_counter() - wall, time.process_time() - cpu, n


# ----------------------------------------------------------------------------------------------------------------- live
def _realtime(settings: Settings, rate: float, seconds: float, seed: int, figures: Figures) -> None:
    mark_data_dir(settings.data_dir)
    shutil.rmtree(settings.data_dir / "simulator", ignore_errors=True)
    alone = settings.model_copy(update={"data_dir": settings.data_dir / "simulator"})
    with local_parts(alone, alone.data_dir, backend="processes") as parts:
        alone = parts.settings(alone)
        kafka_admin.apply_topics(alone)
        warm, _, _ = _shop(alone, rate / MESSAGES_PER_PURCHASE, WARM_UP_SECONDS, seed)
        per_purchase = sum(warm.messages.values()) / max(1, warm.purchases)
        stats, cores, sizes = _shop(alone, rate / per_purchase, seconds, seed)
        figures.realtime_asked_per_s, figures.realtime_cores = rate, cores
        figures.realtime_reached_per_s = round(sum(stats.messages.values()) / stats.seconds, 1)
        figures.realtime_purchases_per_s = round(stats.rate_reached, 1)
        figures.realtime_pacing_error_ms, figures.realtime_holds = stats.pacing_error_ms, stats.held_the_rate
        _say(
            f"Realtime to Kafka, one process, {rate:g} messages/s asked for {seconds:g} s: "
            f"{figures.realtime_reached_per_s:g}/s with {figures.realtime_purchases_per_s:g} purchases/s, "
            f"{'held' if figures.realtime_holds else 'not held'}; late by {_named(stats.pacing_error_ms)}, "
            f"{cores:g} cores."
        )
        figures.realtime_memory_mb, figures.realtime_memory_mb_per_100k_messages = thinned(sizes), growth(sizes)
        _say(
            f"Its memory, with all that a run is judged by: {_grown(figures.realtime_memory_mb_per_100k_messages)}; "
            f"MB by messages: {figures.realtime_memory_mb}."
        )
        _bare(alone, rate, seconds, figures)


def _shop(
    settings: Settings, purchases_per_s: float, seconds: float, seed: int
) -> tuple[ShopStats, float, list[tuple[float, float]]]:
    """The shop for a while, the share of a core it took, and its memory in MB by messages sent."""
    world = World(seed, datetime.now(UTC))
    shop = RealtimeShop(world, settings, purchases_per_s, seed, rules=ALONE, ask_quotes=False)
    shop.start()
    began, cpu = time.perf_counter(), time.process_time()
    sizes = _watched(shop, seconds)
    shop.end_load()
    stats = shop.stats()
    cores = (time.process_time() - cpu) / (time.perf_counter() - began)
    shop.stop()
    return stats, round(cores, 2), sizes


def _watched(shop: RealtimeShop, seconds: float) -> list[tuple[float, float]]:
    """Messages so far and resident memory in MB, again and again for so many seconds."""
    process, sizes, ends = psutil.Process(), list[tuple[float, float]](), time.perf_counter() + seconds
    while (left := ends - time.perf_counter()) > 0:
        time.sleep(min(SAMPLE_SECONDS, left))
        sizes.append((sum(shop.standing().messages.values()), process.memory_info().rss / 1e6))
    return sizes


def _bare(settings: Settings, rate: float, seconds: float, figures: Figures) -> None:
    """One message of the usual size, again and again, each at its time; nothing is computed."""
    value = codec.encode(next(message for topic, _, message in _past(0, 500) if topic == TICKET_PURCHASES.name))
    client, late = producer(settings, {"log_level": 0}), Lateness()
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(int(rate * seconds)):
        wait = began + number / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        client.produce(TICKET_PURCHASES.name, value, str(number))
        late.note(int((time.perf_counter() - began - number / rate) * 1e6))
        client.poll(0)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    client.flush(30)
    figures.bare_reached_per_s = round(rate * seconds / took, 1)
    figures.bare_pacing_error_ms, figures.bare_cores = late.percentiles_ms(), round(used / took, 2)
    _say(
        f"A bare loop over ready-made bytes: {figures.bare_reached_per_s:g}/s, late by "
        f"{_named(figures.bare_pacing_error_ms)}, {figures.bare_cores:g} cores."
    )


# -------------------------------------------------------------------------------------------------------------- details
def write(figures: Figures, conditions: str, path: Path) -> None:
    """Write the figures as JSON; the keys are the fields of `Figures`, and `conditions`."""
    path.write_text(json.dumps(asdict(figures) | {"conditions": conditions}, indent=2) + "\n", encoding="utf-8")


def _grown(mb: float | None) -> str:
    if mb is None:
        return "too short a run to tell how it grows"
    return f"{mb:g} MB more per 100,000 messages after the first third"


def _named(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g} ms" for name, value in values.items())


def _say(sentence: str) -> None:
    print(sentence, flush=True)
