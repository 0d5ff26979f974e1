"""Hidden demand: a logit curve with the elasticity it was drawn with, and visitors who follow it."""

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

import pytest

from ibook.clock import to_us
from simulator.catalogue import ELASTICITIES, Event, Ticket
from simulator.demand import Demand
from simulator.engine import SECOND_US
from simulator.fraudsters import Tempo
from simulator.mix import NO_FRAUD
from simulator.pacing import steady
from simulator.shop import ShopRules
from simulator.simulation import Setup, Simulation
from simulator.storefront import ListPrices
from simulator.truth import Truth
from simulator.visits import Offer
from simulator.world import World

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORLD = World(5, NOW)


def all_tickets() -> list[Ticket]:
    return [ticket for event in WORLD.events for ticket in event.tickets]


def test_a_higher_price_sells_less() -> None:
    for ticket in all_tickets():
        prices = [round(ticket.list_price_minor * factor) for factor in (0.6, 0.8, 1.0, 1.3, 1.6)]
        chances = [ticket.demand.probability(price) for price in prices]
        assert chances == sorted(chances, reverse=True)
        assert ticket.demand.slope < 0


def test_elasticity_at_list_price_is_the_one_drawn() -> None:
    """Against a central difference."""
    for truth in Truth(WORLD).demand:
        price = truth.list_price_minor
        curve = Demand(truth.intercept, truth.slope)
        by = max(1, price // 1000)
        slope = (curve.probability(price + by) - curve.probability(price - by)) / (2 * by)
        numeric = slope * price / curve.probability(price)
        assert numeric == pytest.approx(truth.elasticity_at_list, rel=1e-3)
        assert ELASTICITIES[0] <= truth.elasticity_at_list <= ELASTICITIES[1]


@pytest.mark.parametrize(("probability", "elasticity"), [(0.0, -1.0), (1.0, -1.0), (0.5, 0.0), (0.5, 0.4)])
def test_impossible_demand_is_refused(probability: float, elasticity: float) -> None:
    with pytest.raises(ValueError, match="no logit demand"):
        Demand.at_list(1000, probability=probability, elasticity=elasticity)


class Scaled(ListPrices):
    """Every price a multiple of the list price."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def ask(self, event: Event, ticket: Ticket, key: str, answer: Callable[[Offer], None]) -> None:
        answer(Offer(round(ticket.list_price_minor * self.factor)))


def payments_per_price_shown(factor: float) -> float:
    """Over ten minutes of visits to shops that differ in nothing but price."""
    start_us = to_us(NOW)
    setup = Setup(
        seed=5, run="demand", start_us=start_us, opens_us=start_us, punctual=False, per_second=10.0,
        rules=ShopRules(), tempo=Tempo(), prices=Scaled(factor), mix=NO_FRAUD,
    )  # fmt: skip
    simulation = Simulation(
        WORLD, setup, steady(start_us, 10.0, Random(1)), write=lambda *_: None, asked=lambda _: None
    )
    simulation.crowd.begin(simulation.buyers.arrivals)
    simulation.engine.run_until(start_us + 600 * SECOND_US)
    return simulation.shop.ledger.counts["purchases"] / simulation.storefront.shown.total()


def test_visitors_follow_their_demand() -> None:
    cheap, listed, dear = (payments_per_price_shown(factor) for factor in (0.7, 1.0, 1.4))
    assert cheap > listed * 1.1
    assert listed > dear * 1.1


def test_the_same_seed_and_day_give_the_same_world_at_any_hour() -> None:
    evening = World(5, NOW.replace(hour=23))
    assert evening.events == WORLD.events
    assert evening.people.household(77) == WORLD.people.household(77)
    assert World(6, NOW).events != WORLD.events


def test_events_lie_ahead_and_have_seats() -> None:
    for event in WORLD.events:
        assert event.starts_us > to_us(NOW) > event.on_sale_us
        assert 0 < event.remaining <= event.capacity
        for ticket in event.tickets:
            assert ticket.floor_minor < ticket.list_price_minor < ticket.cap_minor
    assert len(WORLD.events) == 40
    assert {event.category for event in WORLD.events} == {"sports", "concerts", "family", "cultural"}
