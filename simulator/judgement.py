"""Runs against thresholds: what passed, what failed, and what nobody could measure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from simulator import thresholds as files
from simulator.record import DecidedBy, Machine, Mode, RunRecord
from simulator.scenarios import SCENARIOS
from simulator.thresholds import Threshold, Thresholds
from simulator.validators import FAMILIES, Figures, Measure, figures_of, meaning_of, measures_of, names
from simulator.validators.business import paired
from simulator.validators.measure import Estimate, Unit

MIXED = "mix"
"""The scenario that `mix` makes."""
Verdict = Literal["passed", "failed", "not measured"]


class Result(Struct, frozen=True, kw_only=True):
    """A measure against its threshold."""

    name: str
    value: float | None
    unit: Unit
    threshold: float
    bound: Literal["at most", "at least"]
    verdict: Verdict
    sentence: str
    """What the value says, or why there is none."""
    why: str
    """The reason of the threshold."""


class Conditions(Struct, frozen=True, kw_only=True):
    """Under which a run was made; its figures mean nothing without them."""

    description: str
    """Of the scenario."""
    mode: Mode
    """`live` on Kafka at the wall clock's pace, or `history` in virtual time."""
    decided_by: DecidedBy
    """Whose verdicts the shop obeyed: the `platform`'s or a `stand-in`'s."""
    started_us: int
    """When the load began, in event time: microseconds since the epoch."""
    seconds: float
    """Length of the load, in event time."""
    compress: float
    """How many times faster than in life labels and refunds came."""
    purchases: int
    machine: Machine


class RunJudgement(Struct, frozen=True, kw_only=True):
    """One run, judged."""

    scenario: str
    seed: int
    conditions: Conditions
    verdict: Verdict
    """`failed` when anything failed, `passed` when anything was measured and nothing failed."""
    results: tuple[Result, ...]
    figures: Figures


class Judgement(Struct, frozen=True, kw_only=True):
    """Some runs, judged."""

    verdict: Verdict
    runs: tuple[RunJudgement, ...]
    over_list: dict[str, Estimate]
    """Expected revenue over that at list prices, less 1, per scenario that was run more than once."""

    @property
    def exit_code(self) -> int:
        """0, or 1 when anything failed."""
        return int(self.verdict == "failed")

    @property
    def failed(self) -> tuple[str, ...]:
        """What failed: one sentence each, beginning with the scenario and the measure."""
        return tuple(
            f"{run.scenario}: {result.name} is {result.value:g}, {result.bound} {result.threshold:g} was asked"
            for run in self.runs for result in run.results if result.verdict == "failed"
        )  # fmt: skip


def load_thresholds(path: Path | None = None) -> Thresholds:
    """The simulator's thresholds, or a file's instead. Raises ConfigurationError in one sentence."""
    return files.load_thresholds(path, files.Known(names(), FAMILIES, (*SCENARIOS, MIXED)))


def judge(records: Sequence[RunRecord], thresholds: Thresholds) -> Judgement:
    """Judge every run by the thresholds of its scenario."""
    runs = tuple(_judge_run(record, thresholds) for record in records)
    return Judgement(verdict=_worst([run.verdict for run in runs]), runs=runs, over_list=_over_list(runs))


def _over_list(runs: Sequence[RunJudgement]) -> dict[str, Estimate]:
    scenarios = dict.fromkeys(run.scenario for run in runs)
    means = {name: paired([run.figures.business for run in runs if run.scenario == name]) for name in scenarios}
    return {name: mean for name, mean in means.items() if mean is not None}


def _judge_run(record: RunRecord, thresholds: Thresholds) -> RunJudgement:
    figures = figures_of(record)
    measures = {measure.name: measure for measure in measures_of(record, figures)}
    results = tuple(
        _compare(measures.get(name) or _absent(name), bound)
        for name, bound in thresholds.of(record.scenario, record.parts).items()
    )
    return RunJudgement(
        scenario=record.scenario, seed=record.seed, conditions=_conditions(record),
        verdict=_worst([result.verdict for result in results]), results=results, figures=figures,
    )  # fmt: skip


def _conditions(record: RunRecord) -> Conditions:
    return Conditions(
        description=record.description, mode=record.mode, decided_by=record.decided_by, started_us=record.started_us,
        seconds=record.seconds, compress=record.compress, purchases=len(record.purchases), machine=record.machine,
    )  # fmt: skip


def _absent(name: str) -> Measure:
    return Measure(name=name, value=None, n=0, sentence="There was nothing of this kind in the run.")


def _compare(measure: Measure, threshold: Threshold) -> Result:
    value, sentence = measure.value, measure.sentence
    if value is not None and measure.n < threshold.needs:
        value, sentence = None, f"It rests on {measure.n}, and {threshold.needs} are needed to judge it: {sentence}"
    verdict: Verdict = "not measured" if value is None else "passed" if threshold.holds(value) else "failed"
    return Result(
        name=measure.name, value=value, unit=meaning_of(measure.name).unit, threshold=threshold.bound,
        bound="at most" if threshold.at_least is None else "at least", verdict=verdict, sentence=sentence,
        why=threshold.why,
    )  # fmt: skip


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    if "failed" in verdicts:
        return "failed"
    return "passed" if "passed" in verdicts else "not measured"
