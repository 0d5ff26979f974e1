"""A past written down: what was asked for, the history that is, and where it goes."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ibook.clock import to_us
from ibook.errors import ConfigurationError
from simulator.attention import DAY_US
from simulator.history import History, size_of
from simulator.mix import Mix
from simulator.pacing import middles
from simulator.people import HOUSEHOLD_SIZES
from simulator.plan import check_apart, check_compress, check_kafka, settings_of_running
from simulator.world import World, WorldSize

if TYPE_CHECKING:
    from simulator.sinks import Sink
    from simulator.truth_files import TruthFiles

DAYS_EVENTS, DAYS_PURCHASES, DAYS_USERS = 100, 10_000, 1_000
"""A past of days without further words; of users there are more where they would buy more than ten times each."""
HOURS, HOURS_PURCHASES = 24.0, 5_000
TICKETS_PER_PURCHASE = 2.3
"""Mean of what honest visitors buy; measured."""


Target = Literal["parquet", "kafka", "jsonl"]
"""Where a history goes."""
GoOn = Callable[[int, float], bool]
"""Whether to go on, now that so many messages and this share of the past are written."""
MESSAGES_PER_LOOK = 1024
"""Messages between two questions whether to go on."""


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
    data_dir: Path | None = None
    """Folder of the running platform, where Kafka is the target; None is the environment's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written, and how fast."""

    messages: int
    purchases: int
    seconds: float
    shares: dict[str, float]
    """Share of the purchases per pattern."""
    whole: bool
    """Whether it was written to its end."""


def write_history(options: HistoryOptions, go_on: GoOn = lambda *_: True) -> Written:
    """Write a past. The truth goes into the folder `truth` beside the message files, or as JSON lines where asked for.

    As soon as `go_on` says no it ends at a message boundary, and what is written is as whole as a shorter past's.
    Raises ConfigurationError for what can't be or can't be written, and when Kafka does not answer; BrokerUnavailable
    when it does not take everything.
    """
    check_apart([("--output", options.output), ("--truth", options.truth)])
    try:
        return _write(history_of(options), options, go_on)
    except OverflowError as error:
        raise ConfigurationError("A past must lie, with all its events, in the years 1 to 9999: choose another --end "
                                 "or length.") from error  # fmt: skip
    except OSError as error:
        raise ConfigurationError(f"The past can't be written: {error}.") from error


def history_of(options: HistoryOptions) -> History:
    """The history that was asked for. Raises ConfigurationError when it can't be."""
    if options.hours is not None and options.days is not None:
        raise ConfigurationError("A history is so many --hours long or so many --days, not both.")
    if options.compress is not None:
        check_compress(options.compress)
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
    settings = settings_of_running(options.data_dir)
    check_kafka(settings)
    return KafkaSink(settings)


def _write(past: History, options: HistoryOptions, go_on: GoOn) -> Written:
    """Messages and truth side by side; truth in Parquet files is held no longer than a row group."""
    began = time.monotonic()
    with ExitStack() as ends:
        sink = _sink(options)
        ends.callback(sink.close)
        files = None if options.truth is not None or options.to != "parquet" else _truth_files(past, options, ends)
        n, whole = _pour(past, sink, files, go_on)
    if options.truth is not None:
        past.truth.write(options.truth)
    patterns = Counter(each.pattern for each in past.truth.transactions.values()) if files is None else files.patterns
    total = patterns.total()
    return Written(
        messages=n, purchases=total, seconds=time.monotonic() - began,
        shares={pattern: count / total for pattern, count in sorted(patterns.items())}, whole=whole,
    )  # fmt: skip


def _truth_files(past: History, options: HistoryOptions, ends: ExitStack) -> "TruthFiles":
    from simulator.truth_files import TruthFiles

    files = TruthFiles(options.output / "truth")
    ends.callback(lambda: files.close(past.truth))  # which is another one as soon as the past is told
    return files


def _pour(past: History, sink: "Sink", files: "TruthFiles | None", go_on: GoOn) -> tuple[int, bool]:
    """How many messages there were, and whether that is all of them."""
    from simulator.sinks import KafkaSink

    n, whole = 0, True
    for topic, key, message in past:
        sink.write(topic, key, message)
        n += 1
        if n % MESSAGES_PER_LOOK:
            continue
        if files is not None:
            files.take(past.truth)
        if isinstance(sink, KafkaSink):
            sink.poll()
        if whole and not go_on(n, (to_us(message.occurred_at) - past.start_us) / (past.end_us - past.start_us)):
            past.stop()
            whole = False
    return n, whole
