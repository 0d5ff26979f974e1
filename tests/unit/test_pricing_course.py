"""What is still to come of a sale, against sales whose course is known."""

import numpy as np
import pytest

from ibook.pricing_course import Floats, Seen, shares_by, still_to_come

DAY = 86_400.0
LIFE = 60 * DAY
SEATS = 5000


def wanted_by(ages: Floats, *, burst: float, decay: float, total: float) -> Floats:
    """Tickets wanted by these ages: a burst that decays, half of the rest evenly, and half in the last days."""
    late = 0.5 * ages / LIFE + 0.5 * np.exp((ages - LIFE) / (2 * DAY))
    return np.asarray(total * (burst * -np.expm1(-ages / decay) + (1.0 - burst) * late))


def seen_until(age: float, *, since: float = 0.0, burst: float, decay: float, total: float) -> Seen:
    edges = np.linspace(since, age, 13)
    counts = np.diff(wanted_by(edges, burst=burst, decay=decay, total=total))
    return Seen(edges=edges.tolist(), counts=counts.tolist(), tickets=float(counts.sum()), life=LIFE)


def test_everything_comes_between_opening_and_start_and_nothing_goes() -> None:
    shares = shares_by(np.linspace(0.0, LIFE, 200), LIFE)
    assert np.allclose(shares[0], 0.0)
    assert np.allclose(shares[-1], 1.0)
    assert np.all(np.diff(shares, axis=0) >= 0.0)


@pytest.mark.parametrize("minutes", [10, 20, 40, 80])
@pytest.mark.parametrize("decay_minutes", [15, 30])
@pytest.mark.parametrize("per_seat", [1.3, 2.0, 2.8])
def test_a_rush_is_seen_while_it_lasts_and_seen_to_end(minutes: int, decay_minutes: int, per_seat: float) -> None:
    age, total = minutes * 60.0, per_seat * SEATS
    course = {"burst": 0.85, "decay": decay_minutes * 60.0, "total": total}
    seen = seen_until(age, **course)
    left = total - float(wanted_by(np.array([age]), **course)[0])
    ahead = still_to_come(seen, age=age, capacity=SEATS) * seen.tickets
    assert abs(ahead - left) < 0.35 * total
    if age > 4 * course["decay"]:
        assert ahead < seen.tickets / 2


def test_a_quiet_opening_is_no_rush() -> None:
    seen = seen_until(1800.0, burst=0.1, decay=DAY, total=0.6 * SEATS)
    ahead = still_to_come(seen, age=1800.0, capacity=SEATS) * seen.tickets
    assert 0.2 * SEATS < ahead < SEATS


def test_the_same_few_offers_promise_more_in_a_larger_house() -> None:
    seen = seen_until(600.0, burst=0.3, decay=DAY / 4, total=3000.0)
    small, large = (still_to_come(seen, age=600.0, capacity=seats) for seats in (500, 50_000))
    assert large > 3 * small


def test_nothing_is_to_come_once_the_event_begins() -> None:
    seen = seen_until(LIFE, burst=0.3, decay=DAY, total=4000.0)
    assert still_to_come(seen, age=LIFE, capacity=SEATS) == pytest.approx(0.0, abs=1e-9)


def test_who_watches_only_since_halfway_does_not_take_it_for_an_opening() -> None:
    halfway = LIFE / 2
    age = halfway + DAY
    seen = seen_until(age, since=halfway, burst=0.1, decay=DAY, total=0.7 * SEATS)
    ahead = still_to_come(seen, age=age, capacity=SEATS) * seen.tickets
    assert 0.1 * SEATS < ahead < SEATS


def test_a_sale_nobody_came_to_promises_nothing() -> None:
    seen = Seen(edges=[0.0, 60.0], counts=[0.0], tickets=0.0, life=LIFE)
    assert np.isfinite(still_to_come(seen, age=60.0, capacity=SEATS))
