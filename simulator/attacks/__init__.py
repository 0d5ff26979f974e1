"""Ways to attack the shop, one module each: what the attackers do, how strongly, and what gives them away."""

from collections.abc import Callable
from functools import partial

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
from simulator.attacks.circle import Circle
from simulator.attacks.craft import Craft
from simulator.attacks.pattern import Pattern
from simulator.engine import Process

PATTERNS: dict[str, Pattern] = {
    pattern.name: pattern
    for pattern in (
        card_testing.BURST, card_testing.SLOW, account_takeover.PATTERN, stolen_card.PATTERN, scalper_ring.PATTERN,
        seat_hoarding.PATTERN, refund_abuse.PATTERN, friendly_fraud.PATTERN, resale_triangulation.PATTERN,
    )
}  # fmt: skip
"""Every pattern by its name."""
CAMPAIGNS = tuple(name for name, pattern in PATTERNS.items() if pattern.is_campaign)
"""Patterns whose purchases belong together; the others come one by one."""

Behaviour = Callable[[int | None], Process]
"""Begins an attack under a number, None where there are no campaigns."""


def behaviours(craft: Craft) -> dict[str, Behaviour]:
    """What each pattern does, in the scene of `craft`."""
    friends, returners = Circle(craft, friendly_fraud.HABIT), Circle(craft, refund_abuse.HABIT)
    return {
        card_testing.BURST.name: partial(card_testing.begin_burst, craft),
        card_testing.SLOW.name: partial(card_testing.begin_slow, craft),
        account_takeover.PATTERN.name: partial(account_takeover.begin, craft),
        stolen_card.PATTERN.name: partial(stolen_card.begin, craft),
        scalper_ring.PATTERN.name: partial(scalper_ring.begin, craft),
        seat_hoarding.PATTERN.name: partial(seat_hoarding.begin, craft),
        refund_abuse.PATTERN.name: lambda _: refund_abuse.begin(returners),
        friendly_fraud.PATTERN.name: lambda _: friendly_fraud.begin(friends),
        resale_triangulation.PATTERN.name: partial(resale_triangulation.begin, craft),
    }


__all__ = ["CAMPAIGNS", "PATTERNS", "Pattern", "behaviours"]
