"""The freshness probe: a stall is seen in the figures, and what never shows is counted."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from ibook.clock import to_us
from ibook.edges import freshness
from ibook.edges.freshness import Followed, FreshnessProbe
from ibook.settings import Settings
from tests.traffic import purchase
from tests.workers import wait_until

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Store:
    """Has seen every purchase on every card up to an instant; nothing while it stands still."""

    def __init__(self) -> None:
        self.stalled = False

    def latest(self, card_ids: Sequence[str]) -> list[int | None]:
        return [None if self.stalled else 2**62 for _ in card_ids]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "PER_SECOND", 64.0)


class Watching:
    """A probe whose time passes when told to, in 512ths of a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
        self.store, self.time, self.followed = store, 0, list[Followed]()
        monkeypatch.setattr(freshness, "SystemClock", lambda: SimpleNamespace(now=self.now))
        monkeypatch.setattr(freshness, "time", SimpleNamespace(monotonic=lambda: self.time / 512))
        self.probe = FreshnessProbe(Settings())

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time / 512)

    def buy(self, count: int) -> None:
        """512 purchases a second; the probe takes every eighth as a sample, and looks as often."""
        for number in range(count):
            self.probe.watch(purchase(f"p-{number}", now=self.now()))
            if number % 8 == 0:
                self.followed += self.probe._taken(wait=False)
                self.followed = self.probe._look(self.store.latest, self.followed)
            self.time += 1


def buy(probe: FreshnessProbe, count: int) -> None:
    """Purchases, each long enough after the one before to be a sample."""
    for number in range(count):
        probe.watch(purchase(f"p-{number}", key=str(number)))
        time.sleep(0.02)


def test_a_stall_is_sampled_as_often_as_the_good_times_around_it(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching(monkeypatch, store := Store())
    watching.buy(256)
    store.stalled = True
    watching.buy(256)
    store.stalled = False
    watching.buy(64)
    found = watching.probe.seconds()
    assert len(found) == (256 + 256 + 64) / 8
    assert sum(seconds > 0.1 for seconds in found) == 26, "of the stall's 0.5 s all but the last 0.1 s"
    assert max(found) == 0.5


def test_samples_are_bounded_per_second_and_not_made_up_for(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching(monkeypatch, Store())
    watching.buy(256)
    assert len(watching.probe.seconds()) == 32
    watching.time += 10 * 512
    watching.buy(256)
    assert len(watching.probe.seconds()) == 65, "those of half a second and one, none of the ten before"


def test_what_never_shows_is_counted_and_in_no_percentile(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "GIVE_UP_SECONDS", 0.2)
    store = Store()
    store.stalled = True
    probe = FreshnessProbe(Settings(), store.latest)
    probe.start()
    buy(probe, 5)
    wait_until(lambda: probe.never_seen == 5, 5, "the probe to give up")
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
