"""What is measured about a run, one module each: latency, load, accuracy, drift, business, degradation.

A validator makes figures of a record, for the report, and measures of the figures, for the thresholds. Both are pure.
"""

from msgspec import Struct

from simulator.record import RunRecord
from simulator.validators import accuracy, business, degradation, drift, latency, load
from simulator.validators.accuracy import Accuracy
from simulator.validators.business import Business
from simulator.validators.degradation import Harm
from simulator.validators.drift import Drift
from simulator.validators.latency import Latency
from simulator.validators.load import Load
from simulator.validators.measure import Meaning, Measure
from simulator.validators.traffic import Traffic
from simulator.validators.traffic import figures as traffic_figures

MEASURES: dict[str, Meaning] = {
    **latency.MEASURES, **load.MEASURES, **accuracy.MEASURES, **drift.MEASURES, **business.MEASURES,
    **degradation.MEASURES,
}  # fmt: skip
"""What every measure is, by its name; a name with `<…>` stands for a family."""
FAMILIES = (accuracy.RECALL_OF, accuracy.FALSE_DECLINES_OF)

__all__ = ["FAMILIES", "MEASURES", "Figures", "Measure", "figures_of", "meaning_of", "measures_of", "names"]


class Figures(Struct, frozen=True, kw_only=True):
    """All figures of a run."""

    traffic: Traffic
    latency: Latency
    load: Load
    accuracy: Accuracy
    drift: Drift
    business: Business
    degradation: Harm


def names() -> tuple[str, ...]:
    """The names of measures that every run has."""
    return tuple(name for name in MEASURES if "<" not in name)


def meaning_of(name: str) -> Meaning:
    """What the measure of this name is; one of a family means what its family does. Raises KeyError for no name."""
    family = next((each for each in MEASURES if "<" in each and name.startswith(each[: each.index("<")])), name)
    return MEASURES[name if name in MEASURES else family]


def figures_of(record: RunRecord) -> Figures:
    """Everything that is known about a run."""
    return Figures(
        traffic=traffic_figures(record), latency=latency.figures(record), load=load.figures(record),
        accuracy=accuracy.figures(record), drift=drift.figures(record), business=business.figures(record),
        degradation=degradation.figures(record),
    )  # fmt: skip


def measures_of(record: RunRecord, figures: Figures) -> tuple[Measure, ...]:
    """Every measure of a run, taken or not."""
    return (
        *latency.measures(record, figures.latency), *load.measures(record, figures.load),
        *accuracy.measures(record, figures.accuracy), *drift.measures(record, figures.drift),
        *business.measures(record, figures.business), *degradation.measures(record, figures.degradation),
    )  # fmt: skip
