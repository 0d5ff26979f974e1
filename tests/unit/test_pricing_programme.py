"""The programme against a solver, the demand curve against what it was fed, and the guards."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from ibook.messages import TicketType
from ibook.pricing_by_rule import HIGHEST, LOWEST, rule_multiplier
from ibook.pricing_demand import DemandPrior, counts_of, fit, sample
from ibook.pricing_guards import PROBABILITY_FLOOR, Anchor, allowed, guarded
from ibook.pricing_programme import Floats, solve, to_probabilities

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
NOW_TILE = int(AS_OF.timestamp())
STALLS = TicketType(name="stalls", list_price_minor=5000, floor_minor=3000, cap_minor=8000)


def earns(prices: list[Floats], chances: list[Floats], weights: Floats, shares: list[Floats]) -> float:
    """Of the first draw."""
    parts = zip(prices, chances, weights, shares, strict=True)
    return float(sum(weight * (price * chance[0] * share[0]).sum() for price, chance, weight, share in parts))


def by_solver(prices: list[Floats], chances: list[Floats], weights: Floats, seats_per_offer: float) -> float:
    revenue = np.concatenate([w * p * q[0] for p, q, w in zip(prices, chances, weights, strict=True)])
    sold = np.concatenate([w * q[0] for q, w in zip(chances, weights, strict=True)])
    rows = np.zeros((len(prices) + 1, len(revenue)))
    rows[0], start = sold, 0
    for number, price in enumerate(prices, 1):
        rows[number, start : start + len(price)] = 1.0
        start += len(price)
    found = linprog(-revenue, A_ub=rows, b_ub=[seats_per_offer, *[1.0] * len(prices)], bounds=(0, None))
    assert found.fun is not None
    return -float(found.fun)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.floats(0.0, 1.0))
def test_the_programme_earns_what_a_solver_finds(seed: int, types: int, arms: int, seats_per_offer: float) -> None:
    rng = np.random.default_rng(seed)
    prices = [np.sort(rng.uniform(100, 10_000, arms)) for _ in range(types)]
    chances = [rng.uniform(0.0, 1.0, (1, arms)) for _ in range(types)]
    weights = rng.dirichlet(np.ones(types))
    shares = solve(prices, chances, weights, seats_per_offer)
    sold = sum(float(w * (q[0] * x[0]).sum()) for w, q, x in zip(weights, chances, shares, strict=True))
    assert sold <= seats_per_offer + 1e-6 or seats_per_offer > 1.0
    assert all(share[0].sum() <= 1.0 + 1e-9 and share.min() >= 0.0 for share in shares)
    best = by_solver(prices, chances, weights, seats_per_offer)
    assert earns(prices, chances, weights, shares) == pytest.approx(best, rel=1e-4, abs=1e-2)


def test_all_draws_are_solved_at_once_as_one_by_one() -> None:
    rng = np.random.default_rng(1)
    prices = [np.array([80.0, 100.0, 130.0]), np.array([200.0, 300.0])]
    chances = [rng.uniform(size=(20, 3)), rng.uniform(size=(20, 2))]
    weights = np.array([0.7, 0.3])
    together = solve(prices, chances, weights, 0.3)
    for draw in range(20):
        alone = solve(prices, [one[[draw]] for one in chances], weights, 0.3)
        for one, other in zip(together, alone, strict=True):
            assert one[draw] == pytest.approx(other[0], abs=1e-3)


def test_without_seats_everybody_is_shown_the_highest_price() -> None:
    [share] = solve([np.array([80.0, 100.0])], [np.array([[0.5, 0.4]])], np.ones(1), 0.0)
    assert to_probabilities(share) == pytest.approx([0.0, 1.0], abs=1e-6)


# ------------------------------------------------------------------------------------------------------------ demand
def drawn(sums: dict[int, tuple[int, int]], *, rival: int | None = None) -> Floats:
    prices = [4000, 5000, 6000, 7000]
    tiles = {price: {NOW_TILE: counts} for price, counts in sums.items()}
    counts = counts_of(prices, 5000, tiles, as_of=AS_OF, half_life_seconds=86_400.0, rival_minor=rival)
    return sample(counts, fit(counts, DemandPrior()), 4, np.random.default_rng(1), 2000)


def test_much_evidence_overrules_the_prior() -> None:
    means = drawn({4000: (20_000, 12_000), 5000: (20_000, 10_000), 6000: (20_000, 7000), 7000: (20_000, 5000)}).mean(0)
    assert means == pytest.approx([0.6, 0.5, 0.35, 0.25], abs=0.01)


def test_prices_never_shown_borrow_from_those_that_were() -> None:
    means = drawn({4000: (2000, 1200), 6000: (2000, 800)})
    assert means[:, 1].mean() == pytest.approx(0.5, abs=0.03)
    assert means[:, 3].mean() == pytest.approx(0.3, abs=0.05)
    assert means[:, 3].std() > means[:, 2].std()


def test_prices_no_longer_drawn_are_evidence_too() -> None:
    with_others = drawn({4444: (3000, 1500), 5555: (3000, 1200)})
    assert with_others[:, 1].mean() == pytest.approx(0.45, abs=0.03)
    assert with_others.shape == (2000, 4)


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1)), min_size=4, max_size=4))
def test_any_evidence_gives_probabilities(evidence: list[tuple[int, float]]) -> None:
    sums = {price: (n, int(n * s)) for price, (n, s) in zip((4000, 5000, 6000, 7000), evidence, strict=True)}
    draws = drawn(sums, rival=5500)
    assert np.isfinite(draws).all()
    assert ((draws >= 0) & (draws <= 1)).all()


# ------------------------------------------------------------------------------------------------------------ guards
@given(
    st.lists(st.integers(3000, 8000), min_size=1, max_size=10, unique=True).map(sorted), st.integers(1000, 9000),
    st.floats(0.01, 1.0),
)  # fmt: skip
def test_only_prices_near_the_anchor_are_drawn_and_each_of_them_is(prices: list[int], near: int, step: float) -> None:
    within = allowed(prices, STALLS, Anchor(near, 0), step)
    probabilities = guarded(np.ones(len(prices)) / len(prices), within)
    assert sum(probabilities) == 1.0
    assert within.any()
    for price, chance, is_allowed in zip(prices, probabilities, within, strict=True):
        assert (chance >= PROBABILITY_FLOOR) if is_allowed else (chance == 0.0)
        assert is_allowed or abs(price - near) > step * 5000


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_rule_asks_more_the_more_is_sold(sold: float, more: float, elapsed: float) -> None:
    low, high = sorted((sold, more))
    assert LOWEST <= rule_multiplier(low, elapsed) <= rule_multiplier(high, elapsed) <= HIGHEST
