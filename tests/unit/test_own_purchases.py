"""What the worker folds on top of a state, and what it says of it."""

from datetime import UTC, datetime, timedelta

import msgspec

from ibook.clock import to_us
from ibook.entities import source_slot, update_of
from ibook.features import ENTITY_FEATURES, keys_of
from ibook.messages import PurchaseRequested, StatePosition
from ibook.own_purchases import BUSY_PENDING, BUSY_REBASE_US, MAX_PENDING, OwnPurchases
from ibook.partitioning import partition_of
from ibook.states import WindowState, encode_state
from tests.traffic import purchase

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = source_slot("ticket-purchases", 0)
PARTITIONS = 4


def bought(number: int) -> PurchaseRequested:
    return purchase(f"t{number}", now=START + timedelta(seconds=number))


def state_after(count: int) -> bytes:
    """The card's state once the feature workers have folded the first `count` purchases."""
    layout = ENTITY_FEATURES["card"].layout
    state: WindowState = layout.empty()
    for number in range(count):
        layout.fold(state, update_of(bought(number), SOURCE, number, 0))
    state.updates_offset = 100 + count
    return encode_state(state)


def attempts(own: OwnPurchases, latest: PurchaseRequested) -> float:
    values = own.compute(keys_of(latest), to_us(latest.occurred_at))["card"]
    return dict(zip(ENTITY_FEATURES["card"].names, values, strict=True))["card_attempts_1h"]


def refresh(own: OwnPurchases, of: PurchaseRequested, card: bytes | None, now_us: int = 0) -> None:
    for entity, key in keys_of(of).items():
        own.refresh(entity, key, card if entity == "card" else None, now_us)


def test_an_unknown_card_counts_its_first_attempt() -> None:
    own, first = OwnPurchases(), bought(0)
    refresh(own, first, None)
    own.remember(update_of(first, SOURCE, 0, 0))
    assert attempts(own, first) == 1


def test_purchases_beyond_the_state_are_counted_once_as_the_state_catches_up() -> None:
    own = OwnPurchases()
    for number in range(10):
        now = bought(number)
        refresh(own, now, state_after(number // 3) if number >= 3 else None)  # always a few behind
        own.remember(update_of(now, SOURCE, number, 0))
        assert attempts(own, now) == number + 1


def test_a_state_that_has_everything_is_not_folded_onto_again() -> None:
    own = OwnPurchases()
    for number in range(5):
        own.remember(update_of(bought(number), SOURCE, number, 0))
    refresh(own, bought(4), state_after(5))
    assert attempts(own, bought(4)) == 5
    (card,) = [p for p in own.positions(keys_of(bought(4)), PARTITIONS) if p.entity == "card"]
    assert (card.updates_offset, card.folded) == (105, [])


def test_positions_name_the_range_that_was_folded() -> None:
    own = OwnPurchases()
    refresh(own, bought(0), state_after(2))
    for number in range(2, 6):
        own.remember(update_of(bought(number), SOURCE, number, 0))
    (card,) = [p for p in own.positions(keys_of(bought(5)), PARTITIONS) if p.entity == "card"]
    assert card.folded == [("ticket-purchases", 0, 2, 5, 4)]
    assert (card.updates_partition, card.updates_offset) == (partition_of("card:card-1", PARTITIONS), 102)


def test_without_the_online_store_own_purchases_still_count() -> None:
    own = OwnPurchases()
    for number in range(4):
        for entity, key in keys_of(bought(number)).items():
            own.keep(entity, key)
        own.remember(update_of(bought(number), SOURCE, number, 0))
    assert attempts(own, bought(3)) == 4
    refresh(own, bought(3), state_after(2))  # the store is back, two behind
    assert attempts(own, bought(3)) == 4


def test_what_is_remembered_of_one_entity_is_bounded() -> None:
    own = OwnPurchases()
    for number in range(MAX_PENDING + 50):
        own.remember(update_of(bought(number), SOURCE, number, 0))
    refresh(own, bought(0), None)
    (card,) = [p for p in own.positions(keys_of(bought(0)), PARTITIONS) if p.entity == "card"]
    assert card.folded == [("ticket-purchases", 0, 50, MAX_PENDING + 49, MAX_PENDING)]


def test_a_busy_entity_takes_over_a_newer_state_once_a_second_and_misses_nothing_of_its_own() -> None:
    own = OwnPurchases()
    refresh(own, bought(0), None, 0)
    for number in range(BUSY_PENDING + 10):
        own.remember(update_of(bought(number), SOURCE, number, 0))
    latest = bought(BUSY_PENDING + 9)

    def card() -> StatePosition:
        return next(p for p in own.positions(keys_of(latest), PARTITIONS) if p.entity == "card")

    refresh(own, latest, state_after(5), BUSY_REBASE_US - 1)
    assert (card().updates_offset, attempts(own, latest)) == (-1, BUSY_PENDING + 10)
    refresh(own, latest, state_after(5), BUSY_REBASE_US)
    assert (card().updates_offset, attempts(own, latest)) == (105, BUSY_PENDING + 10)
    assert card().folded == [("ticket-purchases", 0, 5, BUSY_PENDING + 9, BUSY_PENDING + 5)]


def test_folding_onto_states_gives_the_features_of_a_complete_state() -> None:
    behind, complete = OwnPurchases(), OwnPurchases()
    refresh(behind, bought(0), state_after(3))
    for number in range(3, 8):
        behind.remember(update_of(bought(number), SOURCE, number, 0))
    refresh(complete, bought(7), state_after(8))
    keys, as_of = keys_of(bought(7)), to_us(bought(7).occurred_at)
    assert repr(behind.compute(keys, as_of)["card"]) == repr(complete.compute(keys, as_of)["card"])


def test_a_stored_state_that_does_not_say_what_it_measures_counts_as_none() -> None:
    own, first = OwnPurchases(), bought(0)
    state = ENTITY_FEATURES["card"].layout.empty()
    state.layout, state.latest_us = 1, to_us(START)
    state.measures = msgspec.Raw(msgspec.msgpack.encode("not a map"))
    refresh(own, first, encode_state(state))
    own.remember(update_of(first, SOURCE, 0, 0))
    assert attempts(own, first) == 1
