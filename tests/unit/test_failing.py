"""When our own code fails: one message is set aside, one after another stops the worker."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.errors import InvalidMessage, OwnCodeFails
from ibook.failing import MANY, WINDOW, OwnFailures
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


# -------------------------------------------------------------------------------------------- a bug in some messages
def told(failures: OwnFailures, outcomes: Iterable[bool]) -> int:
    """How many messages were looked at until it stopped; all of them when it never did."""
    n = 0
    for n, went_well in enumerate(outcomes, start=1):
        try:
            failures.worked() if went_well else failures.failed(f"t-{n}", "KeyError('amount')")
        except OwnCodeFails:
            return n
    return n


def test_a_bug_in_every_other_message_stops_it() -> None:
    assert told(OwnFailures(20, 0.2), [number % 2 == 0 for number in range(10_000)]) == 82  # the 41st that failed


def test_the_sentence_says_how_many_of_how_many() -> None:
    failures = OwnFailures(20, 0.1)
    with pytest.raises(OwnCodeFails, match=r"failed on 21 of the last 61 messages, at last on t-20 \(KeyError\(\)\)"):
        for number in range(1_000):
            failures.failed(f"t-{number}", "KeyError()")
            failures.worked()
            failures.worked()


@given(st.lists(st.booleans(), max_size=1_000), st.sampled_from([0.05, 0.2, 0.5]))
def test_it_stops_at_the_first_message_with_more_than_the_share_of_the_last_200_failed(
    outcomes: list[bool], share: float
) -> None:
    allowed = share * WINDOW
    stops = [
        n for n in range(1, len(outcomes) + 1)
        if not outcomes[n - 1] and outcomes[max(0, n - WINDOW) : n].count(False) > allowed
    ]  # fmt: skip
    assert told(OwnFailures(10**6, share), outcomes) == min([*stops, len(outcomes)])


def test_one_in_ten_never_stops_it() -> None:
    assert told(OwnFailures(20, 0.2), [number % 10 > 0 for number in range(10_000)]) == 10_000


def test_one_message_delivered_again_and_again_counts_once() -> None:
    failures = OwnFailures(20, 0.2)
    for _ in range(1_000):
        failures.failed("the same", "KeyError()")
        failures.worked()
    assert not failures.are_many


def test_once_many_failed_lately_one_that_goes_well_releases_nothing() -> None:
    holding, failures = Holding(), OwnFailures(100, 0.5)
    found = released(holding, failures, [(f"t-{number}", number % 2 == 0) for number in range(60)])
    assert found == [f"t-{number}" for number in range(1, 2 * MANY, 2)]
    assert len(held(holding)) == 30 - MANY
    assert holding.overdue(NOW + HOLD)
