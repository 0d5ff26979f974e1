"""A stolen card, used once or twice by somebody who bought its number: the fraud that is always there.

A fresh or bought account on a device of their own, mostly behind a proxy in the card's country. One person, one card,
no campaign: nothing repeats that could be counted.
"""

from simulator.attacks.pattern import Pattern

PATTERN = Pattern(
    name="stolen-card",
    kind="fraud",
    share=0.006,
    typical_purchases=1.2,
    tell=(
        "A card that another account pays with, on a device nobody saw before, often from a young account "
        "or another country."
    ),
    look_alikes=("new_user", "traveller", "several_cards"),
    is_campaign=False,
)
