"""Honest people who look like an attack and are none, and habits that change while they are at it."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest

from ibook.clock import to_us
from ibook.messages import (
    Message,
    PaymentOutcome,
    PurchaseRequested,
    SeatsHeld,
    SeatsReleased,
    TicketsTransferred,
)
from ibook.topics import Topic
from simulator.engine import SECOND_US
from simulator.fraudsters import Tempo
from simulator.guests import Habits
from simulator.mix import NO_FRAUD
from simulator.pacing import steady
from simulator.scene import Scene
from simulator.shop import ShopRules
from simulator.simulation import Setup, Simulation
from simulator.storefront import ListPrices
from simulator.world import World

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORLD = World(5, NOW)


class Day:
    """A shop of honest people whose purchases are all approved, and what it published."""

    def __init__(self, **habits: float) -> None:
        self.published: list[Message] = []
        setup = Setup(
            seed=5, run="guests", start_us=to_us(NOW), opens_us=to_us(NOW), punctual=False, per_second=5.0,
            rules=ShopRules(label_day_seconds=5.0), tempo=Tempo(), prices=ListPrices(), mix=NO_FRAUD,
            habits=replace(Habits(), **habits),
        )  # fmt: skip
        self.simulation = Simulation(
            WORLD, setup, steady(to_us(NOW), 5.0, Random(1)), write=self._write, asked=self._approve
        )
        self.simulation.crowd.begin(self.simulation.buyers.arrivals)

    def _write(self, topic: Topic, key: str, message: Message) -> None:
        self.published.append(message)

    def _approve(self, purchase: PurchaseRequested) -> None:
        shop = self.simulation.shop
        self.simulation.engine.after(0.01, lambda: shop.on_verdict(purchase.transaction_id, "approve"))

    def run(self, seconds: float) -> "Day":
        self.simulation.engine.run_until(self.simulation.engine.now_us + int(seconds * SECOND_US))
        return self

    def purchases(self, look_alike: str | None = None) -> list[PurchaseRequested]:
        """Those of one look-alike, or all."""
        truth = self.simulation.truth.transactions
        return [
            message for message in self.published if isinstance(message, PurchaseRequested)
            and look_alike in (None, truth[message.transaction_id].look_alike)
        ]  # fmt: skip


@pytest.fixture(scope="module")
def day() -> Day:
    return Day(fan_club=0.01, gift_buyer=0.06, window_shopper=0.06).run(600)


def test_nobody_among_them_is_a_fraudster(day: Day) -> None:
    assert day.purchases()
    assert not any(truth.is_fraud or truth.is_abuse for truth in day.simulation.truth.transactions.values())


def test_a_fan_club_buys_many_seats_of_one_event_within_minutes_with_cards_of_one_issuer(day: Day) -> None:
    """As a ring of scalpers does; but the members are people with accounts and devices of their own."""
    clubs = defaultdict[str, list[PurchaseRequested]](list)
    for purchase in day.purchases("fan_club"):
        clubs[purchase.event_id].append(purchase)
    members = max(clubs.values(), key=len)
    assert len({member.user_id for member in members}) >= 6
    assert sum(member.n_tickets for member in members) / len(members) > 2.5
    (_, most), *_ = Counter(member.bin for member in members).most_common(1)
    assert most >= 3
    assert max(Counter(member.device_id for member in members).values()) <= 3


def test_window_shoppers_hold_more_often_than_they_buy_and_give_back(day: Day) -> None:
    """As hoarders do; a dreamer's holds come from one person at a person's pace."""
    dreamers = {purchase.user_id for purchase in day.purchases("window_shopper")}
    others = {purchase.user_id for purchase in day.purchases("")} - dreamers

    def holds_per_purchase(users: set[str]) -> float:
        held = sum(isinstance(each, SeatsHeld) and each.user_id in users for each in day.published)
        return held / sum(purchase.user_id in users for purchase in day.purchases())

    assert len(dreamers) >= 30
    assert holds_per_purchase(dreamers) > 1.6 * holds_per_purchase(others)
    held = Counter(each.hold_id for each in day.published if isinstance(each, SeatsHeld))
    released = Counter(each.hold_id for each in day.published if isinstance(each, SeatsReleased))
    assert set(held.values()) == {1} and released.keys() <= held.keys()


def test_gifts_are_handed_on_within_minutes(day: Day) -> None:
    """As from a looted account; but paid by a card and on a device of the buyer's own."""
    bought = {purchase.transaction_id: purchase for purchase in day.purchases("gift_buyer")}
    handed_on = [each for each in day.published if isinstance(each, TicketsTransferred)
                 and each.transaction_id in bought]  # fmt: skip
    assert len(bought) >= 50
    assert 0.55 < len(handed_on) / len(bought) < 0.9
    waits = [(each.occurred_at - bought[each.transaction_id].occurred_at).total_seconds() for each in handed_on]
    assert max(waits) < 600


def test_some_households_give_tickets_back_far_more_often_than_others(day: Day) -> None:
    """As abusers do; but theirs is no plan, and most of what they buy they use."""
    refunded = {each.transaction_id for each in day.published if isinstance(each, PaymentOutcome)
                and each.status == "refunded"}  # fmt: skip

    def share(look_alike: str) -> float:
        bought = [purchase.transaction_id for purchase in day.purchases(look_alike)]
        assert len(bought) >= 20
        return len(refunded.intersection(bought)) / len(bought)

    assert share("honest_refund") > 8 * share("")
    assert share("honest_refund") < 0.6


def test_every_segment_and_every_way_of_coming_in_is_there(day: Day) -> None:
    kinds = Counter(truth.look_alike for truth in day.simulation.truth.transactions.values())
    assert kinds.keys() == {
        "", "family_device", "office_ip", "traveller", "new_user", "forgot_password", "new_device", "several_cards",
        "group", "fan_club", "window_shopper", "gift_buyer", "honest_refund",
    }  # fmt: skip


def test_habits_can_be_changed_while_people_are_at_it() -> None:
    day = Day(express=0.0, newcomer=0.05).run(120)

    def share_of(kind: type[Message], since: int) -> float:
        sold = sum(isinstance(each, PurchaseRequested) for each in day.published[since:])
        return sum(isinstance(each, kind) for each in day.published[since:]) / sold

    before, new_before = share_of(SeatsHeld, 0), len(day.purchases("new_user")) / len(day.purchases())
    day.simulation.buyers.habits = replace(day.simulation.buyers.habits, express=0.95, newcomer=0.6)
    day.run(30)
    since, n_before, n_new = len(day.published), len(day.purchases()), len(day.purchases("new_user"))
    day.run(120)
    assert share_of(SeatsHeld, since) < before / 3
    assert (len(day.purchases("new_user")) - n_new) / (len(day.purchases()) - n_before) > 4 * new_before


def test_who_comes_in_while_sales_have_just_opened_waits_in_line() -> None:
    event, simulation = max(WORLD.events, key=lambda event: event.starts_us), Day().simulation
    engine = simulation.engine
    scene = Scene(simulation.world, engine, simulation.storefront, simulation.shop, simulation.truth)

    def waits(pace: float) -> int:
        return sum(1 for _ in scene.in_line(Random(1), event, pace))

    engine.advance_to(event.on_sale_us + 60 * SECOND_US)
    assert (waits(1.0), waits(0.03)) == (1, 0)
    engine.advance_to(event.on_sale_us + 3600 * SECOND_US)
    assert waits(1.0) == 0
