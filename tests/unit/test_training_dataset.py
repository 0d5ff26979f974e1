"""Rows hold what was known when they were decided, labels what was known when training began; neither knows more."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ibook.clock import to_us
from ibook.entities import SOURCE_INDEX
from ibook.features import FEATURE_NAMES
from ibook.labels import labels_as_of, settled_as_of, target_of
from ibook.messages import FraudLabel, PaymentOutcome, PurchaseRequested
from ibook.replay import Recorded, replay
from simulator.history import generate
from training.dataset import Frame, frame_of, split_in_time

END = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def history() -> list[Recorded]:
    """A simulated past of about 600 purchases."""
    past = generate(3, END, 24.0, 600)
    return [Recorded(topic, message) for topic, _, message in past if topic in SOURCE_INDEX]  # type: ignore[arg-type]


def vectors(history: Sequence[Recorded]) -> dict[str, bytes]:
    return {purchase.transaction_id: values.tobytes() for purchase, values in replay(history)}


def instant(recorded: Recorded) -> int:
    return to_us(recorded.message.occurred_at)


# ----------------------------------------------------------------------------------------------------------- no leaks
@hypothesis_settings(max_examples=4, deadline=None)
@given(share=st.floats(0.05, 0.95))
def test_what_comes_after_a_purchase_never_changes_its_vector(history: list[Recorded], share: float) -> None:
    cut = int(len(history) * share)
    known, whole = vectors(history[:cut]), vectors(history)
    assert known == {transaction: whole[transaction] for transaction in known}


def test_shifted_flipped_or_missing_labels_change_no_vector(history: list[Recorded]) -> None:
    def flipped(recorded: Recorded) -> Recorded:
        if not isinstance(recorded.message, FraudLabel):
            return recorded
        message = msgspec.structs.replace(
            recorded.message, is_fraud=not recorded.message.is_fraud, occurred_at=recorded.message.occurred_at + 9 * DAY
        )
        return replace(recorded, message=message)

    whole = vectors(history)
    assert any(isinstance(recorded.message, FraudLabel) for recorded in history)
    assert vectors(sorted(map(flipped, history), key=instant)) == whole
    assert vectors([recorded for recorded in history if not isinstance(recorded.message, FraudLabel)]) == whole


def test_a_vector_counts_its_own_purchase_and_not_its_outcome(history: list[Recorded]) -> None:
    attempts, ratio = FEATURE_NAMES.index("card_attempts_1m"), FEATURE_NAMES.index("card_decline_ratio_24h")
    first_of_card: dict[str, Any] = {}
    for purchase, values in replay(history):
        first_of_card.setdefault(purchase.card_id, values)
    assert all(values[attempts] == 1 and values[ratio] == 0 for values in first_of_card.values())


def test_a_label_teaches_from_the_instant_it_arrives_and_not_before(history: list[Recorded]) -> None:
    labels = [recorded.message for recorded in history if isinstance(recorded.message, FraudLabel)]
    first = next(label for label in labels if label.is_fraud and label.source != "review")
    arrived = to_us(first.occurred_at)

    def is_fraud(as_of_us: int) -> bool:
        frame = frame_of(history, from_us=0, until_us=arrived, as_of_us=as_of_us)
        return bool(frame.is_fraud[frame.transaction_ids.index(first.transaction_id)])

    assert not is_fraud(arrived - 1)
    assert is_fraud(arrived)


def test_a_frame_of_a_past_knows_nothing_of_what_came_after_it(history: list[Recorded]) -> None:
    middle = (instant(history[0]) + instant(history[-1])) // 2
    past = [recorded for recorded in history if instant(recorded) <= middle]
    whole, cut = (frame_of(h, from_us=0, until_us=middle, as_of_us=middle) for h in (history, past))
    assert whole.transaction_ids == cut.transaction_ids
    assert np.array_equal(whole.is_fraud, cut.is_fraud)
    assert np.array_equal(whole.features, cut.features, equal_nan=True)


def test_a_frame_holds_what_a_replay_of_everything_gives(history: list[Recorded]) -> None:
    first, last = instant(history[0]), instant(history[-1])
    frame = frame_of(history, from_us=first + (last - first) // 3, until_us=last - (last - first) // 3, as_of_us=last)
    whole = vectors(history)
    held = zip(frame.transaction_ids, frame.features, strict=True)
    assert {transaction: values.tobytes() for transaction, values in held}.items() <= whole.items()
    assert 0 < len(frame) < len(whole)


def test_a_replay_repeats_itself_to_the_byte(history: list[Recorded]) -> None:
    assert vectors(history) == vectors(list(history))


# -------------------------------------------------------------------------------------------------------------- frame
def test_blocked_and_declined_purchases_without_a_label_are_left_out(history: list[Recorded]) -> None:
    start, end = instant(history[0]), instant(history[-1])
    frame = frame_of(history, from_us=start, until_us=end + 1, as_of_us=end)
    messages = [recorded.message for recorded in history]
    settled = settled_as_of((m for m in messages if isinstance(m, PaymentOutcome)), end)
    labelled = {m.transaction_id for m in messages if isinstance(m, FraudLabel)}
    asked = {m.transaction_id for m in messages if isinstance(m, PurchaseRequested)}
    assert set(frame.transaction_ids) == asked & (settled | labelled)
    assert len(frame) < len(asked)


def test_a_frame_keeps_to_its_time_and_says_when_nothing_is_left(history: list[Recorded]) -> None:
    start, end = instant(history[0]), instant(history[-1])
    third = (end - start) // 3
    frame = frame_of(history, from_us=start + third, until_us=end - third, as_of_us=end)
    assert start + third <= frame.occurred_us.min() and frame.occurred_us.max() < end - third
    with pytest.raises(ValueError, match="no labelled purchase"):
        frame_of(history, from_us=end + 1, until_us=end + 2, as_of_us=end)


@given(st.lists(st.integers(0, 50), min_size=5, max_size=80))
def test_a_split_never_trains_on_what_happened_after_a_tested_purchase(instants: list[int]) -> None:
    n = len(instants)
    frame = Frame(
        [str(i) for i in range(n)], np.array(sorted(instants), dtype=np.int64),
        np.zeros((n, len(FEATURE_NAMES)), dtype=np.float32), np.zeros(n, dtype=np.bool_),
    )  # fmt: skip
    parts = split_in_time(frame)
    assert [t for part in parts for t in part.transaction_ids] == frame.transaction_ids
    for earlier, later in ((parts[0], parts[1]), (parts[1], parts[2])):
        if len(earlier) and len(later):
            assert earlier.occurred_us.max() < later.occurred_us.min()


# ------------------------------------------------------------------------------------------------------------- labels
def label(day: int, **changed: Any) -> FraudLabel:
    fields: dict[str, Any] = {
        "message_id": "m", "occurred_at": END + day * DAY, "transaction_id": "t", "user_id": "u", "card_id": "c",
        "device_id": "d", "ip": "i", "event_id": "e", "amount_minor": 1, "currency": "EUR", "n_tickets": 1,
        "source": "chargeback", "effective_at": END,
    }  # fmt: skip
    return FraudLabel(**(fields | changed))


def as_of(day: int) -> int:
    return to_us(END + day * DAY)


def test_the_last_word_counts_and_only_once_it_was_said() -> None:
    words = [
        label(30, is_fraud=True),
        label(45, is_fraud=False, source="reversal"),
        label(1, is_fraud=False, source="review"),
    ]
    known = [labels_as_of(words, as_of(day)) for day in (0, 1, 30, 45)]
    assert known == [{}, {"t": False}, {"t": True}, {"t": False}]


def test_labels_of_one_instant_break_the_tie_by_message_id_in_any_order() -> None:
    words = [label(1, is_fraud=True, message_id="a"), label(1, is_fraud=False, message_id="b")]
    assert labels_as_of(words, as_of(1)) == labels_as_of(words[::-1], as_of(1)) == {"t": False}


def test_a_purchase_is_honest_only_when_it_settled_undisputed() -> None:
    assert target_of("t", {"t": True}, set()) is True
    assert target_of("t", {"t": False}, set()) is False
    assert target_of("t", {}, {"t"}) is False
    assert target_of("t", {}, set()) is None
