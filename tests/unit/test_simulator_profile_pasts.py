"""A profile of a whole past: the same twice, and an even part of a large one is searched for leaks."""

import msgspec
import pytest

from ibook.clock import to_us
from ibook.messages import PurchaseRequested
from simulator import profile as profiles
from simulator.attacks import PATTERNS
from simulator.past import HistoryOptions, history_of
from simulator.profile import difficulty
from simulator.sinks import Record


def test_a_small_past_is_profiled_whole_and_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difficulty, "LEAST_FRAUDS", 3)
    n = 4000  # fewer may be too few for one campaign of the pattern that begins late
    found = profiles.profile(3, days=60, purchases=n)
    assert found.purchases == pytest.approx(n, rel=0.1)
    assert found.figures["base_rate"] == pytest.approx(0.03, abs=0.02)
    assert not any(one.is_leak for one in found.leaks)
    assert found.unsearched == ()
    assert "resale-triangulation" in found.difficulty.recall_by_pattern
    again = profiles.profile(3, days=60, purchases=n)
    assert msgspec.json.encode(found.as_json()) == msgspec.json.encode(again.as_json())


def test_of_a_large_past_an_even_part_is_searched_for_leaks_and_holds_the_pattern_that_begins_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiles, "LEAK_PURCHASES", 800)
    past = history_of(HistoryOptions(seed=3, days=60, end=profiles.END, purchases=3000, fraud_rate=0.3))
    kept: list[Record] = []
    everything = list(profiles._kept(past, kept))
    searched = [message for _, _, message in kept if isinstance(message, PurchaseRequested)]
    assert len(searched) == pytest.approx(800, rel=0.3) and len(kept) < 0.4 * len(everything)
    halves = sum(to_us(each.occurred_at) < (past.start_us + past.end_us) // 2 for each in searched) / len(searched)
    whole = [message for _, _, message in everything if isinstance(message, PurchaseRequested)]
    expected = sum(to_us(each.occurred_at) < (past.start_us + past.end_us) // 2 for each in whole) / len(whole)
    assert halves == pytest.approx(expected, abs=0.1)
    assert {past.truth.transactions[each.transaction_id].pattern for each in searched} >= set(PATTERNS)
    assert profiles._unsearched(kept, past.truth.transactions) == ()
    first = everything[: len(kept)]
    assert "resale-triangulation" in profiles._unsearched(first, past.truth.transactions)


def test_a_past_that_is_small_enough_is_searched_whole() -> None:
    past = history_of(HistoryOptions(seed=3, days=60, end=profiles.END, purchases=500))
    kept: list[Record] = []
    assert list(profiles._kept(past, kept)) == kept
