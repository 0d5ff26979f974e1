"""Hidden demand: a logit curve with the elasticity it was drawn with, and visitors who follow it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from statistics import mean

import pytest

from ibook.clock import to_us
from simulator.catalogue import DAY_US, Event, Ticket
from simulator.demand import ELASTICITIES, SEGMENTS, Demand, Segment
from simulator.engine import SECOND_US
from simulator.fraudsters import Tempo
from simulator.mix import NO_FRAUD
from simulator.pacing import steady
from simulator.shop import ShopRules
from simulator.simulation import Setup, Simulation
from simulator.storefront import ListPrices
from simulator.truth import Truth
from simulator.visits import Offer
from simulator.world import INTERESTS, SHARES, World

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORLD = World(5, NOW)


def all_tickets() -> list[tuple[Event, Ticket]]:
    return [(event, ticket) for event in WORLD.events for ticket in event.tickets]


def test_a_higher_price_sells_less() -> None:
    for event, ticket in all_tickets():
        prices = [round(ticket.list_price_minor * factor) for factor in (0.6, 0.8, 1.0, 1.3, 1.6)]
        for segment in SEGMENTS:
            demand = WORLD.demand(event, ticket, segment)
            chances = [demand.probability(price) for price in prices]
            assert chances == sorted(chances, reverse=True)
            assert demand.slope < 0


def numeric_elasticity(demand: Demand, price: int) -> float:
    """By a central difference."""
    by = max(1, price // 1000)
    slope = (demand.probability(price + by) - demand.probability(price - by)) / (2 * by)
    return slope * price / demand.probability(price)


@pytest.mark.parametrize("days", [0.0, 3.0, 10.0, 60.0])
def test_elasticity_at_list_price_is_the_one_drawn_for_segment_and_day(days: float) -> None:
    for _, ticket in all_tickets():
        for taste in ticket.tastes.values():
            probability, elasticity = taste.on(days)
            demand = taste.demand(ticket.list_price_minor, days)
            assert demand.probability(ticket.list_price_minor) == pytest.approx(probability)
            assert numeric_elasticity(demand, ticket.list_price_minor) == pytest.approx(elasticity, rel=2e-3)
            assert ELASTICITIES[0] <= elasticity <= ELASTICITIES[1]


def test_tastes_use_the_documented_range_up_and_down() -> None:
    drawn = [taste.on(60.0)[1] for _, ticket in all_tickets() for taste in ticket.tastes.values()]
    assert min(drawn) < -1.8
    assert max(drawn) > -0.4

    def usual(segment: Segment) -> float:
        return mean(ticket.tastes[segment].on(60.0)[1] for _, ticket in all_tickets())

    assert usual("fans") > usual("bargain_hunters") + 0.2


def test_the_mean_visitors_elasticity_is_that_of_the_mixture() -> None:
    for truth in Truth(WORLD).demand:
        event = WORLD.by_id[truth.event_id]
        ticket = next(ticket for ticket in event.tickets if ticket.name == truth.ticket_type)
        days = (event.starts_us - to_us(NOW)) / DAY_US
        curves = {segment: ticket.tastes[segment].demand(ticket.list_price_minor, days) for segment in SEGMENTS}
        weights = {segment: SHARES[segment] * INTERESTS[segment][event.category] for segment in SEGMENTS}

        def bought(price: float) -> float:
            return sum(weights[one] * curves[one].probability(price) for one in SEGMENTS)  # noqa: B023

        price = truth.list_price_minor
        numeric = (bought(price * 1.001) - bought(price * 0.999)) / (0.002 * bought(price))
        assert truth.elasticity_at_list == pytest.approx(numeric, rel=2e-3)
        assert ELASTICITIES[0] <= truth.elasticity_at_list <= ELASTICITIES[1]


def test_shares_of_segments_are_those_of_the_households() -> None:
    counts = Counter(WORLD.people.household(number).segment for number in range(6000))
    assert all(counts[one] / 6000 == pytest.approx(SHARES[one], abs=0.02) for one in SEGMENTS)


def test_a_cheaper_competitor_takes_buyers_away_and_a_dearer_one_none() -> None:
    alone = Demand.at_list(5000, probability=0.5, elasticity=-1.0)
    assert alone.beside(5000).probability(5000) == alone.probability(5000)
    assert alone.beside(6000).elasticity(5000) == pytest.approx(-1.0)
    chances = [alone.beside(rival).probability(5000) for rival in (5000, 4500, 4200, 3000, 2000)]
    assert chances[:4] == sorted(chances[:4], reverse=True)
    assert chances[2] < 0.46
    assert chances[3] == chances[4], "whoever compares is gone"
    for rival in (4500, 3000):
        beside = alone.beside(rival)
        assert numeric_elasticity(beside, 5000) == pytest.approx(beside.elasticity(5000), rel=1e-3)
    assert alone.beside(4500).elasticity(5000) < -1.4


def test_competitors_prices_move_slowly_around_ours() -> None:
    days = range(20_000, 20_200)
    for event in WORLD.events:
        factors = [event.rival.factor(day) for day in days]
        assert min(factors) >= 0.75 and max(factors) <= 1.32
        assert max(abs(one - other) for one, other in pairwise(factors)) < 0.08
        assert max(factors) - min(factors) > 0.1
    today = [event.rival.factor(20_500) for event in WORLD.events]
    assert 0.1 < mean(factor < 1 for factor in today) < 0.6


def test_demand_follows_the_day_the_competitor_and_what_people_are_willing_to_pay() -> None:
    now_us, noted = to_us(NOW), list[str]()
    world = WORLD.at_work(lambda: now_us, noted.append)
    event = world.events[len(world.events) // 2]
    ticket = event.tickets[1]
    before = world.demand(event, ticket, "fans")
    assert before.rival_minor == event.rival.price_minor(ticket.list_price_minor, now_us // DAY_US)
    assert world.demand(event, ticket, "fans") is before
    now_us += 5 * DAY_US
    later = world.demand(event, ticket, "fans")
    assert later != before and later.rival_minor != before.rival_minor
    world.shift_demand(0.8)
    assert noted == ["willingness to pay x 0.8"]
    price = ticket.list_price_minor
    shifted = replace(world.demand(event, ticket, "fans"), rival_minor=None)
    assert shifted.probability(0.8 * price) == pytest.approx(replace(later, rival_minor=None).probability(price))
    assert WORLD.demand(event, ticket, "fans") == before, "another run knows nothing of it"
    with pytest.raises(ValueError, match="can't be"):
        world.shift_demand(0.0)


@pytest.mark.parametrize(("probability", "elasticity"), [(0.0, -1.0), (1.0, -1.0), (0.5, 0.0), (0.5, 0.4)])
def test_impossible_demand_is_refused(probability: float, elasticity: float) -> None:
    with pytest.raises(ValueError, match="no logit demand"):
        Demand.at_list(1000, probability=probability, elasticity=elasticity)


class Scaled(ListPrices):
    """Every price a multiple of the list price."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def ask(self, event: Event, ticket: Ticket, buyer: str, key: str, answer: Callable[[Offer], None]) -> None:
        answer(Offer(round(ticket.list_price_minor * self.factor)))


def shop(factor: float, *, per_second: float) -> Simulation:
    start_us = to_us(NOW)
    setup = Setup(
        seed=5, run="demand", start_us=start_us, opens_us=start_us, punctual=False, per_second=per_second,
        rules=ShopRules(), tempo=Tempo(), prices=Scaled(factor), mix=NO_FRAUD,
    )  # fmt: skip
    simulation = Simulation(
        WORLD, setup, steady(start_us, per_second, Random(1)), write=lambda *_: None, asked=lambda _: None
    )
    simulation.crowd.begin(simulation.buyers.arrivals)
    return simulation


def payments_per_price_shown(factor: float) -> float:
    """Over ten minutes of visits to shops that differ in nothing but price."""
    simulation = shop(factor, per_second=10.0)
    simulation.engine.run_until(to_us(NOW) + 600 * SECOND_US)
    return simulation.shop.ledger.counts["purchases"] / simulation.storefront.shown.total()


def test_visitors_follow_their_demand() -> None:
    cheap, listed, dear = (payments_per_price_shown(factor) for factor in (0.7, 1.0, 1.4))
    assert cheap > listed * 1.1
    assert listed > dear * 1.1


def test_a_run_remembers_who_was_shown_prices_and_how_they_decide() -> None:
    """What the visitors who came would have bought at list price is what they bought, but for luck."""
    simulation, start_us = shop(1.0, per_second=5.0), to_us(NOW)
    simulation.engine.run_until(start_us + 600 * SECOND_US)
    markets = simulation.storefront.markets()
    assert {market.day for market in markets} == {start_us // DAY_US}
    visitors = sum(market.visitors for market in markets)
    shown = simulation.storefront.shown.total()
    assert 0.75 * shown < visitors < shown, "groups and fan clubs have agreed before, at any price"
    expected = sum(look.visitors * look.demand.probability(market.list_price_minor)
                   for market in markets for look in market.looks)  # fmt: skip
    bought = simulation.shop.ledger.counts["purchases"]
    assert 0.4 < expected / visitors < 0.65
    assert 0.8 * expected < bought < 1.4 * expected
    simulation.storefront.forget(ListPrices())
    assert simulation.storefront.markets() == ()
