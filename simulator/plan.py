"""What a command was asked to run, and whether that can begin: everything wrong is found before the first message."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ibook.edges.running_platform import pointed_at_running
from ibook.errors import BrokerUnavailable, ConfigurationError
from ibook.settings import Settings, load_settings
from simulator.attacks import CAMPAIGNS
from simulator.options import To
from simulator.scenarios import SCENARIOS, Scenario, mixed

DAY_SECONDS = 86_400.0
BEGINS = datetime(2026, 3, 2, 18, 0, tzinfo=UTC)
"""When a run in virtual time begins: always the same, so that the same seed gives the same bytes."""
FASTEST_RATE = 20_000.0
LONGEST_SECONDS = 7 * DAY_SECONDS
"""A run keeps what it is judged by in memory; longer pasts are `history`'s."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One or several runs. `rate` is in purchases per second on average, `seconds` the length of each run."""

    scenarios: tuple[Scenario, ...]
    seconds: float
    rate: float
    seed: int = 0
    compress: float
    """How many times faster than in life labels and refunds come."""
    to: To = To.kafka
    output: Path | None = None
    truth: Path | None = None
    report: Path | None = None
    json: Path | None = None
    records: Path | None = None
    thresholds: Path | None = None
    attacks: tuple[str, ...] = ()
    """Campaigns launched at the start of each run."""
    judged: bool = True

    @property
    def label_day_seconds(self) -> float:
        """How long a day of label or refund delay takes."""
        return DAY_SECONDS / self.compress

    def output_of(self, scenario: Scenario) -> Path:
        """Where a run in virtual time goes: a folder of Parquet files, or a file of JSON lines."""
        path = self.output or Path("run" if self.to is To.parquet else "run.jsonl")
        if len(self.scenarios) == 1:
            return path
        return path / scenario.name if self.to is To.parquet else _beside(path, scenario.name)

    def truth_of(self, scenario: Scenario) -> Path | None:
        """Where a run's truth goes: of several runs each has a file of its own."""
        if self.truth is None or len(self.scenarios) == 1:
            return self.truth
        return _beside(self.truth, scenario.name)


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}{path.suffix}")


def scenario_named(name: str) -> Scenario:
    """The scenario of this name. Raises ConfigurationError with those there are."""
    if name not in SCENARIOS:
        raise ConfigurationError(f"There is no scenario {name!r}, only {', '.join(SCENARIOS)}.")
    return SCENARIOS[name]


def parse_weights(text: str) -> Scenario:
    """The scenario mixed by weights like `normal=0.7,fraud-attack=0.3`. Raises ConfigurationError in one sentence."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        scenario_named(name)
        if name in weights:
            raise ConfigurationError(f"--weights names {name} twice.")
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise ConfigurationError(f"--weights has {part.strip()!r} where {name}=0.3 is meant.") from error
    return mixed([(SCENARIOS[name], weight) for name, weight in weights.items()])


def check(plan: Plan, settings: Settings) -> None:
    """Raises ConfigurationError in one sentence when the runs can't begin, or what comes of them can't be written."""
    if not 0 < plan.rate <= FASTEST_RATE:
        raise ConfigurationError(f"--rate must be above 0 and at most {FASTEST_RATE:g}, not {plan.rate:g}.")
    if not 1 <= plan.seconds <= LONGEST_SECONDS:
        raise ConfigurationError(
            f"--duration must be a number of seconds, at least 1 and at most {LONGEST_SECONDS:g} (a week), "
            f"not {plan.seconds:g}."
        )
    check_compress(plan.compress)
    if plan.to is To.kafka and plan.output is not None:
        raise ConfigurationError("--output is for --to parquet and --to jsonl: Kafka keeps what is sent there.")
    for pattern in plan.attacks:
        if pattern not in CAMPAIGNS:
            raise ConfigurationError(f"There is no attack {pattern!r}, only {', '.join(CAMPAIGNS)}.")
    _check_files(plan)
    if plan.to is To.kafka:
        check_kafka(settings)


def check_compress(compress: float) -> None:
    """Raises ConfigurationError unless label delays can be divided by it."""
    if not 0 < compress < float("inf"):
        raise ConfigurationError(f"--compress must be a number above 0, not {compress:g}.")


def _check_files(plan: Plan) -> None:
    outputs = [] if plan.to is To.kafka else [("--output", plan.output_of(one)) for one in plan.scenarios]
    others = [("--report", plan.report), ("--json", plan.json), ("--records", plan.records)]
    files = [*(("--truth", plan.truth_of(one)) for one in plan.scenarios), *others]
    check_apart([*outputs, *files, ("--thresholds", plan.thresholds)])
    for _, path in [*files, *(outputs if plan.to is To.jsonl else [])]:
        if path is not None:
            check_writable(path)
    if plan.to is To.parquet:
        for _, folder in outputs:
            _check_folder(folder)


def check_apart(named: Iterable[tuple[str, Path | None]]) -> None:
    """Each option needs a file of its own, by whatever name. Raises ConfigurationError in one sentence."""
    options: dict[str, str] = {}
    for option, path in named:
        if path is None:
            continue
        other = options.setdefault(os.path.realpath(path), option)
        if other != option:
            raise ConfigurationError(f"{other} and {option} are the same file, {path}: each needs its own.")


def check_writable(path: Path) -> None:
    """Find out now whether a file can be written. Raises ConfigurationError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.resolve().unlink()  # of a link what it points to
    except OSError as error:
        raise ConfigurationError(f"{path} can't be written: {error.strerror}.") from error


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The folder {folder} can't be made: {error.strerror}.") from error
    check_writable(folder / "begun")


def check_kafka(settings: Settings) -> None:
    """Raises ConfigurationError, which says how to have one, when no broker answers."""
    from simulator.sinks import KafkaSink

    try:
        KafkaSink(settings).check()
    except BrokerUnavailable as error:
        raise ConfigurationError(
            f"{error} Start a platform with `ibook up --detach`, or name a cluster with IBOOK_KAFKA_BOOTSTRAP."
        ) from error


def settings_of_running(data_dir: Path | None) -> Settings:
    """What the environment says, pointed at the platform that runs on this folder; None: on the environment's."""
    settings = load_settings()
    folder = (settings.data_dir if data_dir is None else data_dir).absolute()
    return pointed_at_running(settings.model_copy(update={"data_dir": folder}))
