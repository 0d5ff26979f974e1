"""Priors from other events: what is pooled is what was there, and nobody learns twice from the same offers."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.messages import CurveMoments, EventListed, TicketType
from ibook.pricing_demand import CurveFit, DemandPrior, counts_of, fit
from ibook.pricing_priors import NOTHING, Experience, added_up, moments_of, plus, pooled, prior_of

START = datetime(2026, 3, 1, tzinfo=UTC)
TILE = int(START.timestamp())


def listing(event_id: str, category: str = "concerts", promoter_id: str = "p") -> EventListed:
    return EventListed(
        message_id="l", occurred_at=START, event_id=event_id, name="Gala", category=category,  # type: ignore[arg-type]
        promoter_id=promoter_id, venue="v", capacity=100, on_sale_at=START, starts_at=START + timedelta(days=30),
        currency="GBP",
        ticket_types=[TicketType(name="stalls", list_price_minor=5000, floor_minor=3000, cap_minor=8000)],
    )  # fmt: skip


def curve(at_list: float, slope: float, n: int, rng: np.random.Generator, prior: DemandPrior) -> CurveFit:
    """What n offers at each of four prices teach about a curve that is known."""
    sums = {}
    for price in (3500, 4500, 5500, 7000):
        chance = 1.0 / (1.0 + np.exp(-(at_list + slope * (price / 5000 - 1.0))))
        sums[price] = {TILE: (n, int(rng.binomial(n, chance)))}
    return fit(counts_of(list(sums), 5000, sums, as_of=START, half_life_seconds=1e9), prior)


def world(n_events: int, n_offers: int) -> tuple[DemandPrior, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """The prior after as many events, each met with the prior of those before it, and the true curves."""
    rng, experience, truth = np.random.default_rng(7), Experience(), []
    for number in range(n_events):
        at_list, slope = 0.3 + 0.3 * rng.standard_normal(), -3.0 + 0.8 * rng.standard_normal()
        truth.append((at_list, slope))
        event = listing(f"e{number}")
        found = curve(at_list, slope, n_offers, rng, prior_of(event, [experience.totals()]))
        experience.note(event, moments_of([found]))
    return prior_of(listing("new"), [experience.totals()]), np.array(truth)


def test_a_new_event_starts_from_what_others_were_like() -> None:
    prior, truth = world(60, 300)
    centre, spread = truth.mean(axis=0), truth.std(axis=0)
    assert prior.mean[0] == pytest.approx(centre[0], abs=0.1)
    assert prior.mean[1] == pytest.approx(centre[1], abs=0.3)
    assert prior.covariance[0][0] ** 0.5 == pytest.approx(spread[0], rel=0.35)
    assert prior.covariance[1][1] ** 0.5 == pytest.approx(spread[1], rel=0.35)


def test_events_without_offers_teach_nothing() -> None:
    experience = Experience()
    experience.note(listing("quiet"), moments_of([]))
    assert prior_of(listing("new"), [experience.totals()]) == prior_of(listing("new"), []) == DemandPrior()


def test_an_event_is_no_part_of_its_own_prior() -> None:
    rng, experience = np.random.default_rng(1), Experience()
    for name in ("one", "other"):
        experience.note(listing(name), moments_of([curve(0.0, -2.0, 100, rng, DemandPrior())]))
    only = Experience()
    only.note(listing("other"), experience._told["other"].moments)
    ours = prior_of(listing("one"), [experience.for_others(listing("one"))])
    theirs = prior_of(listing("one"), [only.totals()])
    assert ours.mean == pytest.approx(theirs.mean)


def test_what_an_event_teaches_is_replaced_by_what_it_teaches_later() -> None:
    rng, experience = np.random.default_rng(1), Experience()
    early, late = (moments_of([curve(0.0, -2.0, n, rng, DemandPrior())]) for n in (10, 1000))
    experience.note(listing("e"), early)
    experience.note(listing("e"), late)
    assert experience.totals()["category", "concerts"].sums == pytest.approx(late.sums)
    experience.forget("e")
    assert experience.totals()["category", "concerts"].curves == 0


def test_a_promoter_moves_the_prior_of_its_own_events_alone() -> None:
    rng, experience = np.random.default_rng(3), Experience()
    for number in range(12):
        of = "hot" if number % 2 else "cold"
        found = curve(1.5 if of == "hot" else -1.0, -2.0, 500, rng, DemandPrior())
        experience.note(listing(f"e{number}", promoter_id=of), moments_of([found]))
    hot, cold, none = (
        prior_of(listing("new", promoter_id=one), [experience.totals()]).mean[0] for one in ("hot", "cold", "unknown")
    )
    assert cold < none - 0.2 < none + 0.2 < hot


parts = st.lists(
    st.builds(
        CurveMoments, curves=st.just(1), sums=st.tuples(*[st.floats(-5, 5)] * 3), squares=st.just((1.0,) * 9)
    ), min_size=1, max_size=8,
)  # fmt: skip


@given(parts)
def test_moments_add_up_in_any_order_and_leave_again(moments: list[CurveMoments]) -> None:
    total = added_up(moments)
    assert total.sums == pytest.approx(added_up(reversed(moments)).sums)
    assert plus(total, added_up(moments[1:]), -1.0).sums == pytest.approx(moments[0].sums, abs=1e-9)


@given(st.integers(1, 50), st.integers(0, 10**6))
def test_any_curves_give_a_prior_that_can_be_drawn_from(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fits = [CurveFit(mean=rng.normal(0, 3, 3), covariance=np.diag(rng.uniform(1e-6, 4, 3))) for _ in range(n)]
    prior = pooled(DemandPrior(), moments_of(fits), mean_worth=0.1, spread_worth=4.0)
    assert np.linalg.eigvalsh(np.array(prior.covariance)).min() > 0
    assert plus(NOTHING, moments_of(fits)) == moments_of(fits)
