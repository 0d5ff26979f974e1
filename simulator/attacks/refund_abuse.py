"""Refund abuse: tickets bought as an option, and given back again and again, mostly shortly before the event.

Their own account, card and device: clean at purchase. It is the same people each time.
"""

from simulator.attacks.pattern import Pattern

PATTERN = Pattern(
    name="refund-abuse",
    kind="abuse",
    share=0.003,
    typical_purchases=1.0,
    tell=("Buyers who give back most of what they buy, mostly in the last days before the event."),
    look_alikes=("honest_refund",),
    is_campaign=False,
)
