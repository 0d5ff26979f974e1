"""Uplift and its intervals: the truth lies inside at every look at once, as often as they say."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from ibook.anytime import margin, needed
from ibook.experiment_figures import FEWEST_SALES, FEWEST_SLOTS, Slot, moments, report, tally, uplift
from ibook.experiments import ExperimentArm, exact_shares
from ibook.messages import ExperimentShares

Floats = NDArray[np.float64]
REPEATS, SLOTS = 400, 1500
LIST_SHARE, BANDIT_SHARE = 0.125, 0.75


@dataclass(frozen=True)
class World:
    """Simulated slots: demand drifts from slot to slot, and the bandit's dearer price sells less often."""

    arm: Floats
    """0 list price, 1 bandit, 2 another."""
    offers: Floats
    revenue: Floats


def world(rng: np.random.Generator, price: float = 1.25, chance: float = 0.8) -> World:
    """A world whose true uplift is ``price * chance - 1``."""
    drift = np.asarray(lfilter([1.0], [1.0, -0.9], rng.normal(0.0, 0.2, SLOTS)), dtype=np.float64)
    uniform = rng.random(SLOTS)
    arm = np.where(uniform < LIST_SHARE, 0, np.where(uniform < LIST_SHARE + BANDIT_SHARE, 1, 2))
    offers = rng.poisson(8.0 * np.exp(drift))
    sells = np.clip(0.1 * np.exp(0.5 * drift + rng.normal(0.0, 0.4, SLOTS)), 0.0, 0.9) * np.where(arm == 1, chance, 1.0)
    revenue = rng.binomial(offers, sells) * np.where(arm == 1, price, 1.0)
    return World(*(np.asarray(each, dtype=np.float64) for each in (arm, offers, revenue)))


def looks(found: World) -> tuple[Floats, Floats, Floats]:
    """Lower and upper bound, and those of intervals for one look, after every slot from the first interval on."""
    bandit = moments(np.where(found.arm == 1, 1 / BANDIT_SHARE, 0.0), found.revenue, found.offers, running=True)
    base = moments(np.where(found.arm == 0, 1 / LIST_SHARE, 0.0), found.revenue, found.offers, running=True)
    begun = (bandit.slots >= FEWEST_SLOTS) & (base.slots >= FEWEST_SLOTS)
    n = np.arange(1.0, SLOTS + 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = uplift(bandit, base, n)
        once = np.abs(np.log1p(estimate.value)) / (1.96 * estimate.sd / np.sqrt(n))
    return estimate.low[begun], estimate.high[begun], once[begun]


def test_the_truth_lies_inside_at_every_look_and_intervals_for_one_look_would_miss_it() -> None:
    rng = np.random.default_rng(20260314)
    missed = missed_once = 0
    for _ in range(REPEATS):
        low, high, once = looks(world(rng))
        missed += bool(np.any((low > 0.0) | (high < 0.0)))
        missed_once += bool(np.any(once > 1.0))
    assert missed / REPEATS <= 0.05 + 2 * (0.05 * 0.95 / REPEATS) ** 0.5
    assert missed_once / REPEATS > 0.2


def test_an_arm_that_loses_two_fifths_is_seen_to_lose_in_nearly_every_world() -> None:
    rng = np.random.default_rng(7)
    seen = [bool(np.any(looks(world(rng, chance=0.48))[1] < -0.02)) for _ in range(60)]
    assert np.mean(seen) > 0.8


def test_slots_needed_are_those_until_the_interval_is_narrow_enough() -> None:
    n = needed(2.0, 0.05)
    assert 2.0 * float(margin(np.array(float(n)))) <= 0.05 < 2.0 * float(margin(np.array(float(n - 1))))


def slots(arm: ExperimentArm, n: int, revenue: float, shares: ExperimentShares) -> list[Slot]:
    """Slots of ten offers around a mean revenue."""
    return [Slot(arm, shares, 10, 1, revenue * (1.5 if i % 2 else 0.5)) for i in range(n)]


def test_a_report_knows_slots_offers_and_the_uplift_of_each_arm() -> None:
    shares = exact_shares(0.25, 0.25)
    mixed = slots("list_price", 100, 1.0, shares) + slots("rules", 100, 0.9, shares) + slots("bandit", 200, 1.2, shares)
    base, rules, bandit = report(tally(mixed))
    assert (base.slots, base.offers, base.sales) == (100, 1000, 100)
    assert base.revenue_per_offer == pytest.approx(0.1)
    assert base.uplift is base.slots_needed is None
    assert rules.uplift == pytest.approx(-0.1)
    assert bandit.uplift == pytest.approx(0.2)
    assert bandit.low is not None
    assert bandit.high is not None
    assert bandit.low < 0.2 < bandit.high
    assert bandit.slots_needed is not None
    assert rules.slots_needed is not None
    assert bandit.slots_needed < rules.slots_needed


def test_slots_are_weighed_by_the_share_they_had() -> None:
    """List price was tried on good days mostly: at face value it would look better than it is."""
    good, bad = exact_shares(0.5, 0.0), exact_shares(0.125, 0.0)
    mixed = (
        slots("list_price", 400, 2.0, good) + slots("bandit", 400, 2.2, good)
        + slots("list_price", 100, 1.0, bad) + slots("bandit", 700, 1.1, bad)
    )  # fmt: skip
    _, bandit = report(tally(mixed))
    assert bandit.uplift == pytest.approx(0.1)


def test_slots_in_which_an_arm_could_not_be_drawn_say_nothing_of_it() -> None:
    both, ended = exact_shares(0.25, 0.25), exact_shares(0.5, 0.0)
    before = slots("list_price", 50, 1.0, both) + slots("rules", 50, 0.9, both)
    after = slots("list_price", 100, 3.0, ended)
    [_, rules] = report(tally(before))
    [_, rules_later] = report(tally(after, tally(before)))
    assert rules == rules_later


def test_with_few_slots_or_sales_there_is_no_interval_but_how_many_slots_it_takes() -> None:
    shares = exact_shares(0.5, 0.0)
    few = slots("list_price", FEWEST_SLOTS - 5, 1.0, shares) + slots("bandit", 100, 1.0, shares)
    seldom = [replace(each, sales=i % 10 == 0) for i, each in enumerate(slots("list_price", 100, 1.0, shares))]
    unsold = [replace(each, sales=0, revenue=0.0) for each in slots("list_price", 100, 0.0, shares)]
    found = [report(tally([*each, *slots("bandit", 100, 1.0, shares)])) for each in (few[:20], seldom, unsold)]
    assert [(bandit.uplift, bandit.slots_needed) for _, bandit in found] == [(None, 30), (None, 200), (None, None)]
    assert report(tally([])) == []


def test_about_the_slots_that_are_said_to_be_needed_make_the_uplift_known_so_well() -> None:
    """Asked after 500 slots for what is known after 1,200 the report says about 1,200."""
    rng, n, said = np.random.default_rng(5), np.arange(1.0, SLOTS + 1.0), []
    for _ in range(60):
        found = world(rng)
        bandit = moments(np.where(found.arm == 1, 1 / BANDIT_SHARE, 0.0), found.revenue, found.offers, running=True)
        base = moments(np.where(found.arm == 0, 1 / LIST_SHARE, 0.0), found.revenue, found.offers, running=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            sd = uplift(bandit, base, n).sd
        said.append(needed(float(sd[499]), float(sd[1199] * margin(n[1199]))))
    assert 1000 < np.median(said) < 1400
    assert np.mean([600 < each < 2400 for each in said]) > 0.9


def test_an_arm_of_few_sales_does_not_look_as_if_it_lost() -> None:
    """Half an offer a slot: theory speaks of many sales, and without them one side would be missed too often."""
    rng, lost = np.random.default_rng(12), 0
    n = np.arange(1.0, SLOTS + 1.0)
    for _ in range(REPEATS):
        arm = np.where(rng.random(SLOTS) < LIST_SHARE, 0, 1)
        offers = rng.poisson(0.5, SLOTS).astype(np.float64)
        revenue = rng.binomial(offers.astype(np.int64), 0.5).astype(np.float64)
        bandit = moments(np.where(arm == 1, 1 / (1 - LIST_SHARE), 0.0), revenue, offers, running=True)
        base = moments(np.where(arm == 0, 1 / LIST_SHARE, 0.0), revenue, offers, running=True)
        begun = np.minimum(np.cumsum(revenue * (arm == 0)), np.cumsum(revenue * (arm == 1))) >= FEWEST_SALES
        with np.errstate(invalid="ignore", divide="ignore"):
            lost += bool(np.any((uplift(bandit, base, n).high < 0.0) & begun))
    assert lost / REPEATS <= 0.04
