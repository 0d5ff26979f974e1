"""The pricing bench: the same people for all, no seat sold twice, and a page that carries all it needs."""

import numpy as np
import pytest

from bench.pricing import SIZES, measure
from bench.pricing_attack import Attacked
from bench.pricing_crowd import AT_LIST, SCENARIOS, Crowd, Scenario, crowds
from bench.pricing_estimates import interval
from bench.pricing_page import render
from bench.pricing_play import Offer, best_fixed, list_price, oracle, play, play_fixed
from bench.pricing_sellers import Learner


def small(scenario: Scenario = "default", seed: int = 3) -> Crowd:
    [crowd] = crowds(seed, 1, seats=0.05, scenario=scenario)
    return crowd


def test_the_same_seed_draws_the_same_people() -> None:
    one, other = small(), small()
    assert one.n == other.n > 0
    assert (one.luck == other.luck).all()
    assert (np.diff(one.times) >= 0).all()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nobody_expects_more_than_the_oracle(scenario: Scenario) -> None:
    at_list = fixed = best = 0.0
    for seed in range(4):
        crowd = small(scenario, seed)
        at_list += play_fixed(crowd, list_price(crowd)).revenue.sum()
        fixed += play_fixed(crowd, best_fixed(crowd)).revenue.sum()
        best += play_fixed(crowd, oracle(crowd)).revenue.sum()
    assert best >= 0.97 * fixed
    assert best >= 0.97 * at_list


def test_flat_demand_earns_the_same_at_prices_that_are_not_clipped() -> None:
    crowd = small("flat")
    earned = crowd.chances[0] * np.array([0.6 + 0.05 * step for step in range(21)])
    dear = earned[..., AT_LIST:]
    assert dear == pytest.approx(np.broadcast_to(dear[..., :1], dear.shape))


def test_the_learner_sells_no_seat_twice_and_is_repeatable() -> None:
    crowd = small()
    first, second = play(crowd, Learner(crowd)), play(crowd, Learner(crowd))
    assert (first.menu == second.menu).all()
    assert first.revenue.sum() > 0
    assert first.unsold >= 0


def test_a_refund_loop_leaves_the_learner_as_if_it_never_was() -> None:
    crowd = small()
    honest, attacked = Learner(crowd), Learner(crowd)
    looped = Attacked(attacked, "refund loops", 0.5)
    for number in range(200):
        offer = Offer(number % 3, AT_LIST + number % 4, float(crowd.times[0]) + number, number % 2)
        honest.learn(offer)
        looped.learn(offer)
    assert attacked.sums.prices == honest.sums.prices
    assert attacked.sums.pace == honest.sums.pace
    assert (attacked.sums.sales, attacked.sums.tickets) == (honest.sums.sales, honest.sums.tickets)


def test_an_interval_holds_its_estimate_and_nothing_is_none() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = interval(lambda drawn: float(values[drawn].mean()), 4)
    low, high = found["low"], found["high"]
    assert low is not None and high is not None
    assert found["mean"] == 2.5 and low < 2.5 < high
    assert interval(lambda drawn: float("nan"), 4) == {"mean": None, "low": None, "high": None}


def test_the_figures_have_their_keys_and_the_page_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import bench.pricing

    def few(seed: int, n_events: int, *, seats: float, scenario: Scenario) -> list[Crowd]:
        return list(crowds(seed, n_events, seats=0.01, scenario=scenario))

    monkeypatch.setattr(bench.pricing, "crowds", few)
    figures = measure(seeds=2, n_events=1)
    assert set(figures["uplift"]) == set(figures["share_of_oracle_gain"]) == {"mean", "low", "high"}
    assert {"ibook", "list price", "best fixed", "oracle", "by rule", "plain Thompson", "epsilon-greedy"} <= set(
        figures["by_policy"]
    )
    assert set(figures["under_attack"]) == {"fake quotes", "self-purchases", "refund loops"}
    assert len(figures["by_traffic"]) == len(SIZES)
    assert all(one["offers_per_ticket_type"] > 0 for one in figures["by_traffic"])
    page = render(figures | {"conditions": "<b>"})
    assert "&lt;b&gt;" in page
    assert "<script src" not in page and "<link" not in page
