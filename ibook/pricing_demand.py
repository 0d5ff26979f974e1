"""What offers teach about demand: a curve for all prices of a ticket type, and a Beta posterior of each price.

Hierarchical: an event's logit curve comes from what its category's and promoter's events were like (`DemandPrior`), and
P(sale | offer) of each price comes from a Beta around the curve that is worth `LOYALTY` offers. So prices that were
never shown borrow from those that were, a new event borrows from its peers, and evidence overrules both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import scipy.special
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Three = tuple[float, float, float]
TileSums = Mapping[int, tuple[int, int]]
"""Tile start in seconds since the epoch -> offers, sales."""
PriceSums = Mapping[int, TileSums]
"""Price in minor units -> its tiles."""

LOYALTY = 4000.0
"""Offers that the curve is worth beside a price's own."""
STEEPEST, FLATTEST = -12.0, -0.02
"""Slopes outside are clipped: dearer tickets never sell better, and no curve is a cliff."""
RIVAL_REACH = 0.25
"""How far above a competitor's price everybody who compares is gone."""
NEWTON_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class DemandPrior:
    """A Gaussian over curves: log-odds of a sale at list price, slope per 100 % of it, slope per 100 % above a rival's.

    By default that of no experience at all: about one offer in ten sells, or far more, or far fewer. The elasticity of
    a logit choice at list price is slope * (1 - P); it is near that of studies of sport and culture, -1.2 and 0.5
    around it, whatever P is, so slope and log-odds are correlated.
    """

    mean: Three = (-2.2, -1.35, -0.5)
    covariance: tuple[Three, Three, Three] = ((4.0, -2.3, 0.0), (-2.3, 2.2, 0.0), (0.0, 0.0, 0.25))

    @classmethod
    def of(cls, curve: "CurveFit") -> "DemandPrior":
        """What is believed of a curve as the prior of what comes next."""
        first, second, third = (_three(row) for row in curve.covariance)
        return cls(mean=_three(curve.mean), covariance=(first, second, third))


def _three(values: Floats) -> Three:
    first, second, third = (float(one) for one in values)
    return first, second, third


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Decayed offers and sales per price, shape ``(n_prices,)`` each; `design` is ``(n_prices, 3)``."""

    prices: Floats
    design: Floats
    offers: Floats
    sales: Floats


@dataclass(frozen=True, kw_only=True)
class CurveFit:
    """The posterior of a curve, as a Gaussian: `mean` of shape ``(3,)``, `covariance` ``(3, 3)``."""

    mean: Floats
    covariance: Floats


def decayed(tiles: TileSums, *, as_of: datetime, half_life_seconds: float) -> tuple[float, float]:
    """Offers and sales of a price, each tile halved per half-life of age."""
    now = as_of.timestamp()
    offers = sales = 0.0
    for start, (n_offers, n_sales) in sorted(tiles.items()):
        weight = 0.5 ** (max(0.0, now - start) / half_life_seconds)
        offers += weight * n_offers
        sales += weight * n_sales
    return offers, sales


def counts_of(prices: Sequence[int], list_price_minor: int, sums: PriceSums, *, as_of: datetime,
              half_life_seconds: float, rival_minor: int | None = None) -> Counts:  # fmt: skip
    """What is known of these prices. Prices no longer drawn are evidence too: they come last."""
    every = [*prices, *sorted(set(sums) - set(prices))]
    pairs = [decayed(sums.get(price, {}), as_of=as_of, half_life_seconds=half_life_seconds) for price in every]
    offers, sales = np.array(pairs, dtype=np.float64).T
    values = np.array(every, dtype=np.float64)
    return Counts(
        prices=values, design=_design(values, list_price_minor, rival_minor),
        offers=np.maximum(offers, 0.0), sales=np.clip(sales, 0.0, np.maximum(offers, 0.0)),
    )  # fmt: skip


def _design(prices: Floats, list_price_minor: int, rival_minor: int | None) -> Floats:
    above = np.zeros(len(prices))
    if rival_minor:
        above = np.clip(prices / rival_minor - 1.0, 0.0, RIVAL_REACH)
    return np.column_stack([np.ones(len(prices)), prices / list_price_minor - 1.0, above])


def fit(counts: Counts, prior: DemandPrior, *, beside: Floats | None = None) -> CurveFit:
    """The curve's posterior in Laplace's approximation, by Newton's method; Bishop (2006), section 4.5.

    A price's offers are worth less than their number, since they lie around the curve and not on it: n offers around
    it by `LOYALTY` weigh as n / (1 + (n - 1) / (LOYALTY + 1)) on it, the beta-binomial's design effect. Where these are
    a part of a price's offers, `beside` is how many there are in all, shape ``(n_prices,)``.
    """
    offers, sales = _weighed(counts, beside)
    mean, precision = np.array(prior.mean), np.linalg.inv(np.array(prior.covariance))
    theta = mean.copy()
    information = precision
    for _ in range(NEWTON_STEPS):
        chance = _probability(counts.design @ theta)
        gradient = counts.design.T @ (sales - offers * chance) - precision @ (theta - mean)
        information = counts.design.T @ (counts.design * (offers * chance * (1.0 - chance))[:, None]) + precision
        step = np.clip(np.linalg.solve(information, gradient), -2.0, 2.0)
        theta = theta + step
        if np.abs(step).max() < 1e-6:
            break
    return CurveFit(mean=theta, covariance=np.linalg.inv(information).astype(np.float64))


def _weighed(counts: Counts, beside: Floats | None) -> tuple[Floats, Floats]:
    of = counts.offers if beside is None else beside
    weights = 1.0 / (1.0 + np.maximum(of - 1.0, 0.0) / (LOYALTY + 1.0))
    return counts.offers * weights, counts.sales * weights


def log_evidence(counts: Counts, curve: CurveFit, prior: DemandPrior, *, beside: Floats | None = None) -> float:
    """Logarithm of how likely such sales are under a prior, in Laplace's approximation around the `curve` that was
    fitted to them; Bishop (2006), section 4.4.1. Without the binomial coefficients: they are the same for all."""
    offers, sales = _weighed(counts, beside)
    log_odds = counts.design @ curve.mean
    covariance = np.array(prior.covariance)
    away = curve.mean - np.array(prior.mean)
    occam = np.linalg.slogdet(curve.covariance)[1] - np.linalg.slogdet(covariance)[1]
    likelihood = float(sales @ log_odds - offers @ np.logaddexp(0.0, log_odds))
    return likelihood + 0.5 * float(occam - away @ np.linalg.solve(covariance, away))


def _probability(log_odds: Floats) -> Floats:
    return np.clip(scipy.special.expit(log_odds), 1e-6, 1.0 - 1e-6)


def sample(counts: Counts, curve: CurveFit, n_prices: int, rng: np.random.Generator, n_draws: int) -> Floats:
    """P(sale | offer) of the first `n_prices` prices drawn from their joint posterior, shape ``(n_draws, n_prices)``.

    First a curve, then each price's Beta around it, with its own offers and sales.
    """
    thetas = rng.multivariate_normal(curve.mean, curve.covariance, size=n_draws, method="cholesky")
    thetas[:, 1] = np.clip(thetas[:, 1], STEEPEST, FLATTEST)
    thetas[:, 2] = np.minimum(thetas[:, 2], 0.0)
    on_curve = _probability(thetas @ counts.design[:n_prices].T)
    sold, offered = counts.sales[:n_prices], counts.offers[:n_prices]
    return rng.beta(LOYALTY * on_curve + sold, LOYALTY * (1.0 - on_curve) + offered - sold)


def beta_of(draws: Floats) -> tuple[Floats, Floats]:
    """Parameters of River's Betas with the means and variances of draws, shape ``(n_draws, n_prices)``: the marginal
    posterior of each price.

    >>> alpha, beta = beta_of(np.random.default_rng(1).beta(20.0, 60.0, size=(20_000, 1)))
    >>> round(alpha[0]), round(beta[0])
    (20, 60)
    """
    average, variance = draws.mean(axis=0), draws.var(axis=0)
    strength = np.maximum(average * (1.0 - average) / np.maximum(variance, 1e-12) - 1.0, 1e-3)
    return average * strength, (1.0 - average) * strength
