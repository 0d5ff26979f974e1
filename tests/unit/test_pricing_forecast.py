"""Sums of an event -> what is still to come, at the ages that are counted differently."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from ibook.messages import EventListed, PriceReward, TicketType
from ibook.pricing_demand import DemandPrior
from ibook.pricing_forecast import offers_ahead, tickets_wanted
from ibook.rewards import MOST_DAYS, EventSums, fold

OPENS = datetime(2026, 5, 1, 10, tzinfo=UTC)
HALF_LIFE = 30 * 86_400.0
LAPSE = 960.0
LISTING = EventListed(
    message_id="l", occurred_at=OPENS - timedelta(days=7), event_id="e", name="Gala", category="concerts",
    promoter_id="p", venue="v", capacity=1000, on_sale_at=OPENS, starts_at=OPENS + timedelta(days=40), currency="GBP",
    ticket_types=[TicketType(name="stalls", list_price_minor=5000, floor_minor=3000, cap_minor=8000)],
)  # fmt: skip


def offer(at: datetime, sequence: int, *, sold: bool, price: int = 5000) -> PriceReward:
    return PriceReward(
        message_id=str(sequence), occurred_at=at, event_id="e", quote_id=str(sequence), ticket_type="stalls", arm=0,
        price_minor=price, slot=0, offered_at=at, offers=1, sales=int(sold), revenue_minor=0, n_tickets=2,
        source_partition=0, sequence=sequence,
    )  # fmt: skip


def steadily(first: datetime, every: timedelta, n: int, *, sold_of: int = 2, price: int = 5000) -> EventSums:
    """Offers at equal distances, one of `sold_of` sold."""
    sums = EventSums()
    for number in range(n):
        fold(sums, offer(first + number * every, number, sold=number % sold_of == 0, price=price), HALF_LIFE)
    return sums


def test_nothing_is_ahead_where_nothing_was_offered() -> None:
    now = OPENS + timedelta(days=1)
    assert offers_ahead(EventSums(), LISTING, now, LAPSE) == 0.0
    assert tickets_wanted(EventSums(), LISTING, OPENS + timedelta(minutes=5), DemandPrior()) == {}


def test_before_the_opening_a_rush_is_expected() -> None:
    wanted = tickets_wanted(EventSums(), LISTING, OPENS - timedelta(minutes=1), DemandPrior())
    assert wanted == {"stalls": {5000: 2000.0}}


def test_the_first_hour_goes_by_tickets_sold_and_later_by_offers() -> None:
    sums = steadily(OPENS, timedelta(seconds=2), 300)
    young = tickets_wanted(sums, LISTING, OPENS + timedelta(minutes=11), DemandPrior())
    assert young is not None and young["stalls"][5000] > 300.0
    assert tickets_wanted(sums, LISTING, OPENS + timedelta(minutes=61), DemandPrior()) is None


def test_dear_sales_stand_for_more_who_would_have_bought_at_list_price() -> None:
    """Ten sales at a high price show more interest than ten at list price, so a longer rest is in keeping with them."""
    now = OPENS + timedelta(minutes=11)
    sums = [steadily(OPENS, timedelta(seconds=6), 100, sold_of=1, price=price) for price in (5000, 7000)]
    cheap, dear = (tickets_wanted(each, LISTING, now, DemandPrior()) for each in sums)
    assert cheap is not None and dear is not None
    assert cheap["stalls"][5000] != pytest.approx(dear["stalls"][7000], rel=0.01)


@pytest.mark.parametrize("days", [0.2, 2.0, 20.0])
def test_a_steady_sale_is_expected_to_go_on(days: float) -> None:
    n = 400
    sums = steadily(OPENS, timedelta(days=days) / n, n)
    now = OPENS + timedelta(days=days, seconds=LAPSE)
    ahead = offers_ahead(sums, LISTING, now, LAPSE)
    assert 0.3 * n < ahead < n / days * 40


def test_offers_that_may_not_have_lapsed_play_no_part() -> None:
    sums = steadily(OPENS, timedelta(minutes=1), 300)
    now = OPENS + timedelta(minutes=300 + 16)
    before = offers_ahead(sums, LISTING, now, LAPSE)
    for number in range(300, 350):  # they'd be a sixth of all
        fold(sums, offer(OPENS + timedelta(minutes=310), number, sold=False), HALF_LIFE)
    assert offers_ahead(sums, LISTING, now, LAPSE) == pytest.approx(before, rel=0.2)


def test_a_sale_that_was_listed_late_is_not_taken_for_one_that_has_just_opened() -> None:
    late = replace(LISTING, occurred_at=OPENS + timedelta(days=30))
    since = OPENS + timedelta(days=30)
    sums = steadily(since, timedelta(seconds=5), 120)
    now = since + timedelta(minutes=11)
    wanted, as_opening = (
        tickets_wanted(sums, listing, now, DemandPrior())
        for listing in (late, replace(LISTING, on_sale_at=since, starts_at=since + timedelta(days=10)))
    )
    assert wanted is not None and as_opening is not None
    assert wanted["stalls"][5000] != pytest.approx(as_opening["stalls"][5000], rel=0.05)


def test_nobody_ends_the_prices_of_the_opening_by_asking_early() -> None:
    early = steadily(OPENS - timedelta(minutes=5), timedelta(seconds=1), 3, sold_of=3)
    wanted = tickets_wanted(early, LISTING, OPENS - timedelta(minutes=1), DemandPrior())
    assert wanted == {"stalls": {5000: 2000.0}}


def test_sales_before_the_opening_are_no_burst() -> None:
    sums = steadily(OPENS - timedelta(days=2), timedelta(minutes=1), 500)
    wanted = tickets_wanted(sums, LISTING, OPENS + timedelta(minutes=5), DemandPrior())
    assert wanted is not None and sum(wanted.get("stalls", {}).values()) < 2 * LISTING.capacity


def test_a_list_price_corrected_by_a_hundred_makes_no_nonsense() -> None:
    sums = steadily(OPENS, timedelta(seconds=30), 6, price=500_000)
    cheap = TicketType(name="stalls", list_price_minor=500, floor_minor=300, cap_minor=800)
    now = OPENS + timedelta(minutes=6)
    wanted = tickets_wanted(sums, replace(LISTING, ticket_types=[cheap]), now, DemandPrior())
    assert wanted is not None and 0.0 < wanted["stalls"][500_000] < 100 * LISTING.capacity


def test_more_taken_back_than_was_ever_counted_is_no_offer() -> None:
    """A learner whose rewards of long ago are gone reads refunds of sales that it never heard of."""
    sums = EventSums()
    taken = replace(offer(OPENS, 1, sold=True), offers=-1, sales=-1)
    fold(sums, taken, HALF_LIFE)
    for minutes in (5, 200):
        now = OPENS + timedelta(minutes=minutes)
        assert offers_ahead(sums, LISTING, now, LAPSE) == 0.0
        assert sum((tickets_wanted(sums, LISTING, now, DemandPrior()) or {}).get("stalls", {}).values()) == 0.0


def test_the_last_minutes_sales_do_not_count_twice() -> None:
    """Sales of which it may not be known yet are left out on both sides: of what was seen, and of what it promises."""
    sums = steadily(OPENS, timedelta(seconds=1), 90, sold_of=1)
    now = OPENS + timedelta(seconds=120)
    wanted = tickets_wanted(sums, LISTING, now, DemandPrior())
    for number in range(90, 118):
        fold(sums, offer(OPENS + timedelta(seconds=number), number, sold=True), HALF_LIFE)
    more = tickets_wanted(sums, LISTING, now, DemandPrior())
    assert wanted is not None and more is not None
    assert more["stalls"][5000] == pytest.approx(wanted["stalls"][5000], rel=0.02)


def test_offers_of_long_ago_count_though_their_sums_are_dropped() -> None:
    short = 3600.0
    sums = EventSums()
    for number in range(2000):
        fold(sums, offer(OPENS + number * timedelta(minutes=15), number, sold=number % 2 == 0), short)
    now = OPENS + timedelta(days=20, hours=21)
    assert sum(n for tiles in sums.prices["stalls"].values() for n, _ in tiles.values()) < 100
    assert offers_ahead(sums, LISTING, now, LAPSE) > 500


@pytest.mark.parametrize("days", [4, 10, 20])
def test_a_sale_that_fades_over_weeks_is_seen_to_fade(days: int) -> None:
    fades, every = 7.0, 3000
    ages = [-fades * math.log(1.0 - (number + 0.5) / every) for number in range(every)]
    sums = EventSums()
    for number, age in enumerate(ages):
        if age < days:
            fold(sums, offer(OPENS + timedelta(days=age), number, sold=number % 2 == 0), HALF_LIFE)
    ahead = offers_ahead(sums, LISTING, OPENS + timedelta(days=days, seconds=LAPSE), LAPSE)
    left = sum(age > days for age in ages)
    assert abs(ahead - left) < 0.15 * every


def test_days_are_counted_exactly_and_not_for_ever() -> None:
    sums = EventSums()
    for number in range(MOST_DAYS + 5):
        fold(sums, offer(OPENS + timedelta(days=number), number, sold=False), HALF_LIFE)
    assert len(sums.days) == MOST_DAYS and sum(sums.days.values()) == MOST_DAYS
    newest = max(sums.days)
    taken = replace(offer(OPENS + timedelta(days=MOST_DAYS + 4), 10_000, sold=False), offers=-1)
    fold(sums, taken, HALF_LIFE)
    assert newest not in sums.days


@pytest.mark.parametrize("minutes", [3, 20, 200])
def test_what_was_sold_before_we_were_told_outweighs_a_pace_of_minutes(minutes: int) -> None:
    """A month sold 300 of 1,000 seats; then somebody asks every five seconds since we were told of the sale."""
    late = replace(LISTING, occurred_at=OPENS + timedelta(days=30))
    since = OPENS + timedelta(days=30)
    sums = steadily(since, timedelta(seconds=5), 12 * minutes)
    now = since + timedelta(minutes=minutes)
    left = late.capacity - 300 - sums.tickets

    def ahead(seats_left: int | None) -> float:
        wanted = tickets_wanted(sums, late, now, DemandPrior(), seats_left)
        return sum(wanted["stalls"].values()) if wanted else offers_ahead(sums, late, now, LAPSE, seats_left)

    assert ahead(left) < ahead(None) / 3


def test_seats_that_are_gone_promise_something_before_anybody_asks() -> None:
    late = replace(LISTING, occurred_at=OPENS + timedelta(days=30))
    wanted = tickets_wanted(EventSums(), late, OPENS + timedelta(days=30, minutes=1), DemandPrior(), 700)
    assert wanted is not None and 30.0 < wanted["stalls"][5000] < 1000.0
