"""A big on-sale: within seconds eight times as many people as before, most of them for one event, then fewer and
fewer; bots come first, as regular as clocks, hold seats and buy for resale."""

from functools import partial
from math import exp

from simulator.guests import Habits
from simulator.mix import DEFAULT_MIX
from simulator.scenarios.scenario import Scenario, Turn, described
from simulator.scenarios.stage import Stage

OPENS, PEAK = 0.1, 0.12
"""Shares of the run: sales open, and the peak is reached; of a minute's run that is a second."""
HEIGHT, DECAY = 8.0, 0.18
"""The peak against the time before, and the share of the run in which it falls to a third. Assumed: the largest
on-sale had four times the requests of any before it; what a usual day has is not published."""
BOTS_DECAY = 0.04
"""Bots are there at once and gone soon."""
FOCUS = ((OPENS, 0.8), (0.3, 0.6), (0.5, 0.4), (0.75, 0.2))
"""From when on which share of all looks is for the event."""


def _rate(share: float) -> float:
    if share < OPENS:
        return 1.0
    rise = min(1.0, (share - OPENS) / (PEAK - OPENS))
    return 1.0 + (HEIGHT - 1) * rise * exp(-max(0.0, share - PEAK) / DECAY)


def _bots(share: float) -> float:
    return 0.02 if share < OPENS else 0.02 + exp(-(share - OPENS) / BOTS_DECAY)


def _focus(stage: Stage, share: float) -> None:
    stage.unfocus()
    stage.focus(stage.hot_events()[0], share)


SCENARIO = Scenario(
    name="flash-sale",
    description=described(__doc__),
    mix=DEFAULT_MIX.with_shares({"scalper-ring": 0.03, "seat-hoarding": 0.005}),
    habits=Habits(bargain=0.04, newcomer=0.15),
    rate=_rate,
    tides={"scalper-ring": _bots, "seat-hoarding": _bots},
    turns=tuple(
        Turn(at=at, what="sales of the hot event open" if at == OPENS else "", do=partial(_focus, share=share))
        for at, share in FOCUS
    ),
)
