"""A past written down: what was asked for, the history that is, and where it goes."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ibook.clock import to_us
from ibook.errors import ConfigurationError
from ibook.settings import load_settings
from simulator.attention import DAY_US
from simulator.history import History, size_of
from simulator.mix import Mix
from simulator.pacing import middles
from simulator.people import HOUSEHOLD_SIZES
from simulator.world import World, WorldSize

if TYPE_CHECKING:
    from simulator.sinks import Sink

DAYS_EVENTS, DAYS_PURCHASES, DAYS_USERS = 100, 10_000, 1_000
"""A past of days without further words; of users there are more where they would buy more than ten times each."""
HOURS, HOURS_PURCHASES = 24.0, 5_000
TICKETS_PER_PURCHASE = 2.3
"""Mean of what honest visitors buy; measured."""


Target = Literal["parquet", "kafka", "jsonl"]
"""Where a history goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryOptions:
    """What was asked for; None is what suits the rest. At most one of `hours` and `days` is given."""

    seed: int = 0
    hours: float | None = None
    days: float | None = None
    end: datetime | None = None
    purchases: int | None = None
    events: int | None = None
    users: int | None = None
    fraud_rate: float | None = None
    compress: float | None = None
    to: Target = "parquet"
    output: Path = Path("history")
    truth: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written, and how fast."""

    messages: int
    purchases: int
    seconds: float
    shares: dict[str, float]
    """Share of the purchases per pattern."""


def write_history(options: HistoryOptions) -> Written:
    """Write a past. The truth goes into the folder `truth` beside the message files, or as JSON lines where asked for.

    Raises ConfigurationError for what can't be, and BrokerUnavailable when Kafka does not answer.
    """
    past = history_of(options)
    began = time.monotonic()
    if options.truth is None and options.to == "parquet":
        return _stream(past, options, began)
    from simulator.sinks import write_all

    n = write_all(past, _sink(options))
    if options.truth is not None:
        past.truth.write(options.truth)
    return Written(
        messages=n, purchases=len(past.truth.transactions), seconds=time.monotonic() - began, shares=past.truth.shares()
    )


def history_of(options: HistoryOptions) -> History:
    """The history that was asked for. Raises ConfigurationError when it can't be."""
    if options.hours is not None and options.days is not None:
        raise ConfigurationError("A history is so many --hours long or so many --days, not both.")
    mix = Mix() if options.fraud_rate is None else Mix().scaled(options.fraud_rate)
    if options.days is not None:
        return _days(options, options.days, mix)
    hours = options.hours or HOURS
    size = size_of(hours)
    size = replace(size, events=options.events or size.events, **_households(options.users))
    end = options.end or datetime.now(UTC)
    purchases = options.purchases or HOURS_PURCHASES
    return History(options.seed, end, hours, purchases, size=size, mix=mix, compress=options.compress)


# ---------------------------------------------------------------------------------------------------------- details
def _days(options: HistoryOptions, days: float, mix: Mix) -> History:
    """A long past: events go on sale, sell out and are over in it, and labels take the time they take in life."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = options.end or today
    purchases = options.purchases or DAYS_PURCHASES
    users = options.users or max(DAYS_USERS, purchases // 10)
    size = WorldSize(events=options.events or DAYS_EVENTS, past_days=int(days) + 1, **_households(users))
    size = replace(size, seats=_seats(World(options.seed, end, size), end, days, purchases))
    return History(
        options.seed, end, days * 24, purchases, size=size, mix=mix, compress=options.compress or 1.0,
        rush=float("inf"),
    )  # fmt: skip


def _seats(world: World, end: datetime, days: float, purchases: int) -> float:
    """The scale of capacities at which the purchases asked for are what the events' visitors want."""
    instants = middles(to_us(end) - int(days * DAY_US), to_us(end))
    wanted = float(world.attention.over(instants).sum()) * 60
    if not wanted:
        raise ConfigurationError("Nothing is on sale in that time: more events, or a longer past, are needed.")
    return purchases * TICKETS_PER_PURCHASE / wanted


def _households(users: int | None) -> dict[str, int]:
    """As many households as have so many members; newcomers come on top."""
    if users is None:
        return {}
    total = sum(HOUSEHOLD_SIZES.weights)
    mean = sum(n * weight for n, weight in zip(HOUSEHOLD_SIZES.choices, HOUSEHOLD_SIZES.weights, strict=True)) / total
    return {"households": max(1, round(users / mean))}


def _sink(options: HistoryOptions) -> "Sink":
    from simulator.sinks import JsonLinesSink, KafkaSink, ParquetSink

    if options.to == "parquet":
        return ParquetSink(options.output)
    if options.to == "jsonl":
        return JsonLinesSink(options.output)
    sink = KafkaSink(load_settings())
    sink.check()
    return sink


def _stream(past: History, options: HistoryOptions, began: float) -> Written:
    """Messages and truth side by side, neither held longer than a row group."""
    from simulator.truth_files import TruthFiles

    sink, files = _sink(options), TruthFiles(options.output / "truth")
    n = 0
    for topic, key, message in past:
        sink.write(topic, key, message)
        n += 1
        if n % 1024 == 0:
            files.take(past.truth)
    sink.close()
    files.close(past.truth)
    total = files.patterns.total()
    return Written(
        messages=n, purchases=total, seconds=time.monotonic() - began,
        shares={pattern: count / total for pattern, count in sorted(files.patterns.items())},
    )  # fmt: skip
