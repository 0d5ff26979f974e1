"""What is tried out is what the offers to come repay."""

from datetime import timedelta

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from ibook.bandit import Market, next_policy
from ibook.clock import to_us
from ibook.pricing_boldness import LEAST_BOLD, boldness, gained_by_trying
from ibook.pricing_guards import expected_price
from tests.unit.test_pricing_bandit import LISTING, RULES, START

LATER = START + timedelta(days=2)
SUMS = {
    "stalls": {price: {to_us(START) // 10**6: (60, sales)} for price, sales in ((4500, 30), (5000, 28), (5500, 24))}
}


@pytest.mark.parametrize("gained", [4.0, 20.0, 300.0, 10_000.0])
def test_boldness_is_where_learning_and_not_knowing_lose_least_together(gained: float) -> None:
    k = np.linspace(0.0, 1.0, 4001)

    def lost(b: float) -> float:
        return float(((1.0 + b**2) / np.sqrt(1.0 + 2.0 * b**2 * gained * k)).mean())

    best = minimize_scalar(lost, bounds=(0.0, 1.0), method="bounded").x
    assert boldness(gained) == pytest.approx(max(LEAST_BOLD, best), abs=0.02)


def test_what_is_gained_is_the_information_of_prices_as_likely_as_they_are_best() -> None:
    prices = np.array([0.8, 1.0, 1.2])
    draws = np.array([[0.6, 0.4, 0.2], [0.4, 0.4, 0.38]])  # the first earns most at 0.8, the second at 1.2
    gained = gained_by_trying(prices, draws, slope_variance=0.5, offers_ahead=1000.0)
    assert gained == pytest.approx(1000.0 * 0.4 * 0.6 * 0.2**2 * 0.5)


def test_nothing_is_gained_where_every_draw_has_the_same_best_price() -> None:
    draws = np.array([[0.5, 0.45], [0.52, 0.46]])
    assert gained_by_trying(np.array([1.0, 1.5]), draws, slope_variance=0.5, offers_ahead=1e6) == 0.0


def spread(market: Market) -> float:
    """Standard deviation of the prices that are drawn, in list prices."""
    [arms] = next_policy(LISTING, SUMS, None, now=LATER, rules=RULES, market=market).upcoming
    away = [(price - expected_price(arms)) ** 2 for price in arms.prices_minor]
    return float(np.sqrt(np.dot(arms.probabilities, away))) / 5000.0


def test_more_is_tried_out_the_more_is_still_to_come() -> None:
    few, many = spread(Market(offers_ahead=10.0)), spread(Market(offers_ahead=100_000.0))
    assert many > 1.3 * few


def test_nothing_more_is_tried_out_in_a_rush_whose_offers_lapse_when_it_is_over() -> None:
    rush = {"stalls": {5000: 1e-6}}
    assert spread(Market(offers_ahead=100_000.0, wanted=rush)) == spread(Market(offers_ahead=10.0, wanted=rush))
