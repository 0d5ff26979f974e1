"""What a scenario is: the shape of its load, its fraud, its turns, and what is done to its messages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from simulator.degradation import Degradation
from simulator.guests import Habits
from simulator.mix import Mix
from simulator.scenarios.curve import Shape, constant
from simulator.scenarios.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Something that happens at a share of the run. One without `what` goes on with an earlier one, unreported."""

    at: float
    do: Callable[[Stage], None]
    what: str = ""
    is_drift: bool = False
    """Whether what was learned before holds no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A run to be played at any rate and for any time: `rate` and `tides` are shapes over its length."""

    name: str
    description: str
    mix: Mix = field(default_factory=Mix)
    habits: Habits = field(default_factory=Habits)
    rate: Shape = constant
    """How busy the shop is; scaled so that the mean is what was asked for."""
    tides: Mapping[str, Shape] = field(default_factory=dict)
    """How busy a pattern's campaigns are beside the mix's share; those not named are as busy at every moment."""
    turns: tuple[Turn, ...] = ()
    degradation: Degradation | None = None
    parts: tuple[str, ...] = ()
    """Names of the scenarios it is mixed of."""


def described(doc: str | None) -> str:
    """The description of a scenario: the docstring of its module, in one line."""
    return " ".join((doc or "").split())
