"""Whether demand has changed: found where it has, not where it has not, and forgotten accordingly."""

from datetime import UTC, datetime

import numpy as np
import pytest
from msgspec.structs import replace
from scipy.integrate import dblquad
from scipy.special import expit
from scipy.stats import multivariate_normal

from ibook.messages import TicketType
from ibook.pricing import PricingRules
from ibook.pricing_change import Explained, draws_of, explained, likely, mixed, moments
from ibook.pricing_demand import Counts, DemandPrior, fit, log_evidence
from tests.unit.test_pricing_bandit import LISTING

DAY = 86_400
PRICES = [4000, 4500, 5000, 5500, 6000]
RULES = PricingRules(multipliers=(0.8, 0.9, 1.0, 1.1, 1.2), half_life_seconds=30.0 * DAY)
AS_OF = datetime.fromtimestamp(40 * DAY, UTC)
Cells = dict[int, dict[int, tuple[int, int]]]


def sold(levels: list[float], *, offers: int = 40, slope: float = -2.0, seed: int = 1) -> Cells:
    """So many offers of each price in each tile of four days; `levels` are the log-odds of a sale at 50.00, by tile."""
    rng = np.random.default_rng(seed)
    return {
        price: {
            4 * DAY * tile: (offers, int(rng.binomial(offers, expit(level + slope * (price / 5000 - 1.0)))))
            for tile, level in enumerate(levels)
        }
        for price in PRICES
    }


def explain(every: list[Cells]) -> list[list[Explained]]:
    names = [str(number) for number in range(len(every))]
    types = [TicketType(name=name, list_price_minor=5000, floor_minor=4000, cap_minor=6000) for name in names]
    return explained(
        replace(LISTING, ticket_types=types), dict(zip(names, every, strict=True)), as_of=AS_OF, rules=RULES,
        rivals={}, prior=DemandPrior(),
    )  # fmt: skip


def test_a_shift_of_demand_is_found_where_it_was() -> None:
    every = [sold([0.0] * 7 + [-0.8] * 3, seed=seed) for seed in (1, 2)]
    weights = likely(explain(every))
    assert weights[0] < 0.01
    assert moments(every)[int(np.argmax(weights)) - 1] == 7 * 4 * DAY


@pytest.mark.parametrize("seed", range(8))
def test_demand_that_stands_still_is_left_at_what_was_learned(seed: int) -> None:
    weights = likely(explain([sold([0.0] * 10, seed=seed), sold([-1.0] * 10, seed=100 + seed)]))
    assert weights[0] > 0.8


def test_ticket_types_bear_witness_together() -> None:
    levels = [0.0] * 8 + [0.45] * 2
    alone = [likely(explain([sold(levels, offers=15, seed=seed)]))[0] for seed in range(6)]
    together = likely(explain([sold(levels, offers=15, seed=seed) for seed in range(6)]))[0]
    assert together < 0.1 * float(np.mean(alone))


def test_after_a_shift_the_curve_is_that_of_the_offers_since() -> None:
    [one] = explain([sold([0.0] * 7 + [-0.8] * 3)])
    curve = mixed(one, likely([one]))
    assert abs(curve.mean[0] + 0.8) < 0.15
    assert abs(one[0].curve.mean[0] + 0.8) > 0.3


def test_a_sale_has_no_past_to_differ_from_in_its_first_tile() -> None:
    every: list[Cells] = [sold([0.0]), {}]
    assert moments(every) == moments([{}]) == []
    assert likely(explain(every)).tolist() == [1.0]


def test_draws_are_shared_out_by_how_likely_each_moment_is() -> None:
    [one] = explain([sold([0.0] * 9 + [-2.0])])
    weights = np.array([0.25, 0.75, *[0.0] * (len(one) - 2)])
    draws = draws_of(one, weights, len(PRICES), np.random.default_rng(1), 200)
    assert draws.shape == (200, len(PRICES))
    assert draws[:50, 2].mean() > draws[50:, 2].mean() + 0.1


def test_the_mixed_curve_has_the_mean_and_spread_of_draws_from_all() -> None:
    [one] = explain([sold([0.0] * 8 + [-1.0] * 2)])
    weights = np.full(len(one), 1.0 / len(one))
    curve, rng = mixed(one, weights), np.random.default_rng(1)
    thetas = np.concatenate([rng.multivariate_normal(each.curve.mean, each.curve.covariance, 20_000) for each in one])
    np.testing.assert_allclose(thetas.mean(axis=0), curve.mean, atol=0.02)
    np.testing.assert_allclose(np.cov(thetas.T), curve.covariance, atol=0.03)


def test_the_evidence_is_the_integral_over_curves() -> None:
    prior = DemandPrior(mean=(0.0, -2.0, 0.0), covariance=((0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.01)))
    design = np.array([[1.0, -0.2, 0.0], [1.0, 0.0, 0.0], [1.0, 0.3, 0.0]])
    counts = Counts(
        prices=np.array([4000.0, 5000.0, 6500.0]), design=design, offers=np.array([30.0, 40.0, 20.0]),
        sales=np.array([20.0, 18.0, 4.0]),
    )  # fmt: skip
    before = multivariate_normal(prior.mean[:2], np.array(prior.covariance)[:2, :2])

    def likelihood(slope: float, level: float) -> float:
        chance = expit(design[:, :2] @ [level, slope])
        return float(
            np.prod(chance**counts.sales * (1 - chance) ** (counts.offers - counts.sales)) * before.pdf([level, slope])
        )

    exact = np.log(dblquad(likelihood, -2.0, 2.0, -5.0, 1.0, epsabs=0.0, epsrel=1e-3)[0])
    independent = np.ones(3)  # each offer weighs as one
    curve = fit(counts, prior, beside=independent)
    assert abs(log_evidence(counts, curve, prior, beside=independent) - exact) < 0.1
