"""A profile counts what is there."""

import pytest

from simulator.profile import facts
from simulator.truth import DemandTruth
from tests.profiled import Shop


@pytest.fixture
def shop() -> Shop:
    return Shop()


def counted(shop: Shop) -> dict[str, float | None]:
    return facts.count(shop.observed)


# ------------------------------------------------------------------------------------------------------------ the facts
def test_fraud_and_abuse_are_shares_of_all_purchases(shop: Shop) -> None:
    for day, pattern, attack in [*((d, "honest", None) for d in range(15)), (15, "stolen-card", None),
                                 (16, "card-testing", 1), (17, "card-testing", 1), (18, "scalper-ring", 2),
                                 (19, "honest", None)]:  # fmt: skip
        shop.buy(day, pattern=pattern, attack=attack)
    found = counted(shop)
    assert found["base_rate"] == pytest.approx(3 / 20)
    assert found["fraud_outside_attacks"] == pytest.approx(1 / 20)
    assert found["abuse_rate"] == pytest.approx(1 / 20)


def test_decline_rates_are_of_the_payments_tried_inside_and_outside_an_attack(shop: Shop) -> None:
    for number in range(20):
        shop.buy(number, status="declined" if number == 0 else "settled")
        shop.buy(number, pattern="card-testing", attack=1, status="settled" if number < 5 else "declined")
    found = counted(shop)
    assert found["declined_honest"] == pytest.approx(1 / 20)
    assert found["declined_in_testing"] == pytest.approx(15 / 20)
    assert found["declined_in_takeovers"] is None


def test_orders_per_user_count_what_was_honest_and_settled(shop: Shop) -> None:
    for number in range(10):
        shop.buy(number, user=f"u{number}", tickets=3)
    for number in range(5):
        shop.buy(number, user=f"u{number}", tickets=1)
    shop.buy(1, user="u9", status="declined")
    shop.buy(1, user="u9", pattern="stolen-card")
    found = counted(shop)
    assert found["orders_per_user"] == pytest.approx(1.5)
    assert found["repeat_buyers"] == pytest.approx(0.5)
    assert found["tickets_per_order"] == pytest.approx((10 * 3 + 5) / 15)


def test_lead_time_is_of_events_whose_whole_sale_was_seen_and_that_were_no_rush(shop: Shop) -> None:
    shop.buy(0)
    shop.list_event("whole", on_sale=5, starts=50)
    shop.list_event("open", on_sale=5, starts=500)
    shop.list_event("rush", on_sale=5, starts=50)
    shop.observed.rushed = frozenset({"rush"})
    for number in range(10):
        shop.buy(10 + 4 * number, event="whole", starts=50, tickets=1)  # 40, 36, … 4 days before
        shop.buy(10 + 4 * number, event="open", starts=500)
        shop.buy(10 + 4 * number, event="rush", starts=50)
    shop.buy(60)
    found = counted(shop)
    assert found["lead_days"] == pytest.approx(22.0)
    assert found["last_week"] == pytest.approx(1 / 10)
    assert found["last_3_days"] == pytest.approx(0.0)


def test_gaps_of_a_clock_do_not_vary_and_gaps_of_people_do(shop: Shop) -> None:
    for number in range(12):
        shop.buy(number / 1440, pattern="scalper-ring", attack=1)
        shop.buy((number + number % 2 * 0.9) / 1440)  # in pairs
    found = counted(shop)
    assert found["gaps_of_scripts"] == pytest.approx(0.0)
    people = found["gaps_of_people"]
    assert people is not None and 0.8 < people < 1.0


def test_gaps_of_few_purchases_say_nothing() -> None:
    assert facts.variation_of_gaps([[1, 2, 3, 4, 5, 6, 7]]) is None
    assert facts.variation_of_gaps([[1, 2, 3, 4, 5, 6, 7, 8]]) == 0.0


def test_risk_is_the_fraud_rate_near_the_event_against_far_from_it(shop: Shop) -> None:
    for number in range(10):
        shop.buy(20, pattern="stolen-card" if number < 1 else "honest", category="concerts")
    for number in range(10):
        shop.buy(99.5, pattern="stolen-card" if number < 4 else "honest")
    found = counted(shop)
    assert found["risk_on_the_day"] == pytest.approx(4.0)
    assert found["risk_of_concerts"] == pytest.approx(1 / 4)


def test_labels_are_those_of_purchases_old_enough_to_have_all_of_them(shop: Shop) -> None:
    for number in range(20):
        disputed = shop.buy(1, pattern="friendly-fraud" if number < 5 else "stolen-card")
        shop.label(disputed, "chargeback", 20 + number)
        if number < 8:
            shop.label(disputed, "early_warning", 5)
        if number < 2:
            shop.label(disputed, "reversal", 50, is_fraud=False)
    young = shop.buy(100, pattern="stolen-card")
    shop.label(young, "chargeback", 2)
    shop.buy(150)
    found = counted(shop)
    assert found["chargeback_days_median"] == pytest.approx(29.0)
    assert found["chargeback_days_p95"] == pytest.approx(38.0)
    assert found["warned"] == pytest.approx(8 / 20)
    assert found["reversed"] == pytest.approx(2 / 20)
    assert found["friendly_disputes"] == pytest.approx(5 / 20)
    assert found["unlabelled_fraud"] == pytest.approx(0.0)


def test_label_days_are_those_of_life_however_fast_they_pass(shop: Shop) -> None:
    shop.observed.label_day_seconds = 43_200.0
    for _ in range(10):
        shop.label(shop.buy(1, pattern="stolen-card"), "chargeback", 15)
    shop.buy(80)
    assert counted(shop)["chargeback_days_median"] == pytest.approx(30.0)


def test_elasticities_are_the_hidden_ones(shop: Shop) -> None:
    shop.observed.demand = [
        DemandTruth(event_id="e", ticket_type="t", list_price_minor=100, intercept=0, slope=-1, elasticity_at_list=each)
        for each in (-0.5, -1.0, -1.9)
    ]
    found = counted(shop)
    assert (found["elasticity_lowest"], found["elasticity_median"], found["elasticity_highest"]) == (-1.9, -1.0, -0.5)


def test_an_empty_past_has_no_figures_rather_than_wrong_ones(shop: Shop) -> None:
    assert set(counted(shop).values()) == {None}
