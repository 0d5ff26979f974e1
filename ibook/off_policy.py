"""What a policy would have earned, from the log of another one: off-policy evaluation.

The log says for each decision its arm, the probability with which it was drawn (the propensity) and its reward. An
estimate weighs each reward by P(arm | candidate) / P(arm | log). Intervals are of 95 %, clustered: decisions of one
cluster (a price slot, a user) may depend on one another, clusters do not. All estimates are ratios of sums over
clusters, and their spread is that of the linear part, with Student's t for the number of clusters that count.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.special
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Name = Literal["logged", "ips", "snips", "dr", "replay"]
LEVEL = 0.95
FEWEST_EFFECTIVE = 100.0
"""With a smaller effective sample an interval is not to be relied on: a few decisions with large weights say it all."""
HEAVIEST = 0.05
"""A single cluster that carries more of all weight says that support is thin."""


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Logged decisions, in arrays of shape ``(n,)``; a row may stand for several equal ones.

    `weights` are P(arm | candidate) / P(arm | log), 0 where the candidate would never have done so. `model` and
    `baseline` are of a reward model: its rewards for the logged arm, and for the arms the candidate would have drawn.
    """

    weights: Floats
    reward: Floats
    """Sum over the row's decisions."""
    n: Floats
    """Decisions in the row."""
    clusters: NDArray[np.int64]
    """Numbers of clusters, from 0."""
    model: Floats | None = None
    baseline: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Reward per decision, with its interval of 95 %; `effective` is how many clusters of equal weight it is worth."""

    name: Name
    value: float
    low: float
    high: float
    effective: float


# ---------------------------------------------------------------------------------------------------------- estimators
def logged(log: Decisions) -> Estimate:
    """What the policy that decided then earned."""
    return _ratio("logged", log, log.reward, log.n, np.ones_like(log.weights))


def ips(log: Decisions) -> Estimate:
    """Inverse propensity scoring: unbiased, and of large variance. Horvitz & Thompson (1952)."""
    return _ratio("ips", log, log.weights * log.reward, log.n, log.weights)


def snips(log: Decisions) -> Estimate:
    """Self-normalised: divided by the weights, not by their expectation. Swaminathan & Joachims (2015)."""
    return _ratio("snips", log, log.weights * log.reward, log.weights * log.n, log.weights)


def doubly_robust(log: Decisions) -> Estimate:
    """A reward model, corrected by weighed residuals: right when either is. Dudík, Langford & Li (2011).

    Raises ValueError without a model.
    """
    if log.model is None or log.baseline is None:
        raise ValueError("doubly robust estimates need a reward model")
    residual = log.weights * (log.reward - log.n * log.model)
    return _ratio("dr", log, log.n * log.baseline + residual, log.n, log.weights)


def replay(log: Decisions, rng: np.random.Generator) -> Estimate:
    """The decisions that the candidate would have made, too, as if they were its own: Li, Chu, Langford & Wang (2011).

    A log whose propensities differ is thinned first, by rejection (Mandel et al. 2016): a row is kept with probability
    weight / largest weight, which for a log drawn evenly and a candidate that is sure of its arm keeps each match.
    """
    largest = float(log.weights.max(initial=0.0))
    kept = (rng.random(len(log.weights)) * largest < log.weights).astype(np.float64)
    return _ratio("replay", log, kept * log.reward, kept * log.n, kept)


def _ratio(name: Name, log: Decisions, earned: Floats, n: Floats, weights: Floats) -> Estimate:
    """The ratio of the sums of `earned` and `n`, and its interval over clusters."""
    top, bottom = (_per_cluster(log, each) for each in (earned, n))
    mass = _per_cluster(log, weights * log.n)
    effective = _effective(mass)
    if bottom.sum() <= 0.0:
        return Estimate(name=name, value=float("nan"), low=float("nan"), high=float("nan"), effective=0.0)
    value = float(top.sum() / bottom.sum())
    # As if each cluster had been left out: those that weigh much have drawn the estimate to themselves (HC3).
    leverage = np.maximum(bottom / bottom.sum(), mass / mass.sum() if mass.any() else 0.0)
    residual = (top - value * bottom) / np.maximum(1.0 - leverage, 0.5)
    error = float(np.sqrt(np.sum(residual**2)) / bottom.sum())
    reach = float(scipy.special.stdtrit(max(effective - 1.0, 1.0), (1.0 + LEVEL) / 2.0))
    low, high = (value - error * _unskewed(side * reach, residual) for side in (1.0, -1.0))
    return Estimate(name=name, value=value, low=low, high=high, effective=effective)


def _per_cluster(log: Decisions, values: Floats) -> Floats:
    return np.asarray(np.bincount(log.clusters, weights=values), dtype=np.float64)


def _unskewed(quantile: float, residual: Floats) -> float:
    """The quantile of a studentised sum whose terms are skewed, as those with a few large weights are.

    Hall (1992), On the removal of skewness by transformation, the inverse of his cubic.
    """
    n = len(residual)
    variance = float(np.mean(residual**2))
    scaled = float(np.mean(residual**3)) / variance**1.5 / n**0.5 if variance > 0.0 else 0.0
    if abs(scaled) < 1e-6:
        return quantile
    return 3.0 / scaled * (float(np.cbrt(1.0 + scaled * (quantile - scaled / 6.0))) - 1.0)


def _effective(mass: Floats) -> float:
    """Kish's effective sample size of clusters.

    >>> _effective(np.array([1.0, 1.0, 1.0, 0.0]))
    3.0
    """
    return float(mass.sum() ** 2 / np.sum(mass**2)) if mass.any() else 0.0


def difference(log: Decisions, *, robust: bool) -> Estimate:
    """The candidate's reward per decision less the log's own, over the same clusters: narrower than the two apart."""
    earned = log.weights * log.reward
    if robust and log.model is not None and log.baseline is not None:
        earned = log.n * log.baseline + log.weights * (log.reward - log.n * log.model)
    return _ratio("dr" if robust else "ips", log, earned - log.reward, log.n, log.weights)


# ------------------------------------------------------------------------------------------------------------- support
@dataclass(frozen=True, kw_only=True)
class Support:
    """How far the log can speak for the candidate."""

    clusters: int
    effective: float
    """Clusters of equal weight that the weights are worth."""
    mean_weight: float
    """1 when the log's policy tries all that the candidate does; below, that share of the candidate is covered."""
    mean_weight_high: float
    """Upper end of its 95 % interval."""
    largest_weight: float
    heaviest: float
    """Share of all weight that one cluster carries."""


def support(log: Decisions) -> Support:
    """Of a log for a candidate."""
    covered = _ratio("ips", log, log.weights * log.n, log.n, log.weights)
    mass = _per_cluster(log, log.weights * log.n)
    heaviest = float(mass.max() / mass.sum()) if mass.any() else 0.0
    return Support(
        clusters=len(mass), effective=_effective(mass), mean_weight=covered.value, mean_weight_high=covered.high,
        largest_weight=float(log.weights.max(initial=0.0)), heaviest=heaviest,
    )  # fmt: skip


def warnings(found: Support) -> list[str]:
    """What speaks against relying on the estimates, each in a sentence."""
    told = []
    if found.effective == 0.0:
        return ["The log never did what the candidate does: it says nothing of it."]
    if found.mean_weight_high < 1.0:
        told.append(
            f"The log covers {found.mean_weight:.0%} of what the candidate does; the rest was never tried. "
            "Estimates by weights alone are too low, self-normalised ones speak of the covered part."
        )
    if found.effective < FEWEST_EFFECTIVE:
        told.append(
            f"The weights are worth {found.effective:.0f} of {found.clusters:,} clusters: too few to rely on. "
            "Log longer, or try a candidate nearer to what decides now."
        )
    if found.heaviest > HEAVIEST:
        told.append(f"One cluster carries {found.heaviest:.0%} of all weight.")
    return told
