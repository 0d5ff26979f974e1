"""What the events of a category and of a promoter were like: where a new event's demand curves start from.

A hierarchical Gaussian over curves, fitted as by expectation-maximisation: each event reports the moments of its
curves' posteriors, moments add up over events and partitions, and what they add up to is the next prior. Dempster,
Laird & Rubin (1977); the prior over the hierarchy is a normal-inverse-Wishart, Gelman et al. (2013), section 3.6.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import get_args

import numpy as np
from msgspec import Struct

from ibook.messages import Category, CurveMoments, EventListed, PricePrior, PriorScope
from ibook.pricing_demand import CurveFit, DemandPrior, Floats

MEAN_WORTH, SPREAD_WORTH = 0.05, 6.0
"""Ticket types that what one assumes without experience is worth: of the mean curve, and of how much curves differ."""
SPREAD = np.diag([0.3, 1.0, 0.1])
"""How much they are assumed to differ within a shop."""
NARROWER = 12.0
"""Ticket types that the prior of all events is worth beside those of a category, and the category's beside a
promoter's."""
NOTHING = CurveMoments(curves=0, sums=(0.0,) * 3, squares=(0.0,) * 9)

Name = tuple[PriorScope, str]


def added_up(parts: Iterable[CurveMoments]) -> CurveMoments:
    """Moments of all of them together."""
    return reduce(plus, parts, NOTHING)


def moments_of(fits: Iterable[CurveFit]) -> CurveMoments:
    """Moments of the posteriors of an event's curves: how many, their means, and their expected outer products."""
    return added_up(
        CurveMoments(curves=1, sums=_three(fit.mean), squares=_nine(fit.covariance + np.outer(fit.mean, fit.mean)))
        for fit in fits
    )


def plus(one: CurveMoments, other: CurveMoments, sign: float = 1.0) -> CurveMoments:
    """Moments of both together; with `sign` -1 of those of `one` that are not in `other`."""
    return CurveMoments(
        curves=one.curves + round(sign) * other.curves,
        sums=_three(np.array(one.sums) + sign * np.array(other.sums)),
        squares=_nine(np.array(one.squares) + sign * np.array(other.squares)),
    )


def pooled(prior: DemandPrior, moments: CurveMoments, *, mean_worth: float, spread_worth: float,
           assumed: Floats | None = None) -> DemandPrior:  # fmt: skip
    """The prior after these curves; the same one when there are none. `assumed` is how much curves differ, shape
    ``(3, 3)``; as the prior says by default."""
    if moments.curves <= 0:
        return prior
    assumed = np.array(prior.covariance) if assumed is None else assumed
    n, before = moments.curves, np.array(prior.mean)
    mean = np.array(moments.sums) / n
    within = np.array(moments.squares).reshape(3, 3) - n * np.outer(mean, mean)
    apart = np.outer(mean - before, mean - before) * mean_worth * n / (mean_worth + n)
    spread = (spread_worth * assumed + within + apart) / (spread_worth + n)
    spread = (spread + spread.T) / 2 * (1.0 + 1.0 / (mean_worth + n))
    centre = (mean_worth * before + n * mean) / (mean_worth + n)
    return DemandPrior(mean=_three(centre), covariance=(_three(spread[0]), _three(spread[1]), _three(spread[2])))


def names_of(listing: EventListed) -> list[Name]:
    """What an event's prior is made of: all categories, and its promoter."""
    return [*(("category", category) for category in get_args(Category)), ("promoter", listing.promoter_id)]


def prior_of(listing: EventListed, parts: Sequence[Mapping[Name, CurveMoments]]) -> DemandPrior:
    """What an event starts from: all events, more like those of its category, and still more those of its promoter.

    `parts` are partitions, or whatever else moments add up over.
    """
    known = {name: added_up(part.get(name, NOTHING) for part in parts) for name in names_of(listing)}
    every = added_up(moments for (scope, _), moments in known.items() if scope == "category")
    prior = pooled(DemandPrior(), every, mean_worth=MEAN_WORTH, spread_worth=SPREAD_WORTH, assumed=SPREAD)
    names: tuple[Name, Name] = ("category", listing.category), ("promoter", listing.promoter_id)
    for name in names:
        prior = pooled(prior, known[name], mean_worth=NARROWER, spread_worth=NARROWER)
    return prior


class _Told(Struct, frozen=True):
    names: tuple[Name, Name]
    moments: CurveMoments


class Experience:
    """What the events of some partition teach one another: each is replaced by what it teaches later."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._totals: dict[Name, CurveMoments] = {}

    def __contains__(self, event_id: str) -> bool:
        """Whether an event was noted."""
        return event_id in self._told

    def note(self, listing: EventListed, moments: CurveMoments) -> None:
        """What an event's curves are like by now."""
        self.forget(listing.event_id)
        names: tuple[Name, Name] = ("category", listing.category), ("promoter", listing.promoter_id)
        self._told[listing.event_id] = _Told(names, moments)
        for name in names:
            self._totals[name] = plus(self._totals.get(name, NOTHING), moments)

    def forget(self, event_id: str) -> None:
        """An event teaches nothing any more."""
        told = self._told.pop(event_id, None)
        for name in told.names if told else ():
            self._totals[name] = plus(self._totals[name], told.moments, -1.0) if told else NOTHING

    def totals(self) -> Mapping[Name, CurveMoments]:
        """All added up, by category and by promoter."""
        return self._totals

    def for_others(self, listing: EventListed) -> dict[Name, CurveMoments]:
        """What all but this event teach it: nobody learns twice from the same offers."""
        told = self._told.get(listing.event_id)
        known = {name: self._totals.get(name, NOTHING) for name in names_of(listing)}
        for name in told.names if told else ():
            known[name] = plus(known.get(name, NOTHING), told.moments, -1.0) if told else NOTHING
        return known


def key_of(prior: PricePrior) -> str:
    """The key of a message: one per scope, name and partition."""
    return f"{prior.scope}/{prior.name}/{prior.partition}"


def _three(values: Floats) -> tuple[float, float, float]:
    first, second, third = (float(one) for one in values)
    return first, second, third


def _nine(values: Floats) -> tuple[float, float, float, float, float, float, float, float, float]:
    first, second, third = values.reshape(3, 3)
    return (*_three(first), *_three(second), *_three(third))
