"""The first verdict of a transaction wins: checked against a list that remembers everything."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from ibook.consumer import FirstWins, Told
from ibook.messages import Action

verdicts = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(get_args(Action))), max_size=40)


@given(verdicts)
def test_exactly_the_first_of_each_transaction_is_told_to_be_the_first(told: list[tuple[str, Action]]) -> None:
    seen, first = FirstWins(), dict[str, Action]()
    for transaction, action in told:
        expected: Told = (
            "first" if transaction not in first else "repeat" if first[transaction] == action else "conflict"
        )
        first.setdefault(transaction, action)
        assert seen.tell(transaction, action) == expected


@given(verdicts, st.integers(1, 5))
def test_memory_is_bounded_and_keeps_the_newest(told: list[tuple[str, Action]], limit: int) -> None:
    seen = FirstWins(limit)
    for transaction, action in told:
        seen.tell(transaction, action)
        assert len(seen) <= limit
        assert seen.tell(transaction, action) != "first"
