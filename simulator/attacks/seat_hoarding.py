"""Seat hoarding: bots put seats of one event into carts, let them go when the time is up, and hold them again.

Nobody else can buy these seats meanwhile. A few are bought, when a customer for them was found elsewhere.
"""

from simulator.attacks.pattern import Pattern

PATTERN = Pattern(
    name="seat-hoarding",
    kind="abuse",
    share=0.0015,
    typical_purchases=3.0,
    tell=("Holds as regular as a clock on one event, far more of them than purchases, from a handful of devices."),
    look_alikes=("window_shopper", "fan_club"),
)
