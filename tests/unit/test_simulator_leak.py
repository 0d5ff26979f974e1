"""Who is who shows in what visitors do, never in how it is written: ids, order and formatting."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from ibook.messages import FraudLabel, Message, PurchaseRequested
from simulator.attacks import PATTERNS
from simulator.history import History
from simulator.mix import Mix
from simulator.profile.leaks import findings
from simulator.sinks import Record
from simulator.truth import TransactionTruth

END = datetime(2026, 3, 1, tzinfo=UTC)
Past = tuple[list[Record], dict[str, TransactionTruth]]
Plant = Callable[[PurchaseRequested], PurchaseRequested]


@pytest.fixture(scope="module")
def past() -> Past:
    """Two days with far more fraud than usual, so that little of it would be found."""
    history = History(5, END, 48, 8000, mix=Mix().scaled(0.25))
    return list(history), history.truth.transactions


@pytest.fixture(scope="module")
def purchases(past: Past) -> list[Record]:
    return [record for record in past[0] if isinstance(record[2], PurchaseRequested)]


def test_ids_order_and_formatting_tell_nothing_of_any_pattern(past: Past) -> None:
    found = findings(past[0], past[1], seed=1)
    assert any(isinstance(message, FraudLabel) for _, _, message in past[0])
    assert not any("Label" in one.place for one in found), "what becomes known later says it in the open"
    assert [one for one in found if one.is_leak] == []
    assert {one.pattern for one in found if one.place == "transaction_id"} >= {*PATTERNS, "all"} - {"seat-hoarding"}
    assert "resale-triangulation" in PATTERNS, "the one that begins late is searched like any other"
    assert {one.pattern for one in found if one.place == "hold_id"} >= {"seat-hoarding"}


def planted(purchases: list[Record], past: Past, pattern: str, plant: Plant) -> list[Record]:
    """The purchases with one pattern's changed."""

    def changed(message: Message) -> Message:
        assert isinstance(message, PurchaseRequested)
        return plant(message) if past[1][message.transaction_id].pattern == pattern else message

    return [(topic, key, changed(message)) for topic, key, message in purchases]


PLANTS: dict[str, tuple[str, str, Plant]] = {
    "a prefix of new cards": (
        "card_id", "card-testing", lambda p: msgspec.structs.replace(p, card_id="ff" + p.card_id[2:]),
    ),
    "a longer message id": (
        "message_id", "stolen-card", lambda p: msgspec.structs.replace(p, message_id=p.message_id + "0"),
    ),
    "times without microseconds": (
        "writing of PurchaseRequested", "card-testing-slow",
        lambda p: msgspec.structs.replace(p, occurred_at=p.occurred_at.replace(microsecond=0)),
    ),
    "times in whole milliseconds": (
        "writing of PurchaseRequested", "friendly-fraud",
        lambda p: msgspec.structs.replace(
            p, occurred_at=p.occurred_at.replace(microsecond=p.occurred_at.microsecond // 1000 * 1000)
        ),
    ),
    "cards of a pattern that begins late, counted up": (
        "card_id", "resale-triangulation", lambda p: msgspec.structs.replace(p, card_id="0000" + p.card_id[4:]),
    ),
    "a field left empty": (
        "writing of PurchaseRequested", "account-takeover", lambda p: msgspec.structs.replace(p, promoter_id=None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PLANTS))
def test_a_planted_leak_is_found_where_it_is(past: Past, purchases: list[Record], name: str) -> None:
    place, pattern, plant = PLANTS[name]
    leaks = [one for one in findings(planted(purchases, past, pattern, plant), past[1], seed=1) if one.is_leak]
    assert (place, pattern) in {(one.place, one.pattern) for one in leaks}
    assert {one.place for one in leaks} == {place}


def test_a_script_that_always_comes_second_in_its_instant_is_found(past: Past, purchases: list[Record]) -> None:
    """A purchase of somebody else at the very same microsecond, just before it."""
    shifted: list[Record] = []
    for topic, key, message in purchases:
        if past[1][message.transaction_id].pattern == "scalper-ring" and shifted:  # type: ignore[attr-defined]
            before = shifted[-1][2].occurred_at
            message = msgspec.structs.replace(message, occurred_at=before)
        shifted.append((topic, key, message))
    leaks = [one for one in findings(shifted, past[1], seed=1) if one.is_leak]
    assert ("writing of PurchaseRequested", "scalper-ring") in {(one.place, one.pattern) for one in leaks}
