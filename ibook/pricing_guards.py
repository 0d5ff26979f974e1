"""What no price may do, whatever has been learned: leave its bounds, jump, or never be tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ibook.messages import ArmProbabilities, EventListed, TicketType

PROBABILITY_FLOOR = 0.02
"""Every allowed arm keeps being tried, so that its propensity never makes a weight explode."""
UNITS = 1 << 16
"""Probabilities are multiples of 1/UNITS: exact in a float, so they sum to exactly 1."""
HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Anchor:
    """The price an hour's prices keep near to, in minor units, and the number of that hour since the epoch."""

    price_minor: int
    hour: int


def hour_of(slot: int, slot_seconds: float) -> int:
    """The hour since the epoch that a slot begins in."""
    return int(slot * slot_seconds // HOUR_SECONDS)


def next_anchor(ticket: TicketType, last: ArmProbabilities | None, hour: int) -> Anchor:
    """The mean price of the last policy of an earlier hour; within the hour it stays; the list price to begin with."""
    if last is None or last.anchor_minor == 0 or last.list_price_minor != ticket.list_price_minor:
        return Anchor(ticket.list_price_minor, hour)
    if last.anchor_hour >= hour:
        return Anchor(last.anchor_minor, last.anchor_hour)
    return Anchor(round(expected_price(last)), hour)


def opening_anchor(ticket: TicketType, hour: int) -> Anchor:
    """The list price, and none of this hour's: what the sale's first hour ends with is the next one's anchor."""
    return Anchor(ticket.list_price_minor, hour - 1)


def is_opening(listing: EventListed, start: datetime) -> bool:
    """Whether a slot that begins at `start` is before or in the first hour of the sale: few have seen a price yet."""
    return start < listing.on_sale_at + timedelta(seconds=HOUR_SECONDS)


def expected_price(arms: ArmProbabilities) -> float:
    """Mean of the drawn price, in minor units."""
    return sum(price * each for price, each in zip(arms.prices_minor, arms.probabilities, strict=True))


def allowed(prices: Sequence[int], ticket: TicketType, anchor: Anchor, step: float) -> NDArray[np.bool_]:
    """Which prices lie within `step` times the list price of the hour's anchor; at least the nearest one does."""
    values = np.asarray(prices, dtype=np.float64)
    distance = np.abs(values - anchor.price_minor)
    within = distance <= step * ticket.list_price_minor + 0.5
    within[int(np.argmin(distance))] = True
    return within


def with_floor(shares: NDArray[np.float64], floor: float = PROBABILITY_FLOOR) -> list[float]:
    """Shares that sum to about 1 as probabilities of at least `floor` that sum to exactly 1.

    What the floors leave is shared out in whole UNITS by largest remainder.

    >>> with_floor(np.array([0.0, 1.0]))
    [0.0200042724609375, 0.9799957275390625]
    """
    lowest = int(np.ceil(floor * UNITS))
    free = UNITS - lowest * len(shares)
    quotas = np.asarray(shares, dtype=np.float64) / np.sum(shares) * free
    units = np.floor(quotas).astype(np.int64)
    remainders = np.argsort(units - quotas, kind="stable")
    units[remainders[: free - int(units.sum())]] += 1
    return [(lowest + int(one)) / UNITS for one in units]


def guarded(shares: NDArray[np.float64], within: NDArray[np.bool_], floor: float = PROBABILITY_FLOOR) -> list[float]:
    """Probabilities that sum to exactly 1: 0 where it is not allowed, the floor at least where it is.

    >>> guarded(np.array([0.25, 0.75]), np.array([False, True]))
    [0.0, 1.0]
    """
    probabilities = [0.0] * len(shares)
    for arm, probability in zip(np.flatnonzero(within), with_floor(shares[within], floor), strict=True):
        probabilities[int(arm)] = probability
    return probabilities
