"""Friendly fraud: a buyer of their own account, card and device, who later tells the bank it was somebody else.

Clean at purchase; what gives it away is that the same people do it again.
"""

from simulator.attacks.pattern import Pattern

PATTERN = Pattern(
    name="friendly-fraud",
    kind="fraud",
    share=0.003,
    typical_purchases=1.0,
    tell=("Nothing at the first purchase; later that the same buyers dispute again."),
    look_alikes=("honest_refund",),
    is_campaign=False,
)
