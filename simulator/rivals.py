"""What a competitor asks for tickets of the same event: hidden, slow, the same on every machine."""

from dataclasses import dataclass
from math import pi, sin
from random import Random

LEVEL = (0.92, 1.15)
"""Range of a competitor's usual price, relative to our list price. Assumed."""
SWING = 0.16
"""How far it moves up and down from there, at most. Assumed."""
PERIOD_DAYS = ((9.0, 16.0), (20.0, 60.0))
"""Ranges of the two periods it moves with: a few per cent in a day, not more."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A competitor's price for one event, relative to our list price; waves are (period in days, phase)."""

    level: float
    waves: tuple[tuple[float, float], ...]

    def factor(self, day: int) -> float:
        """Its price on a day since the epoch, relative to our list price."""
        swing = sum(sin(2 * pi * day / period + phase) for period, phase in self.waves) / len(self.waves)
        return self.level + SWING * swing

    def price_minor(self, list_price_minor: int, day: int) -> int:
        """What it asks for a ticket type on a day, in steps of 10 minor units.

        >>> Rival(1.1, ((10.0, 0.0),)).price_minor(2000, 0)
        2200
        """
        return round(list_price_minor * self.factor(day) / 10) * 10


def draw_rival(rng: Random) -> Rival:
    """A competitor."""
    waves = tuple((rng.uniform(*span), rng.uniform(0, 2 * pi)) for span in PERIOD_DAYS)
    return Rival(rng.uniform(*LEVEL), waves)
