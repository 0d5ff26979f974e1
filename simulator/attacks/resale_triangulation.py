"""Resale triangulation: tickets are sold cheaply elsewhere, and bought here with a stolen card once somebody has paid.

The accounts are old, bought with a clean past, and keep to one device of their own; every customer's order is paid
with another stolen card from an address in the card's country, and the tickets are handed to that customer soon after.
Orders come when customers come, hours apart, never in bursts, and no login fails. It appears only late in a run: a
model trained before has never seen it.
"""

from simulator.attacks.pattern import Pattern

PATTERN = Pattern(
    name="resale-triangulation",
    kind="fraud",
    share=0.005,
    typical_purchases=6.0,
    tell=(
        "An old account on its usual device pays each order with another card from another address, and "
        "hands every order on."
    ),
    look_alikes=("several_cards", "new_device"),
    begins=0.7,
)
