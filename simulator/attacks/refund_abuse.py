"""Refund abuse: tickets bought as an option, and given back again and again, mostly shortly before the event.

Their own account, card and device: clean at purchase. It is the same people each time.
"""

from simulator.attacks.circle import Circle, Habit
from simulator.attacks.craft import Odds
from simulator.attacks.pattern import Pattern
from simulator.engine import Process

PATTERN = Pattern(
    name="refund-abuse",
    kind="abuse",
    share=0.003,
    typical_purchases=1.0,
    tell=("Buyers who give back most of what they buy, mostly in the last days before the event."),
    look_alikes=("honest_refund",),
    is_campaign=False,
)

HABIT = Habit(people=8, times=(3, 9), refusals=2)
ODDS = Odds(declines=0.035, passes=0.92, refunds=0.8, refunds_late=0.7)
"""Issuers and challenges treat them as everybody. What sells well elsewhere is not given back."""


def begin(circle: Circle) -> Process:
    """One of those who do it buys once more."""
    return circle.purchase(PATTERN, ODDS)
