"""Posteriors, Thompson sampling, floors, and learning against a demand that is known."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import exp
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibook.bandit import Market, RevenueThompson, interval95, mean, next_policy, posterior, prior
from ibook.clock import to_us
from ibook.codec import decode, encode
from ibook.messages import EventListed, PricePolicy, PriceReward, TicketType
from ibook.pricing import PricingRules, choose_price, slot_of, slot_start
from ibook.pricing_demand import DemandPrior
from ibook.pricing_forecast import market_of
from ibook.pricing_guards import PROBABILITY_FLOOR, expected_price, with_floor
from ibook.rewards import EventSums, fold, known

START = datetime(2026, 3, 1, tzinfo=UTC)
STALLS = TicketType(name="stalls", list_price_minor=5000, floor_minor=3000, cap_minor=8000)
LISTING = EventListed(
    message_id="l",
    occurred_at=START,
    event_id="e",
    name="Gala",
    category="concerts",
    promoter_id="p",
    venue="v",
    capacity=100,
    on_sale_at=START,
    starts_at=START + timedelta(days=30),
    currency="GBP",
    ticket_types=[STALLS],
)
RULES = PricingRules(slot_seconds=300.0, half_life_seconds=86_400.0, seed=3)
FIVE_ARMS = PricingRules(multipliers=(0.8, 0.9, 1.0, 1.1, 1.25), half_life_seconds=86_400.0, seed=3)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20).filter(lambda shares: sum(shares) > 1e-6))
def test_probabilities_sum_to_exactly_one_and_keep_the_floor(shares: list[float]) -> None:
    probabilities = with_floor(np.array(shares))
    assert sum(probabilities) == 1.0
    assert sum(reversed(probabilities)) == 1.0
    assert min(probabilities) >= PROBABILITY_FLOOR


@given(
    st.dictionaries(
        st.integers(0, 10**6), st.integers(0, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
    )
)
def test_posterior_holds_decayed_sums(tiles: dict[int, tuple[int, int]]) -> None:
    as_of = datetime.fromtimestamp(10**6, UTC)
    before = prior(5000, 5000)
    after = posterior(tiles, before, as_of=as_of, half_life_seconds=1e5)
    weights = {start: 0.5 ** ((10**6 - start) / 1e5) for start in tiles}
    assert after.alpha - before.alpha == pytest.approx(sum(weights[t] * tiles[t][1] for t in tiles))
    total = after.alpha + after.beta - before.alpha - before.beta
    assert total == pytest.approx(sum(weights[t] * tiles[t][0] for t in tiles))


def test_no_experience_prefers_no_price_by_much() -> None:
    [arms] = next_policy(LISTING, {}, None, now=START, rules=RULES).upcoming
    allowed = [each for each in arms.probabilities if each]
    assert max(allowed) < 0.5
    assert abs(expected_price(arms) / 5000 - 1.0) < 0.15


def test_the_interval_holds_the_mean_and_narrows_with_evidence() -> None:
    little = posterior({0: (10, 2)}, prior(1, 1), as_of=START, half_life_seconds=1e12)
    much = posterior({0: (1000, 200)}, prior(1, 1), as_of=START, half_life_seconds=1e12)
    for one in (little, much):
        low, high = interval95(one)
        assert low < mean(one) < high
    assert interval95(much)[1] - interval95(much)[0] < interval95(little)[1] - interval95(little)[0]


def test_shares_are_how_often_rivers_policy_pulls_an_arm() -> None:
    prices = [4000, 5000, 6000]
    posteriors = [
        posterior({0: (offers, 30)}, prior(price, 5000), as_of=START, half_life_seconds=1e12)
        for price, offers in zip(prices, (200, 240, 300), strict=True)
    ]
    policy = RevenueThompson(prices, posteriors, seed=5)
    pulls = Counter(policy.pull([0, 1, 2]) for _ in range(4000))
    for arm, share in enumerate(policy.shares(20_000)):
        assert abs(pulls[arm] / 4000 - share) < 0.04


def test_the_same_evidence_gives_the_same_policy() -> None:
    sums = {"stalls": {5000: {to_us(START) // 10**6: (100, 9)}}}
    first = next_policy(LISTING, sums, None, now=START, rules=RULES)
    assert first == next_policy(LISTING, sums, None, now=START, rules=RULES)
    assert decode(encode(first), PricePolicy) == first
    assert first.first_slot == slot_of(START, RULES.slot_seconds) + 1
    assert first.current == []


def test_a_policy_carries_on_what_the_last_one_says_of_this_slot() -> None:
    first = next_policy(LISTING, {}, None, now=START, rules=RULES)
    same_slot = next_policy(LISTING, {}, first, now=START + timedelta(seconds=10), rules=RULES)
    later = next_policy(LISTING, {}, same_slot, now=START + timedelta(seconds=310), rules=RULES)
    assert same_slot.current == first.current == []
    assert same_slot.version == first.version + 1
    assert later.current == same_slot.upcoming


def reward_of(price: int, sold: bool, *, at: datetime, sequence: int) -> PriceReward:
    return PriceReward(
        message_id=f"m{sequence}", occurred_at=at, event_id="e", quote_id=f"q{sequence}", ticket_type="stalls", arm=0,
        price_minor=price, slot=0, offered_at=at, offers=1, sales=int(sold), revenue_minor=price * int(sold),
        source_partition=0, sequence=sequence,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("intercept", "slope", "best_arm"),
    [(1.4, 0.00005, -1), (-1.0, 0.0006, 0)],
    ids=["inelastic, the dearest earns most", "elastic, the cheapest earns most"],
)
def test_the_best_price_is_drawn_more_and_more_against_a_known_demand(
    intercept: float, slope: float, best_arm: int
) -> None:
    random, sums, policy, sequence = Random(11), EventSums(), None, 0
    best: list[float] = []
    for step in range(200):
        policy = next_policy(LISTING, sums.prices, policy, now=START + timedelta(seconds=300 * step), rules=FIVE_ARMS)
        price = choose_price(policy, "e", STALLS, slot=policy.first_slot, secret=b"s", rules=FIVE_ARMS).price_minor
        offered_at = slot_start(policy.first_slot, FIVE_ARMS.slot_seconds)
        sale_share = 1.0 / (1.0 + exp(intercept + slope * price))
        for _ in range(40):
            sequence += 1
            fold(sums, reward_of(price, random.random() < sale_share, at=offered_at, sequence=sequence), 86_400.0)
        best.append(policy.upcoming[0].probabilities[best_arm])
    assert best[0] < 0.4
    assert sum(best[-20:]) / 20 > 0.6


EVIDENCE = {"stalls": {4250: {to_us(START) // 10**6: (300, 150)}, 5750: {to_us(START) // 10**6: (300, 120)}}}


@given(st.lists(st.integers(0, 3000), min_size=2, max_size=4))
def test_fewer_seats_never_make_prices_lower(seats: list[int]) -> None:
    means = [
        expected_price(
            next_policy(
                LISTING, EVIDENCE, None, now=START, rules=RULES, market=Market(seats_left=left, offers_ahead=2000.0)
            ).upcoming[0]
        )
        for left in sorted(seats, reverse=True)
    ]
    assert all(later >= earlier - 0.5 for earlier, later in pairwise(means))


def test_a_competitor_near_the_list_price_holds_prices_back() -> None:
    def with_rival(price: int) -> float:
        market = Market(rivals={"stalls": price})
        return expected_price(next_policy(LISTING, EVIDENCE, None, now=START, rules=RULES, market=market).upcoming[0])

    assert with_rival(5800) < with_rival(9000) - 50


def test_the_sentence_for_staff_names_price_evidence_and_seats() -> None:
    market = Market(seats_left=70, offers_ahead=1000.0, tickets_per_sale=2.0)
    [arms] = next_policy(LISTING, EVIDENCE, None, now=START, rules=RULES, market=market).upcoming
    assert arms.why.startswith("On average ")
    assert "above list, learned from 599 recent offers; 70 seats are left" in arms.why


def test_prices_move_by_one_step_an_hour_at_most() -> None:
    scarce, policy = Market(seats_left=1, offers_ahead=10_000.0), None
    means = []
    for minutes in range(60, 360, 5):
        policy = next_policy(LISTING, {}, policy, now=START + timedelta(minutes=minutes), rules=RULES, market=scarce)
        [arms] = policy.upcoming
        drawn = [price for price, each in zip(arms.prices_minor, arms.probabilities, strict=True) if each]
        assert all(abs(price - arms.anchor_minor) <= RULES.max_step * 5000 + 0.5 for price in drawn)
        means.append((arms.anchor_hour, expected_price(arms)))
    assert means[0][1] < 1.45 * 5000 < means[-1][1]


def test_the_prices_of_a_sales_first_hour_keep_near_the_list_price_and_then_step_from_there() -> None:
    rules = PricingRules(max_step=0.15, opening_step=0.45, seed=3)
    scarce, policy = Market(seats_left=1, offers_ahead=10_000.0), None
    for minutes in (-10, 20, 65, 70):
        policy = next_policy(LISTING, {}, policy, now=START + timedelta(minutes=minutes), rules=rules, market=scarce)
        [arms] = policy.upcoming
        if minutes < 60:
            assert expected_price(arms) == pytest.approx(1.45 * 5000, rel=0.03)
    drawn = [price for price, each in zip(arms.prices_minor, arms.probabilities, strict=True) if each]
    assert all(abs(price - arms.anchor_minor) <= 0.15 * 5000 + 0.5 for price in drawn)
    assert arms.anchor_minor == pytest.approx(1.45 * 5000, rel=0.03)


def test_an_opening_is_priced_for_a_rush_and_a_quiet_sale_is_not() -> None:
    def opens(minutes: int, sums: EventSums) -> float:
        now = START + timedelta(minutes=minutes)
        left = LISTING.capacity - sums.tickets
        market = market_of(LISTING, sums, seats_left=left, rivals={}, prior=DemandPrior(), now=now, rules=RULES)
        [arms] = next_policy(LISTING, {}, None, now=now, rules=RULES, market=market).upcoming
        return expected_price(arms)

    rushed = EventSums()
    for number in range(60):
        fold(rushed, reward_of(6000, True, at=START + timedelta(seconds=number), sequence=number), 86_400.0)
    assert opens(-6, EventSums()) > 1.3 * 5000
    assert opens(4, EventSums()) < 1.15 * 5000
    assert opens(4, rushed) > 1.3 * 5000


def test_young_sales_are_no_evidence_until_offers_without_one_would_have_lapsed() -> None:
    sums = EventSums()
    fold(sums, reward_of(5000, True, at=START, sequence=1), 86_400.0)
    fold(sums, reward_of(5000, False, at=START, sequence=2), 86_400.0)
    fold(sums, reward_of(6000, True, at=START + timedelta(minutes=20), sequence=3), 86_400.0)
    soon, later = (known(sums, START + timedelta(minutes=minutes), RULES)["stalls"] for minutes in (21, 40))
    tile = to_us(START) // 10**6
    assert soon[5000][tile] == (2, 1)
    assert sum(offers for offers, _ in soon[6000].values()) == 0
    assert later == sums.prices["stalls"]


def test_a_sale_taken_back_leaves_the_young_ones_too() -> None:
    sums = EventSums()
    fold(sums, reward_of(5000, True, at=START, sequence=1), 86_400.0)
    taken = reward_of(5000, True, at=START, sequence=2)
    fold(sums, replace(taken, offers=-1, sales=-1), 86_400.0)
    assert not sums.prices
    assert not any(cells for prices in sums.young.values() for cells in prices.values())
