"""When our own code fails: one message is set aside, one after another stops the worker."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.errors import InvalidMessage, OwnCodeFails
from ibook.failing import OwnFailures
from streams.holding import HOLD, Holding, Outcome

NOW = datetime(2026, 3, 14, tzinfo=UTC)
steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=40)


def longest_run(told: list[tuple[str, bool]]) -> int:
    """Different messages that failed without one that went well between them, at most."""
    longest, run = 0, set[str]()
    for name, went_well in told:
        run = set() if went_well else run | {name}
        longest = max(longest, len(run))
    return longest


@given(steps, st.integers(2, 6))
def test_it_stops_when_so_many_different_ones_failed_in_a_row_and_never_before(
    told: list[tuple[str, bool]], limit: int
) -> None:
    failures, stopped = OwnFailures(limit), False
    try:
        for name, went_well in told:
            failures.worked() if went_well else failures.failed(name, "KeyError('amount')")
    except OwnCodeFails as error:
        stopped = True
        assert "KeyError('amount')" in str(error)
    assert stopped == (longest_run(told) >= limit)


def outcome(name: str, *, fails: bool) -> Outcome:
    event: Any = name
    return Outcome(event, name, InvalidMessage("unscorable", "KeyError()") if fails else None)


def released(holding: Holding, failures: OwnFailures, told: list[tuple[str, bool]]) -> list[str]:
    found: list[Any] = holding.take([outcome(name, fails=not well) for name, well in told], failures, NOW)
    return [event for event, _ in found]


def held(holding: Holding) -> list[str]:
    return list(map(str, holding.events()))


def test_what_failed_waits_for_one_that_goes_well() -> None:
    holding, failures = Holding(), OwnFailures(5)
    assert released(holding, failures, [("a", False), ("b", False)]) == []
    assert held(holding) == ["a", "b"]
    assert released(holding, failures, [("c", True), ("d", False)]) == ["a", "b"]
    assert (held(holding), failures.in_a_row) == (["d"], 1)


def test_what_nothing_follows_is_answered_after_a_while_and_still_counts() -> None:
    holding, failures = Holding(), OwnFailures(3)
    released(holding, failures, [("a", False), ("b", False)])
    assert holding.overdue(NOW + HOLD / 2) == []
    assert [str(event) for event, _ in holding.overdue(NOW + HOLD)] == ["a", "b"]
    assert (held(holding), holding.overdue(NOW + 2 * HOLD)) == ([], [])
    with pytest.raises(OwnCodeFails, match="3 different messages"):
        released(holding, failures, [("c", False)])


@given(steps)
def test_every_purchase_that_failed_is_either_held_or_released_once(told: list[tuple[str, bool]]) -> None:
    holding, failures = Holding(), OwnFailures(100)
    found = [each for one in told for each in released(holding, failures, [one])]
    assert sorted([*found, *held(holding)]) == sorted(name for name, went_well in told if not went_well)
