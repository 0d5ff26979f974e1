"""Ways to attack the shop, one module each: what the attackers do, how strongly, and what gives them away."""

from simulator.attacks import (
    account_takeover,
    card_testing,
    friendly_fraud,
    refund_abuse,
    resale_triangulation,
    scalper_ring,
    seat_hoarding,
    stolen_card,
)
from simulator.attacks.pattern import Pattern

PATTERNS: dict[str, Pattern] = {
    pattern.name: pattern
    for pattern in (
        card_testing.BURST, card_testing.SLOW, account_takeover.PATTERN, stolen_card.PATTERN, scalper_ring.PATTERN,
        seat_hoarding.PATTERN, refund_abuse.PATTERN, friendly_fraud.PATTERN, resale_triangulation.PATTERN,
    )
}  # fmt: skip
"""Every pattern by its name."""

__all__ = ["PATTERNS", "Pattern"]
