"""How real a past is and how hard: its figures beside published ones, and what models find in it.

Everything comes from the messages that a shop publishes, read by the engine that serves; the truth only judges.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ibook.clock import to_us
from ibook.messages import PurchaseRequested
from ibook.rules import load_policy
from simulator.catalogue import Event
from simulator.history import History
from simulator.past import HistoryOptions, history_of
from simulator.profile import difficulty, facts, leaks
from simulator.profile import rings as ring_figures
from simulator.profile.difficulty import Difficulty
from simulator.profile.leaks import Finding
from simulator.profile.observed import Observed, observe
from simulator.profile.rings import Rings
from simulator.sinks import Record
from simulator.truth import TransactionTruth

END = datetime(2026, 3, 1, tzinfo=UTC)
"""When the profiled past ends: the same every time, so that two profiles differ by the traffic alone."""
COMPRESS = 2.0
"""How many times faster than in life labels come. Assumed: of half a year's purchases most are then old enough to learn
from. Figures of labels are in days of life all the same."""
LEAK_PURCHASES = 9_000
"""Purchases that are searched for leaks, about, with all that visitors did around them: whole spans of the past …"""
SPANS = 100
"""… of so many that it is cut into, evenly taken: what begins late must be searched as well."""


@dataclass(frozen=True)
class Bound:
    """A figure of difficulty that must lie in a range, and why."""

    key: str
    what: str
    of: Callable[["Profile"], float]
    within: tuple[float, float]
    why: str


@dataclass(frozen=True)
class Profile:
    """What is known of one past."""

    seed: int
    days: float
    purchases: int
    figures: dict[str, float | None]
    difficulty: Difficulty
    leaks: list[Finding]
    rings: Rings
    unsearched: tuple[str, ...] = ()
    """Patterns of this past that no purchase searched for leaks belongs to."""
    compress: float = COMPRESS
    """How many times faster than in life labels came."""

    def outside(self) -> list[str]:
        """A sentence for each figure outside its range."""
        found = [
            _sentence(figure.what.lstrip("… "), value, figure.within)
            for figure in facts.FIGURES
            if figure.within and (value := self.figures[figure.key]) is not None
            and not figure.within[0] <= value <= figure.within[1]
        ]  # fmt: skip
        found += [
            _sentence(bound.what, bound.of(self), bound.within)
            for bound in BOUNDS
            if not bound.within[0] <= bound.of(self) <= bound.within[1]
        ]
        return found

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        hard = self.difficulty
        return {
            "seed": self.seed, "days": self.days, "purchases": self.purchases, "compress": self.compress,
            "base_rate": self.figures["base_rate"],
            "average_precision": hard.average_precision, "average_precision_interval": hard.interval,
            "recall_by_pattern": hard.recall_by_pattern, "recall_of_abuse": hard.recall_of_abuse,
            "alarm_share": difficulty.ALARM_SHARE, "precision_at_alarm_share": hard.precision_at_share,
            "rows": {"training": hard.n_training, "training_frauds": hard.n_training_frauds, "test": hard.n_test,
                     "test_frauds": hard.n_test_frauds, "test_base_rate": hard.test_base_rate},
            "leaks": {"looked_at": len(self.leaks), "found": [f"{one.place}: {one.pattern}" for one in self.leaks
                                                              if one.is_leak], "unsearched": self.unsearched},
            "rings": asdict(self.rings),
            "figures": {figure.key: {"ours": self.figures[figure.key], "cited": figure.cited, "within": figure.within}
                        for figure in facts.FIGURES},
            "bounds": {bound.key: {"ours": bound.of(self), "within": bound.within} for bound in BOUNDS},
            "outside": self.outside(),
        }  # fmt: skip


def _sentence(what: str, value: float, within: tuple[float, float]) -> str:
    return f"{what} is {value:.3g}, which is not within {within[0]:g} and {within[1]:g}"


def _times(one: str, other: str) -> Callable[[Profile], float]:
    return lambda profile: (
        profile.difficulty.average_precision[one] / max(1e-9, profile.difficulty.average_precision[other])
    )


BOUNDS: tuple[Bound, ...] = (
    Bound("average_precision", "average precision of a model on window features",
          lambda profile: profile.difficulty.average_precision["model"], (0.3, 0.7),
          "lower, and nothing can be shown; above 0.95 something leaks"),
    Bound("times_rules", "… times that of the rules", _times("model", "rules"), (2.0, 50.0),
          "a model must be worth having"),
    Bound("times_request_fields", "… times that of a model on the request alone",
          _times("model", "request_fields_only"), (1.5, 50.0), "windows must be worth computing"),
    Bound("leaks", "places where ids, order or formatting tell fraud",
          lambda profile: float(sum(one.is_leak for one in profile.leaks)), (0.0, 0.0), "the shop would not know"),
    Bound("unsearched", "patterns that were not searched for such places",
          lambda profile: float(len(profile.unsearched)), (0.0, 0.0), "a leak in the later one counts as well"),
)  # fmt: skip
"""What a default past must be, so that a good figure on it means something."""


def profile(seed: int, *, days: float, purchases: int) -> Profile:
    """Play a past, count it, and see how hard it is.

    Raises ConfigurationError when it holds too few frauds to train on or to judge by.
    """
    past = history_of(HistoryOptions(seed=seed, days=days, end=END, purchases=purchases, compress=COMPRESS))
    span_us = past.end_us - past.start_us
    observed = Observed(truth={}, label_day_seconds=86_400 / COMPRESS, rushed=_rushed(past.world.events))
    records: list[Record] = []
    features = observe(_kept(past, records), observed)
    truth = past.truth.transactions
    observed.truth, observed.demand = truth, past.truth.demand
    cut_us = past.start_us + int(difficulty.CUT * span_us)
    split = difficulty.split_at(observed, cut_us, from_us=past.start_us + int(difficulty.WARM_UP * span_us))
    return Profile(
        seed=seed, days=days, purchases=len(observed.purchases), figures=facts.count(observed),
        difficulty=difficulty.measure(observed, features, load_policy(), split, seed=seed),
        leaks=leaks.findings(records, truth, seed=seed), rings=ring_figures.measure(observed, features, load_policy()),
        unsearched=_unsearched(records, truth),
    )  # fmt: skip


def _rushed(events: Iterable[Event]) -> frozenset[str]:
    return frozenset(event.event_id for event in events if event.appeal.burst > 0.5)


def _kept(past: History, records: list[Record]) -> Iterator[Record]:
    """Passes a past on, and keeps an even choice of its spans, whole: about `LEAK_PURCHASES` purchases."""
    share, span_us = min(1.0, LEAK_PURCHASES / past.purchases), (past.end_us - past.start_us) / SPANS
    for record in past:
        span = (to_us(record[2].occurred_at) - past.start_us) // span_us
        if (span + 1) * share // 1 > span * share // 1:
            records.append(record)
        yield record


def _unsearched(records: Iterable[Record], truth: Mapping[str, TransactionTruth]) -> tuple[str, ...]:
    found = {
        truth[message.transaction_id].pattern for _, _, message in records if isinstance(message, PurchaseRequested)
    }
    return tuple(sorted({each.pattern for each in truth.values()} - found))
