"""What prices earn, judged by the hidden demand: expectations that are true, and intervals that hold them."""

import numpy as np
import pytest

from simulator.record import RunRecord
from simulator.report import shop_plots
from simulator.revenue import Look, Market, best_fixed, expected_revenue, oracle, revenue_at_list
from simulator.validators import business, measures_of
from simulator.validators import figures_of as all_figures_of
from simulator.validators.redraws import POLICIES, mean_of, redraw
from tests.simulated_runs import event, market, run, shown

PRICES = (1_600, 2_000, 2_800)
PLENTY = event(0, before=10**6, after=10**6)


def shop(
    seed: int = 1, *, visitors: int = 900, prices: tuple[int, ...] = PRICES, elasticity: float = -0.6
) -> RunRecord:
    """One event; its prices were shown equally often."""
    return run(
        seed=seed, purchases=(), events=(PLENTY,), markets=(market(0, visitors=visitors, elasticity=elasticity),),
        prices=tuple(shown(0, price, visitors // len(prices)) for price in prices),
    )  # fmt: skip


def truth(record: RunRecord) -> dict[str, float]:
    """Expected revenue of each policy, by arithmetic."""
    markets = record.markets
    at_shown = [expected_revenue(markets, price.price_minor) for price in record.prices]
    return {
        "list": revenue_at_list(markets), "shown": sum(at_shown) / len(at_shown), "best_fixed": best_fixed(markets),
        "oracle": oracle(markets),
    }  # fmt: skip


def test_redraws_come_out_at_what_arithmetic_expects() -> None:
    record = shop(visitors=20_000)
    drawn, expected = redraw(record), truth(record)
    assert drawn is not None
    for policy in POLICIES:
        assert mean_of(drawn.revenue[policy]).value == pytest.approx(expected[policy], rel=0.01)


def test_a_price_counts_as_often_as_it_was_shown() -> None:
    record = run(purchases=(), events=(PLENTY,), markets=(market(0, visitors=20_000, elasticity=-0.3),),
                 prices=(shown(0, 1_200, 1_000), shown(0, 3_200, 3_000)))  # fmt: skip
    low, high = (expected_revenue(record.markets, price) for price in (1_200, 3_200))
    found = business.figures(record).revenue["shown"].value
    assert found == pytest.approx(0.25 * low + 0.75 * high, rel=0.01)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """95 % intervals over 200 worlds: fewer than 180 or all of them holding it has a probability below 0.2 %."""
    held = 0
    for seed in range(200):
        record = shop(seed, visitors=300)
        found, expected = business.figures(record).revenue["shown"], truth(record)["shown"]
        held += found.low <= expected <= found.high
    assert 180 <= held < 200


def test_pairing_makes_the_comparison_sharper_than_its_parts() -> None:
    drawn = redraw(shop(elasticity=-0.3))
    assert drawn is not None
    shown_, listed = drawn.revenue["shown"], drawn.revenue["list"]
    alone = np.var(shown_ / shown_.mean()) + np.var(listed / listed.mean())
    assert np.var(shown_ / listed) < 0.7 * alone


def test_the_same_prices_earn_the_same_to_the_last_cent() -> None:
    found = business.figures(shop(prices=(2_000,)))
    assert found.over_list is not None
    assert (found.over_list.low, found.over_list.value, found.over_list.high) == (0, 0, 0)


def test_better_prices_earn_more_and_nobody_beats_the_oracle() -> None:
    poor, good = business.figures(shop(prices=(1_200,))), business.figures(shop(prices=(2_700,)))
    assert poor.over_list is not None and good.over_list is not None
    assert poor.over_list.value < -0.1 < 0 < good.over_list.value
    for found in (poor, good):
        assert found.of_oracle is not None and found.of_oracle.value <= 1.02
        assert found.of_best_fixed is not None and found.of_best_fixed.value <= 1.02


def test_an_oracle_reprices_every_day() -> None:
    days = (market(0, elasticity=-2.0, day=0), market(0, elasticity=-0.3, day=1))
    found = business.figures(
        run(purchases=(), events=(event(0, before=10**6),), markets=days, prices=(shown(0, 2_000),))
    )
    assert found.of_oracle is not None and found.of_best_fixed is not None
    assert found.of_oracle.value < found.of_best_fixed.value < 1
    assert not found.oracle_is_best_fixed


def test_within_a_day_an_oracle_is_the_best_fixed_price_and_this_is_said_once() -> None:
    record = shop(prices=(2_200,))
    found = all_figures_of(record)
    assert found.business.oracle_is_best_fixed
    assert found.business.of_oracle == found.business.of_best_fixed
    said = {measure.name: measure.sentence for measure in measures_of(record, found)}["business.of_oracle"]
    assert said == "An oracle's prices are the best fixed ones: the same within one day."
    plot = shop_plots.revenue(found)
    assert plot is not None and said in plot.says
    assert plot.data[0]["y"] == ["best fixed = oracle", "prices shown", "list prices"]
    assert len(plot.data[0]["x"]) == 3


def test_over_two_days_an_oracle_stands_beside_the_best_fixed_price() -> None:
    days = (market(0, elasticity=-2.0, day=0), market(0, elasticity=-0.3, day=1))
    plot = shop_plots.revenue(all_figures_of(run(markets=days, prices=(shown(0, 2_200),))))
    assert plot is not None and "same within one day" not in plot.says
    assert plot.data[0]["y"] == ["oracle", "best fixed prices", "prices shown", "list prices"]


def test_seats_that_are_not_there_earn_nothing() -> None:
    scarce = shop()
    plenty = business.figures(scarce)
    few = business.figures(run(purchases=(), events=(event(0, before=100, after=0),), markets=scarce.markets,
                               prices=scarce.prices))  # fmt: skip
    assert few.revenue["list"].value == pytest.approx(100 * 2_000)
    assert few.revenue["list"].value < plenty.revenue["list"].value
    assert few.revenue["oracle"].value > 1.4 * few.revenue["list"].value  # seats are short: they go at the cap


def test_groups_of_several_tickets_pay_for_each() -> None:
    demand = market(0).looks[0].demand
    pairs = Market(event_id="e0", ticket_type="standard", day=0, list_price_minor=2_000, floor_minor=1_200,
                   cap_minor=3_200, looks=(Look(demand, 500, 1_500),))  # fmt: skip
    found = business.figures(run(purchases=(), events=(event(0),), markets=(pairs,), prices=(shown(0, 2_000),)))
    assert found.revenue["list"].value == pytest.approx(0.5 * 1_500 * 2_000, rel=0.1)


def test_revenue_tickets_and_sales_are_what_was_settled() -> None:
    found = business.figures(run(prices=(shown(0, 2_000, 10), shown(1, 3_000, 6))))
    assert (found.shown, found.sales, found.tickets) == (16, 8, 16)
    assert found.revenue_minor == 2_000 * 10 + 3_000 * 6


def test_events_whose_best_price_is_the_cap_are_counted() -> None:
    markets = (market(0, elasticity=-0.3), market(1, elasticity=-1.9))
    found = business.figures(run(markets=markets))
    assert (found.events, found.events_with_best_price_at_cap) == (2, 1)
    best = {row.event: row.best_minor for row in found.prices}
    assert best["Event 0"] == 3_200 and best["Event 1"] < 2_000


def test_the_mean_price_shown_is_weighted_by_how_often() -> None:
    row = business.figures(run(prices=(shown(0, 2_000, 30), shown(0, 3_000, 10)))).prices[0]
    assert row.mean_shown_minor == 2_250


def test_everything_at_list_price_is_no_pricing_to_be_judged() -> None:
    record = run(unquoted=4_000)
    found = {measure.name: measure for measure in measures_of(record, all_figures_of(record))}
    assert found["business.over_list"].value is None
    assert "list price" in found["business.over_list"].sentence
    assert found["business.quoted"].value == 0


def test_several_runs_of_a_scenario_give_an_interval_that_holds_the_luck_of_learning() -> None:
    runs = [business.figures(shop(seed, prices=(price,))) for seed, price in enumerate((2_400, 2_600, 2_200))]
    over = business.paired(runs)
    values = [each.over_list.value for each in runs if each.over_list is not None]
    assert over is not None
    assert over.value == pytest.approx(sum(values) / 3)
    assert over.low < min(values) < max(values) < over.high
    assert business.paired(runs[:1]) is None


def test_a_mean_of_one_value_has_no_width() -> None:
    one = mean_of(np.array([3.0]))
    assert (one.low, one.value, one.high) == (3.0, 3.0, 3.0)


def test_quotes_that_are_all_at_list_price_are_no_pricing_either() -> None:
    record = run(prices=(shown(0, 2_000), shown(1, 2_000)))
    found = {measure.name: measure for measure in measures_of(record, all_figures_of(record))}
    assert found["business.over_list"].value is None
    assert "no price policy was in force" in found["business.over_list"].sentence
    assert found["business.quoted"].value == 1
    moved = business.figures(run(prices=(shown(0, 2_000, 30), shown(1, 2_200, 10)))).moved
    assert str(moved) == "10 of 40"
