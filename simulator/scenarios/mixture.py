"""One run made of several scenarios: each gives its share of the traffic, and its turns."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from math import isfinite

from ibook.errors import ConfigurationError
from simulator.guests import Habits
from simulator.mix import Mix
from simulator.scenarios.curve import Curve, Shape
from simulator.scenarios.scenario import Scenario, Turn
from simulator.scenarios.stage import Stage

Part = tuple[Scenario, float]
"""A scenario and its share of the traffic."""


def mixed(weighted: Sequence[Part]) -> Scenario:
    """The scenario made of these, by weights whose sum does not matter. Raises ConfigurationError."""
    for scenario, weight in weighted:
        if not (isfinite(weight) and weight > 0):
            raise ConfigurationError(f"The weight of {scenario.name} must be a number above 0, not {weight:g}.")
    if not weighted:
        raise ConfigurationError("A mix needs at least one scenario, like normal=1.")
    total = sum(weight for _, weight in weighted)
    parts = [(scenario, weight / total) for scenario, weight in weighted]
    harm = [(scenario.degradation, share) for scenario, share in parts if scenario.degradation is not None]
    return Scenario(
        name="mix", description=f"Of all traffic {_listed(parts)}.", mix=Mix(_shares(parts)), habits=_habits(parts),
        rate=_sum([(Curve(scenario.rate), share) for scenario, share in parts]), tides=_tides(parts),
        turns=tuple(sorted((turn for part in parts for turn in _turns(*part)), key=lambda turn: turn.at)),
        degradation=harm[0][0].scaled(harm[0][1]) if harm else None, parts=tuple(one.name for one, _ in parts),
    )  # fmt: skip


def _listed(parts: Sequence[Part]) -> str:
    return ", ".join(f"{share:.0%} {scenario.name}" for scenario, share in parts)


def _shares(parts: Sequence[Part]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for scenario, part in parts:
        for pattern, share in scenario.mix.shares.items():
            shares[pattern] = shares.get(pattern, 0.0) + part * share
    return shares


def _habits(parts: Sequence[Part]) -> Habits:
    def mean(name: str) -> float:
        return float(sum(share * getattr(scenario.habits, name) for scenario, share in parts))

    return Habits(**{each.name: mean(each.name) for each in fields(Habits)})


def _tides(parts: Sequence[Part]) -> Mapping[str, Shape]:
    """When each pattern is busy: as each scenario has it, by what it gives of the pattern."""
    return {
        pattern: _sum([
            (Curve(scenario.tides.get(pattern, scenario.rate)), part * scenario.mix.shares[pattern])
            for scenario, part in parts if pattern in scenario.mix.shares
        ])
        for pattern in _shares(parts)
    }  # fmt: skip


def _sum(curves: Sequence[tuple[Curve, float]]) -> Shape:
    return lambda share: sum(weight * curve.factor(share) for curve, weight in curves)


def _turns(scenario: Scenario, share: float) -> Sequence[Turn]:
    return [
        Turn(at=turn.at, what=turn.what, is_drift=turn.is_drift, do=partial(_on_its_part, turn, share))
        for turn in scenario.turns
    ]


def _on_its_part(turn: Turn, share: float, stage: Stage) -> None:
    turn.do(stage.part(share))
