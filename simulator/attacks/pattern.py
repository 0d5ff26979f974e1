"""What is to be known about a way to attack the shop, whoever carries it out."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One way to attack. What it does, and how strongly, stands in the module of its name."""

    name: str
    kind: Literal["fraud", "abuse"]
    """Fraud is what a card holder disputes; abuse never becomes a chargeback."""
    share: float
    """Share of all purchases that it makes up on average, while it is around."""
    typical_purchases: float
    """Purchases one launch tries on average where the shop stops few of them; measured."""
    tell: str
    """What gives it away, in plain words."""
    look_alikes: tuple[str, ...]
    """Honest circumstances that resemble it, by the names the truth gives them."""
    begins: float = 0.0
    """Share of a run after which it first appears."""
    is_campaign: bool = True
    """Whether the purchases of one launch belong together under a number."""
