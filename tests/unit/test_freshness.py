"""The freshness probe: a stall is seen in the figures, and what never shows is counted."""

import time
from collections.abc import Sequence
from itertools import count

import pytest

from ibook.clock import to_us
from ibook.edges import freshness
from ibook.edges.freshness import FreshnessProbe
from ibook.settings import Settings
from tests.traffic import purchase
from tests.workers import wait_until


class Store:
    """Has seen every purchase on every card up to an instant; nothing while it stands still."""

    def __init__(self) -> None:
        self.stalled = False

    def latest(self, card_ids: Sequence[str]) -> list[int | None]:
        return [None if self.stalled else 2**62 for _ in card_ids]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "PER_SECOND", 100.0)


def buy(probe: FreshnessProbe, seconds: float, numbers: "count[int]") -> None:
    """500 purchases a second."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        probe.watch(purchase(f"p-{next(numbers)}", key=str(next(numbers))))
        time.sleep(0.002)


def test_a_stall_is_sampled_as_often_as_the_good_times_around_it(quick: None) -> None:
    store, numbers = Store(), count()
    probe = FreshnessProbe(Settings(), store.latest)
    probe.start()
    buy(probe, 0.5, numbers)
    store.stalled = True
    buy(probe, 0.5, numbers)
    store.stalled = False
    buy(probe, 0.1, numbers)
    wait_until(lambda: len(probe.seconds()) > 80, 5, "the samples")
    probe.stop()
    slow = [seconds for seconds in probe.seconds() if seconds > 0.1]
    assert len(slow) > 0.25 * len(probe.seconds()), "of 1.1 s, 0.4 s were purchases that waited longer than 0.1 s"
    assert max(slow) > 0.4


def test_samples_are_bounded_per_second(quick: None) -> None:
    store = Store()
    probe = FreshnessProbe(Settings(), store.latest)
    probe.start()
    buy(probe, 0.5, count())
    time.sleep(0.1)
    probe.stop()
    assert 10 < len(probe.seconds()) <= 51


def test_what_never_shows_is_counted_and_in_no_percentile(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "GIVE_UP_SECONDS", 0.2)
    store = Store()
    store.stalled = True
    probe = FreshnessProbe(Settings(), store.latest)
    probe.start()
    buy(probe, 0.1, count())
    wait_until(lambda: probe.never_seen > 3, 5, "the probe to give up")
    probe.stop()
    assert probe.seconds() == []


def test_a_card_that_has_seen_only_earlier_messages_is_not_fresh(quick: None) -> None:
    bought = purchase("late")
    seen = [to_us(bought.occurred_at) - 1]
    probe = FreshnessProbe(Settings(), lambda cards: [seen[0]] * len(cards))
    probe.start()
    probe.watch(bought)
    time.sleep(0.1)
    assert probe.seconds() == []
    seen[0] += 1
    wait_until(lambda: len(probe.seconds()) == 1, 5, "the sample")
    probe.stop()
