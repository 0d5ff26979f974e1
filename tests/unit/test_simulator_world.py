"""The world: a calendar that hangs on the seed, attention that follows events' lives, and what a run changes in it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from ibook.clock import to_us
from ibook.messages import CompetitorPrices, EventListed, InventoryChanged, Message
from ibook.topics import Topic
from simulator.attention import DAY_US, FAST_DECAY_US, HOUR_US, LATECOMERS, RISE_DAYS, Appeal, Attention
from simulator.catalogue import ANNOUNCED_DAYS, Event
from simulator.engine import SECOND_US
from simulator.fraudsters import Tempo
from simulator.mix import NO_FRAUD
from simulator.pacing import busyness, following, middles, steady
from simulator.shop import ShopRules
from simulator.simulation import Setup, Simulation
from simulator.storefront import ListPrices
from simulator.world import LOOK_AHEAD_DAYS, LOOK_BACK_DAYS, World, WorldSize

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW_US = to_us(NOW)
WORLD = World(5, NOW)
LARGE = World(6, NOW, WorldSize(events=2000))


def ordinary(events: tuple[Event, ...]) -> list[Event]:
    return [event for event in events if event.appeal.burst_us > FAST_DECAY_US]


def hot(events: tuple[Event, ...]) -> list[Event]:
    return [event for event in events if event.appeal.burst_us <= FAST_DECAY_US]


class Played:
    """A shop of honest people, and what it publishes."""

    def __init__(self, world: World, *, start: datetime, per_second: float) -> None:
        self.published: list[Message] = []
        setup = Setup(
            seed=5, run="world", start_us=to_us(start), opens_us=to_us(start), punctual=False, per_second=per_second,
            rules=ShopRules(), tempo=Tempo(), prices=ListPrices(), mix=NO_FRAUD,
        )  # fmt: skip
        self.simulation = Simulation(
            world, setup, steady(to_us(start), per_second, Random(1)), write=self._write,
            asked=lambda purchase: self.simulation.shop.on_verdict(purchase.transaction_id, "approve"),
        )  # fmt: skip
        self.simulation.announce()
        self.simulation.crowd.begin(self.simulation.buyers.arrivals)

    def _write(self, topic: Topic, key: str, message: Message) -> None:
        self.published.append(message)

    def run(self, length: timedelta) -> None:
        engine = self.simulation.engine
        engine.run_until(engine.now_us + int(length.total_seconds() * SECOND_US))

    def shares(self) -> dict[str, float]:
        """Of the prices shown so far, per event; counting begins anew."""
        shown = self.simulation.storefront.shown
        shares = {event_id: count / shown.total() for event_id, count in shown.items()}
        self.simulation.storefront.forget(ListPrices())
        return shares


# ------------------------------------------------------------------------------------------------------ the calendar
def test_the_same_seed_and_day_give_the_same_world_at_any_hour() -> None:
    evening = World(5, NOW.replace(hour=23))
    assert evening.events == WORLD.events
    assert evening.people.household(77) == WORLD.people.household(77)
    assert World(6, NOW).events != WORLD.events


def test_there_are_more_than_a_hundred_events_of_every_category_on_sale_and_to_come() -> None:
    assert len(WORLD.by_id) == len(WORLD.events) == 120
    assert set(Counter(event.category for event in WORLD.events)) == {"sports", "concerts", "family", "cultural"}
    on_sale = [event for event in WORLD.events if event.on_sale_us <= NOW_US < event.starts_us]
    assert 35 <= len(on_sale) <= 85
    for event in WORLD.events:
        assert event.announced_us < event.on_sale_us < event.starts_us
        assert -LOOK_BACK_DAYS - 4 <= (event.starts_us - NOW_US) / DAY_US <= LOOK_AHEAD_DAYS + 4
        assert 0 <= event.remaining <= event.capacity
        assert all(ticket.floor_minor < ticket.list_price_minor < ticket.cap_minor for ticket in event.tickets)


def test_a_world_of_another_day_or_with_more_events_has_the_same_events_at_the_same_times() -> None:
    tomorrow, more = World(5, NOW + timedelta(days=1)), World(5, NOW, WorldSize(events=200))
    for other, fewest in ((tomorrow, 110), (more, 120)):
        common = other.by_id.keys() & WORLD.by_id.keys()
        assert len(common) >= fewest
        for event_id in common:
            one, same = WORLD.by_id[event_id], other.by_id[event_id]
            assert (one.starts_us, one.on_sale_us, one.tickets) == (same.starts_us, same.on_sale_us, same.tickets)


def test_a_smaller_house_is_wanted_by_as_many_per_seat() -> None:
    for small, usual in zip(World(5, NOW, WorldSize(seats=0.1)).events, WORLD.events, strict=True):
        assert small.capacity == pytest.approx(usual.capacity / 10, abs=1)
        assert small.appeal.tickets / small.capacity == pytest.approx(usual.appeal.tickets / usual.capacity)


# ----------------------------------------------------------------------------------------------------- attention
def test_over_half_of_an_ordinary_event_is_wanted_in_its_last_week() -> None:
    last_week, last_days, early = [], [], []
    for event in ordinary(LARGE.events):
        appeal = event.appeal
        last_week.append(1 - appeal.wanted(event.starts_us - 7 * DAY_US) / appeal.tickets)
        last_days.append(1 - appeal.wanted(event.starts_us - 3 * DAY_US) / appeal.tickets)
        early.append(appeal.wanted(event.on_sale_us + DAY_US) / appeal.tickets)
    assert np.mean(last_week) == pytest.approx(0.57, abs=0.02)
    assert 0.38 < np.mean(last_days) < 0.49
    assert 0.05 < np.mean(early) < 0.12


def test_a_tenth_of_the_events_is_hot_and_sells_out_within_hours() -> None:
    found = hot(LARGE.events)
    assert len(found) / len(LARGE.events) == pytest.approx(0.1, abs=0.02)
    hours = [(event.appeal.sells_out_us - event.on_sale_us) / HOUR_US for event in found]
    assert np.median(hours) < 2
    assert np.mean(np.array(hours) < 12) > 0.6
    assert all(event.appeal.sells_out_us == event.starts_us for event in ordinary(LARGE.events))


def test_an_event_is_sold_out_when_as_many_were_wanted_as_it_has_seats() -> None:
    for event in hot(LARGE.events)[:20]:
        appeal = event.appeal
        assert appeal.wanted(appeal.sells_out_us) >= appeal.seats > appeal.wanted(appeal.sells_out_us - 2 * SECOND_US)
        assert event.as_of(appeal.sells_out_us).remaining == 0
        assert event.as_of(event.on_sale_us).remaining == event.capacity


def test_attention_is_the_pace_at_which_tickets_are_wanted() -> None:
    """The derivative of `wanted`, by a difference."""
    events = LARGE.events[::40]
    attention = Attention([event.appeal for event in events])
    for at_us in range(NOW_US, NOW_US + 100 * DAY_US, 9 * DAY_US + 1):
        by_us = 10 * SECOND_US
        paces = [(e.appeal.wanted(at_us + by_us) - e.appeal.wanted(at_us - by_us)) / 20 for e in events]
        assert attention.at(at_us) == pytest.approx(paces, rel=1e-3, abs=1e-9)


def test_a_burst_steps_up_with_the_opening_and_decays_exponentially() -> None:
    appeal = Appeal(tickets=9000, seats=99_999, on_sale_us=NOW_US, starts_us=NOW_US + 60 * DAY_US, burst=1.0,
                    burst_us=0.5 * HOUR_US, rise=0.0)  # fmt: skip
    attention = Attention([appeal])
    paces = [float(attention.at(NOW_US + minutes * 60 * SECOND_US)[0]) for minutes in (-1, 0, 30, 60, 90)]
    assert paces[0] == 0
    assert paces[1] == pytest.approx(9000 / 1800)
    assert all(earlier / later == pytest.approx(np.e) for earlier, later in pairwise(paces[1:]))


def test_attention_rises_exponentially_before_the_start_and_ends_there() -> None:
    appeal = Appeal(tickets=9000, seats=99_999, on_sale_us=NOW_US - 60 * DAY_US, starts_us=NOW_US, burst=0.0,
                    burst_us=HOUR_US, rise=1.0)  # fmt: skip
    attention = Attention([appeal])
    paces = [float(attention.at(NOW_US - int(back * RISE_DAYS * DAY_US) - 1)[0]) for back in (2, 1, 0)]
    assert paces[1] / paces[0] == pytest.approx(np.e)
    assert paces[2] / paces[1] == pytest.approx(np.e)
    assert attention.at(NOW_US)[0] == 0


def test_all_attention_together_is_the_sum_over_the_events_that_have_seats() -> None:
    instants = middles(NOW_US, NOW_US + DAY_US)[::97]
    attention = Attention([event.appeal for event in ordinary(WORLD.events)])
    assert attention.over(instants) == pytest.approx([attention.at(int(at)).sum() for at in instants])
    gone = [event.appeal for event in hot(LARGE.events)
            if event.appeal.reached_us(LATECOMERS * event.appeal.seats) < NOW_US < event.starts_us]  # fmt: skip
    assert gone
    assert not Attention(gone).over(np.array([NOW_US])).any()


def test_weights_are_never_kept_past_an_opening_or_a_start() -> None:
    attention = Attention([event.appeal for event in WORLD.events])
    turns = sorted({at for event in WORLD.events for at in (event.on_sale_us, event.starts_us)})
    for turn in turns:
        assert turn - 5 * SECOND_US < attention.good_until(turn - 5 * SECOND_US) <= turn
        assert attention.good_until(turn) > turn


# ------------------------------------------------------------------------------------------------ day, week, season
def test_a_shop_is_busiest_in_the_evening_on_fridays_and_in_december() -> None:
    start_us = to_us(datetime(2026, 1, 5, tzinfo=UTC))  # a Monday
    days = busyness(start_us + DAY_US * np.arange(364, dtype=np.int64) + 15 * HOUR_US)
    assert [int(np.argmax(days[week : week + 7])) for week in range(0, 364, 7)] == [4] * 52
    months = [days[month * 30 : month * 30 + 28].mean() for month in range(12)]
    assert np.argmax(months) in (10, 11) and np.argmin(months) in (4, 5)
    assert busyness(middles(start_us, start_us + 364 * DAY_US)).mean() == pytest.approx(1.0, abs=0.02)


def test_instants_follow_any_load_and_are_as_many_as_asked() -> None:
    end_us = NOW_US + 10 * HOUR_US
    load = np.where(middles(NOW_US, end_us) < NOW_US + HOUR_US, 9.0, 1.0)
    instants = list(following(NOW_US, end_us, load, 9_000, Random(1)))
    assert len(instants) == 9_000
    assert instants == sorted(instants)
    assert instants[0] >= NOW_US and instants[-1] < end_us
    assert sum(at < NOW_US + HOUR_US for at in instants) == pytest.approx(4_500, abs=1)


def test_a_load_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no instant"):
        list(following(NOW_US, NOW_US + HOUR_US, np.zeros(60), 10, Random(1)))


# ------------------------------------------------------------------------------------------------------ in a run
def test_what_is_looked_at_follows_attention_but_each_segment_in_its_own_way() -> None:
    rng, shares = Random(3), WORLD.attention.at(NOW_US)
    drawn = Counter(WORLD.event(rng).event_id for _ in range(20_000))
    for event, share in zip(WORLD.events, shares / shares.sum(), strict=True):
        assert drawn[event.event_id] / 20_000 == pytest.approx(share, abs=0.015)
    family = [Counter(WORLD.event(rng, one).category for _ in range(4000))["family"] for one in ("families", "fans")]
    assert family[0] > 3 * family[1]


def test_focus_multiplies_an_events_share_and_is_noted_with_its_time() -> None:
    shop = Played(WORLD, start=NOW, per_second=10.0)
    shop.run(timedelta(minutes=5))
    before = shop.shares()
    event_id = sorted(before, key=lambda one: before[one])[len(before) // 2]
    shop.simulation.world.focus(event_id, 30.0)
    shop.run(timedelta(minutes=1))
    shop.shares()
    shop.run(timedelta(minutes=4))
    after = shop.shares()
    odds = after[event_id] / (1 - after[event_id]) / (before[event_id] / (1 - before[event_id]))
    assert 12 < odds < 70
    (change,) = shop.simulation.truth.changes
    assert change.occurred_us == NOW_US + 300 * SECOND_US
    assert event_id in change.what and "x 30" in change.what


def test_one_runs_changes_leave_the_world_and_other_runs_alone() -> None:
    one, other = (Played(WORLD, start=NOW, per_second=1.0).simulation.world for _ in range(2))
    before = [world.attention.at(NOW_US) for world in (WORLD, other)]
    for event in WORLD.events:
        one.focus(event.event_id, 5.0)
    one.shift_demand(2.0)
    assert [world.attention.at(NOW_US).tolist() for world in (WORLD, other)] == [each.tolist() for each in before]
    event = WORLD.events[9]
    assert other.demand(event, event.tickets[0], "fans") == WORLD.demand(event, event.tickets[0], "fans")


def test_when_all_are_willing_to_pay_less_fewer_who_look_buy() -> None:
    shop = Played(WORLD, start=NOW, per_second=10.0)

    def bought_per_look() -> float:
        before = shop.simulation.shop.ledger.counts["purchases"]
        shop.run(timedelta(minutes=5))
        share = (shop.simulation.shop.ledger.counts["purchases"] - before) / shop.simulation.storefront.shown.total()
        shop.shares()
        return share

    usual = bought_per_look()
    shop.simulation.world.shift_demand(0.6)
    assert bought_per_look() < 0.85 * usual
    assert [change.what for change in shop.simulation.truth.changes] == ["willingness to pay x 0.6"]


def test_nothing_is_oversold_and_what_is_sold_out_is_looked_at_no_more() -> None:
    shop = Played(World(5, NOW, WorldSize(seats=0.01)), start=NOW, per_second=2.0)
    shop.run(timedelta(minutes=10))
    levels = [message for message in shop.published if isinstance(message, InventoryChanged)]
    assert all(0 <= level.remaining <= level.capacity for level in levels)
    sold_out = {event_id for event_id, left in shop.simulation.inventory.remaining.items() if left == 0}
    assert len(sold_out) >= 5
    attention = shop.simulation.world.attention.at(shop.simulation.engine.now_us)
    shown = {event.event_id for event, pace in zip(WORLD.events, attention, strict=True) if pace > 0}
    assert shown.isdisjoint(sold_out)
    assert len(shown) >= 10


def test_seats_given_back_bring_an_event_back_when_they_are_enough_to_speak_of() -> None:
    simulation = Played(WORLD, start=NOW, per_second=1.0).simulation
    index, event = next(
        (index, event) for index, event in enumerate(WORLD.events) if simulation.world.attention.at(NOW_US)[index] > 0
    )
    seats = simulation.inventory.remaining[event.event_id]

    def is_looked_at() -> bool:
        return bool(simulation.world.attention.at(NOW_US)[index] > 0)

    assert simulation.inventory.take(event.event_id, seats)
    assert not is_looked_at()
    simulation.inventory.put_back(event.event_id, 2)
    assert not is_looked_at()
    simulation.inventory.put_back(event.event_id, seats - 2)
    assert is_looked_at()


def test_nobody_visits_before_the_account_was_opened() -> None:
    for days_ago in (0, 60, 400):
        now_us = NOW_US - days_ago * DAY_US
        world = WORLD.at_work(lambda: now_us, lambda _: None)  # noqa: B023
        rng = Random(1)
        users = [user for _ in range(300) for user in world.household(rng).users]
        assert all(user.opened_us <= now_us for user in users)
        assert len({user.user_id for user in users}) > 200


def test_events_are_listed_a_week_before_they_are_on_sale_and_competitors_are_watched_daily() -> None:
    shop = Played(WORLD, start=NOW, per_second=0.002)
    shop.run(timedelta(days=10))
    listed = {message.event_id: to_us(message.occurred_at) for message in shop.published
              if isinstance(message, EventListed)}  # fmt: skip
    end_us = NOW_US + 10 * DAY_US
    due = {event.event_id for event in WORLD.events if event.announced_us <= end_us and event.starts_us > NOW_US}
    assert listed.keys() == due
    assert any(at_us > NOW_US for at_us in listed.values())
    for event_id, at_us in listed.items():
        assert at_us == max(NOW_US, WORLD.by_id[event_id].on_sale_us - ANNOUNCED_DAYS * DAY_US)
    watched = Counter((message.event_id, message.occurred_at.date()) for message in shop.published
                      if isinstance(message, CompetitorPrices))  # fmt: skip
    assert set(watched.values()) == {1}
    whole = [event for event in WORLD.events if event.announced_us <= NOW_US and event.starts_us > end_us]
    assert whole
    assert all(sum(event.event_id == one for one, _ in watched) == 11 for event in whole)


def test_a_competitors_published_price_is_the_one_that_visitors_compare_with() -> None:
    shop = Played(WORLD, start=NOW, per_second=0.002)
    shop.run(timedelta(hours=14))
    message = [each for each in shop.published if isinstance(each, CompetitorPrices)][-1]
    event = WORLD.by_id[message.event_id]
    assert message.occurred_at.date() == NOW.date() + timedelta(days=1)
    for ticket, price in zip(event.tickets, message.prices, strict=True):
        curve = shop.simulation.world.demand(event, ticket, "tourists")
        assert (price.ticket_type, price.price_minor) == (ticket.name, curve.rival_minor)
