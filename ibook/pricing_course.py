"""How a sale goes on: which courses fit what was seen of it, and what is still to come in each.

A course is a burst after the opening that dies away, a plateau, and a rise before the start. Nobody says which one an
event takes: the way its offers are spread so far does, and the seats do, since a promoter books a house that about as
many want to fill as it holds. A rush is seen to be one while it lasts, and seen to end before it is over.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY_SECONDS = 86_400.0
BURSTS = np.array([0.1, 0.3, 0.6, 0.85, 1.0])
"""Share of all who want a ticket that comes in the burst after the opening. Every course is as likely as any other."""
DECAYS_SECONDS = np.geomspace(300.0, 30 * DAY_SECONDS, 18)
"""In so long the burst falls to 1/e: from a stadium's on-sale to interest that fades over a season."""
RISES = np.array([[0.0, DAY_SECONDS], [0.3, 2.5 * DAY_SECONDS], [0.64, 2.5 * DAY_SECONDS], [0.3, 7 * DAY_SECONDS],
                  [0.64, 7 * DAY_SECONDS]])  # fmt: skip
"""Share of the rest that comes in the rise before the start, and in how long the rise grows by e. Eventbrite and
TicketLeap saw about half of all sold in the last week; elsewhere there may be no rise at all."""
WANTED, SPREAD = 0.8, 0.6
"""Tickets wanted per seat are log-normal around the one, the other being the standard deviation of the logarithm.
Assumed."""
BUNCHED = 5.0
"""So many offers say as much of a course as one would if they came independently: buyers come in groups, look more
than once, and prices change between slots."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of a sale. Ages are in seconds since it opened."""

    edges: Sequence[float]
    """Ages between which offers were counted, ascending, shape ``(n + 1,)``."""
    counts: Sequence[float]
    """Offers, or anything proportional to them, shape ``(n,)``."""
    tickets: float
    """Tickets wanted by them at list price."""
    life: float
    """Age at which the event starts."""


def shares_by(ages: Floats, life: float) -> Floats:
    """How much of everything has come by these ages in each course; shape ``(n_ages, n_courses)``.

    >>> shares_by(np.array([0.0, 86_400.0]), 86_400.0)[:, 0].round(6).tolist()
    [0.0, 1.0]
    """
    age, decay = ages[:, None, None, None], DECAYS_SECONDS[None, None, None, :]
    burst = np.expm1(-age / decay) / np.expm1(-life / decay)
    in_rise, grows = RISES[None, None, :, 0, None], RISES[None, None, :, 1, None]
    before = np.exp(-life / grows)
    rise = (np.exp((age - life) / grows) - before) / (1.0 - before)
    late = (1.0 - in_rise) * age / life + in_rise * rise
    share = BURSTS[None, :, None, None]
    return np.asarray(share * burst + (1.0 - share) * late).reshape(len(ages), -1)


def still_to_come(seen: Seen, *, age: float, capacity: int) -> float:
    """Offers expected after `age` for each that was seen; `capacity` is in seats.

    The mean over courses by their likelihood, that of a Poisson process given how many came, times that of the tickets
    wanted in all.
    """
    ages = np.clip(np.array([*seen.edges, age]), 0.0, seen.life)
    shares = shares_by(ages, seen.life)
    parts = np.maximum(np.diff(shares[:-1], axis=0), 1e-12)
    whole = parts.sum(axis=0)
    spread = np.asarray(seen.counts, dtype=np.float64) @ np.log(parts / whole) / BUNCHED
    wanted = max(1.0, seen.tickets) / whole / max(1, capacity)
    log_weights = spread - 0.5 * (np.log(wanted / WANTED) / SPREAD) ** 2
    weights = np.exp(log_weights - log_weights.max())
    return float(weights @ ((1.0 - shares[-1]) / whole) / weights.sum())
