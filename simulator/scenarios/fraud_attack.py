"""A day under attack: twice the usual background of fraud, and waves on top of it, one kind after the other: cards
tested in bursts, accounts taken over, cards tested in larger bursts, a ring of scalpers."""

from functools import partial

from simulator.mix import DEFAULT_MIX
from simulator.scenarios.scenario import Scenario, Turn, described
from simulator.scenarios.stage import Stage

WAVES = (
    (0.15, "card-testing", 0.03),
    (0.35, "account-takeover", 0.02),
    (0.55, "card-testing", 0.05),
    (0.75, "scalper-ring", 0.03),
)
"""When each wave begins, its pattern, and what it makes up of the run's purchases. Assumed: in life a wave of card
tests is a multiple of all sales, which would leave nothing else to be measured."""
WITHIN_SECONDS = 3.0


def _wave(stage: Stage, pattern: str, share: float) -> None:
    stage.launch(pattern, share=share, within=WITHIN_SECONDS)


SCENARIO = Scenario(
    name="fraud-attack",
    description=described(__doc__),
    mix=DEFAULT_MIX.scaled(2 * DEFAULT_MIX.fraud),
    turns=tuple(
        Turn(at=at, what=f"a wave of {pattern}", do=partial(_wave, pattern=pattern, share=share))
        for at, pattern, share in WAVES
    ),
)
