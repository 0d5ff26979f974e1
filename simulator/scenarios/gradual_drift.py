"""A season in a nutshell: from a third of the run on people slowly turn to phones and other devices, pay at once, and
are willing to pay less; fraud moves from bursts of card tests to slow ones and taken-over accounts."""

from simulator.mix import DEFAULT_MIX
from simulator.scenarios.curve import Shape
from simulator.scenarios.scenario import Scenario, Turn, described
from simulator.scenarios.stage import Stage

BEGINS, ENDS, STEPS = 0.3, 0.95, 14
MOVED = {"mobile": 0.35, "new_device": 0.15, "newcomer": 0.14, "express": 0.3, "log_in": 0.2, "traveller": 0.05}
"""How far honest habits have moved at the end, in share of visits. Assumed, and large: a run is short."""
WILLING = 0.75
"""What people would pay at the end against the beginning."""
TIDES = {"card-testing": (1.6, 0.2), "card-testing-slow": (0.6, 2.0), "account-takeover": (0.6, 2.0)}
"""How busy a pattern is before the drift and after it."""


def progress(share: float) -> float:
    """How far the drift has come at a share of the run: 0 before it, 1 after it."""
    return min(1.0, max(0.0, (share - BEGINS) / (ENDS - BEGINS)))


def _tide(before: float, after: float) -> Shape:
    return lambda share: before + (after - before) * progress(share)


def _step(stage: Stage) -> None:
    stage.move_habits({name: by / STEPS for name, by in MOVED.items()})
    stage.shift_demand(WILLING ** (1 / STEPS))


def _turn(number: int) -> Turn:
    what = {
        0: "honest habits, what people would pay, and fraud begin to move",
        STEPS // 2: "the drift is half way",
        STEPS - 1: "the drift has ended",
    }.get(number, "")
    at = BEGINS + (ENDS - BEGINS) * number / (STEPS - 1)
    return Turn(at=at, what=what, do=_step, is_drift=number == 0)


SCENARIO = Scenario(
    name="gradual-drift",
    description=described(__doc__),
    mix=DEFAULT_MIX,
    tides={pattern: _tide(*ends) for pattern, ends in TIDES.items()},
    turns=tuple(_turn(number) for number in range(STEPS)),
)
