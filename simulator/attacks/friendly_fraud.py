"""Friendly fraud: a buyer of their own account, card and device, who later tells the bank it was somebody else.

Clean at purchase; what gives it away is that the same people do it again.
"""

from simulator.attacks.circle import Circle, Habit
from simulator.attacks.craft import Odds
from simulator.attacks.pattern import Pattern
from simulator.engine import Process

PATTERN = Pattern(
    name="friendly-fraud",
    kind="fraud",
    share=0.003,
    typical_purchases=1.0,
    tell=("Nothing at the first purchase; later that the same buyers dispute again."),
    look_alikes=("honest_refund",),
    is_campaign=False,
)

HABIT = Habit(people=8, times=(2, 7), refusals=2)
ODDS = Odds(declines=0.035, disputes=0.9, passes=0.92)
"""Issuers and challenges treat them as everybody; nearly all of what they buy is disputed."""


def begin(circle: Circle) -> Process:
    """One of those who do it buys once more."""
    return circle.purchase(PATTERN, ODDS)
