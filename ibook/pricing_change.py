"""Whether demand has changed since some moment: then what was learned before counts for less, at once.

Evidence that fades by half in a month is forgotten too slowly after demand has shifted, and too soon where it stands
still. So beside "nothing changed" several moments are held possible, each with its own curves: fitted to the offers
before it, loosened by `CHANGED`, and fitted on to those after it. How likely each moment is follows from how well it
explains the offers of all ticket types of an event together. Adams & MacKay (2007), Bayesian Online Changepoint
Detection, with the evidence of each stretch in Laplace's approximation; Bishop (2006), section 4.4.1.

All of it follows from the sums, so a sale that is taken back leaves no trace, and a restart believes the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf

import numpy as np

from ibook.messages import EventListed, TicketType
from ibook.pricing import PricingRules, arm_prices
from ibook.pricing_demand import Counts, CurveFit, DemandPrior, Floats, PriceSums, counts_of, fit, log_evidence, sample

TILES_AGO = (1, 2, 3, 5, 8)
"""Demand may have changed before so many of the newest tiles of the sums."""
CHANCE = 0.05
"""Of a change at one of them, before the offers are looked at. Assumed."""
CHANGED = np.array([[0.5, 0.25, 0.0], [0.25, 0.5, 0.0], [0.0, 0.0, 0.0]])
"""How much a curve differs after a change: the covariance of its parameters, in the order of `DemandPrior`. By 0.7 in
the log-odds, so that half as many or half as many again may buy; who values tickets more minds prices less, so level
and slope change together. Assumed."""


@dataclass(frozen=True)
class Explained:
    """A ticket type's offers if demand changed at one moment, or never did."""

    counts: Counts
    """What bears on demand as it is now."""
    curve: CurveFit
    log_evidence: float
    """Logarithm of how likely all its offers are so, but for a constant that is the same for every moment."""


def moments(every: Sequence[PriceSums]) -> list[int]:
    """When demand may have changed, in seconds since the epoch: where tiles begin, of all ticket types of an event.

    >>> moments([{500: {0: (5, 1), 100: (2, 1)}}, {900: {300: (1, 0)}}])
    [300, 100]
    """
    starts = sorted({start for sums in every for tiles in sums.values() for start in tiles}, reverse=True)
    return [starts[ago - 1] for ago in TILES_AGO if ago < len(starts)]


def explained(listing: EventListed, every: Mapping[str, PriceSums], *, as_of: datetime, rules: PricingRules,
              rivals: Mapping[str, int], prior: DemandPrior) -> list[list[Explained]]:  # fmt: skip
    """For each ticket type its curves if nothing changed, and if demand changed at each of the event's `moments`.

    `every` are sums by ticket type, `rivals` what the cheapest competitor asks for it, in minor units.
    """
    when = moments([every.get(ticket.name, {}) for ticket in listing.ticket_types])
    return [
        _of_type(when, ticket, every.get(ticket.name, {}), as_of, rules, rivals.get(ticket.name), prior)
        for ticket in listing.ticket_types
    ]


def _of_type(when: Sequence[int], ticket: TicketType, sums: PriceSums, as_of: datetime, rules: PricingRules,
             rival_minor: int | None, prior: DemandPrior) -> list[Explained]:  # fmt: skip
    prices = arm_prices(ticket, rules.multipliers)

    def counted(start: float, end: float) -> Counts:
        return counts_of(
            prices, ticket.list_price_minor, _between(sums, start, end), as_of=as_of,
            half_life_seconds=rules.half_life_seconds, rival_minor=rival_minor,
        )  # fmt: skip

    always = counted(-inf, inf)
    steady = fit(always, prior)
    changed = [_changed(counted(-inf, at), counted(at, inf), prior, beside=always.offers) for at in when]
    return [Explained(always, steady, log_evidence(always, steady, prior)), *changed]


def _between(sums: PriceSums, start: float, end: float) -> PriceSums:
    """The tiles of `[start, end)`; every price stays, so that arrays keep their shapes."""
    return {price: {tile: cell for tile, cell in tiles.items() if start <= tile < end} for price, tiles in sums.items()}


def _changed(before: Counts, after: Counts, prior: DemandPrior, *, beside: Floats) -> Explained:
    """`beside` are all offers per price: by them each offer weighs, the same as if nothing had changed."""
    earlier = fit(before, prior, beside=beside)
    loosened = DemandPrior.of(CurveFit(mean=earlier.mean, covariance=earlier.covariance + CHANGED))
    curve = fit(after, loosened, beside=beside)
    evidence = log_evidence(before, earlier, prior, beside=beside) + log_evidence(after, curve, loosened, beside=beside)
    return Explained(after, curve, evidence)


def likely(by_type: Sequence[Sequence[Explained]]) -> Floats:
    """How likely nothing changed, and a change at each moment; sums to 1. All ticket types bear witness together."""
    logs = np.array([[one.log_evidence for one in ways] for ways in by_type]).sum(axis=0)
    if len(logs) > 1:
        logs[0] += np.log(1.0 - CHANCE)
        logs[1:] += np.log(CHANCE / (len(logs) - 1))
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def mixed(ways: Sequence[Explained], weights: Floats) -> CurveFit:
    """One Gaussian with mean and covariance of them all."""
    means = np.array([one.curve.mean for one in ways])
    mean = weights @ means
    apart = means - mean
    covariance = np.einsum("h,hij->ij", weights, np.array([one.curve.covariance for one in ways]))
    return CurveFit(mean=mean, covariance=covariance + np.einsum("h,hi,hj->ij", weights, apart, apart))


def draws_of(ways: Sequence[Explained], weights: Floats, n_prices: int, rng: np.random.Generator,
             n_draws: int) -> Floats:  # fmt: skip
    """As `ibook.pricing_demand.sample`, from each in proportion to its weight; a row is of the same moment for all
    ticket types of an event."""
    ends = np.round(np.cumsum(weights) * n_draws).astype(int)
    sizes = np.diff(ends, prepend=0)
    return np.concatenate([
        sample(one.counts, one.curve, n_prices, rng, int(size))
        for one, size in zip(ways, sizes, strict=True) if size
    ])  # fmt: skip
