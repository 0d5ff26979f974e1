"""A long evening of offers: busy from its first minutes to its end, and busier still at each of six drops, when
another event is the one that everybody looks at; more gifts, more newcomers, more people after a bargain."""

from functools import partial
from math import exp

from simulator.guests import Habits
from simulator.mix import DEFAULT_MIX
from simulator.scenarios.scenario import Scenario, Turn, described
from simulator.scenarios.stage import Stage

N_DROPS = 6
FIRST, EVERY = 0.08, 0.15
DROPS = tuple(FIRST + EVERY * number for number in range(N_DROPS))
"""Shares of the run at which an offer begins, an hour of the evening apart."""
QUIET, HEIGHT, DECAY = 0.3, 1.5, 0.02
"""The rate before the first drop and what a drop adds to it, against the plateau between them; the share of the run in
which a drop's rush falls to a third. Assumed; published is only the shape: a plateau with hourly drops."""
LOOKS = 0.45
"""Share of all looks that the event of a drop gets until the next one."""
KEENER = 1.1
"""What people would pay against a usual day. Assumed."""


def _rate(share: float) -> float:
    plateau = QUIET if share < FIRST else 1.0
    return plateau + sum(HEIGHT * exp(-(share - drop) / DECAY) for drop in DROPS if share >= drop)


def _drop(stage: Stage, number: int) -> None:
    events = stage.hot_events()
    if number == 0:
        stage.shift_demand(KEENER)
    else:
        stage.unfocus()
    stage.focus(events[number % len(events)], LOOKS)


SCENARIO = Scenario(
    name="black-friday",
    description=described(__doc__),
    mix=DEFAULT_MIX.scaled(1.5 * DEFAULT_MIX.fraud),
    habits=Habits(newcomer=0.16, gift_buyer=0.06, bargain=0.22, group=0.003),
    rate=_rate,
    turns=tuple(
        Turn(at=at, what=f"drop {number + 1}", do=partial(_drop, number=number)) for number, at in enumerate(DROPS)
    ),
)
