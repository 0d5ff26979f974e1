"""States are the same whatever the order, the lateness and the redeliveries; and they stay small."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibook.declarations import DAY, HOUR, MINUTE, EntityFeatures, Feature
from ibook.entities import Fact
from ibook.measures import MAX_SUM, SECOND
from ibook.states import StoredState, WindowState, decode_state, decode_stored, encode_state, encode_stored
from ibook.windows import RECENT_MESSAGES
from tests.facts import ALL_FEATURES, LATEST_US, facts, fold, in_order, known, things, update

each_entity = pytest.mark.parametrize("entity", ALL_FEATURES)
seldom = settings(max_examples=40, deadline=None)


# -------------------------------------------------------------------------------------------------------------- order
@each_entity
@seldom
@given(data=st.data())
def test_any_order_gives_the_state_of_the_sorted_history(entity: str, data: st.DataObject) -> None:
    features = ALL_FEATURES[entity]
    history = data.draw(facts(features))
    shuffled = data.draw(st.permutations(history))
    assert known(fold(features, shuffled)) == known(fold(features, in_order(history)))


@each_entity
@seldom
@given(data=st.data())
def test_redelivery_from_any_position_on_changes_no_byte(entity: str, data: st.DataObject) -> None:
    features = ALL_FEATURES[entity]
    updates = [update(fact, offset, offset % 2) for offset, fact in enumerate(data.draw(facts(features)))]
    once, again = features.layout.empty(), features.layout.empty()
    for each in updates:
        features.layout.fold(once, each)
    for position, each in enumerate(updates):
        features.layout.fold(again, each)
        since = data.draw(st.integers(0, position), label="redelivered from")
        results = {features.layout.fold(again, repeated) for repeated in updates[since : position + 1]}
        assert results == {"redelivered"}
    assert encode_state(once) == encode_state(again)


@each_entity
@seldom
@given(data=st.data())
def test_tiles_lie_in_order_without_overlap_and_no_finer_than_needed(entity: str, data: st.DataObject) -> None:
    features = ALL_FEATURES[entity]
    hops = features.layout.hops_s
    tiles = fold(features, data.draw(facts(features))).tiles
    assert all(older.start + hops[older.level] <= tile.start for older, tile in pairwise(tiles))
    assert all(tile.level >= features.layout.first_level and tile.start % hops[tile.level] == 0 for tile in tiles)
    assert all(tile.numbers or tile.sets or tile.lasts for tile in tiles), "a tile with nothing in it"


# -------------------------------------------------------------------------------------------------------------- merging
@each_entity
@seldom
@given(data=st.data())
def test_merging_is_the_fold_of_both(entity: str, data: st.DataObject) -> None:
    features = ALL_FEATURES[entity]
    history = data.draw(facts(features))
    ours = data.draw(st.sets(st.integers(0, len(history) - 1)))
    a = fold(features, [fact for i, fact in enumerate(history) if i in ours])
    b = fold(features, [fact for i, fact in enumerate(history) if i not in ours])
    before = encode_state(a), encode_state(b)
    merged = features.layout.merge(a, b)
    whole = fold(features, in_order(history))
    assert known(merged) == known(whole) == known(features.layout.merge(b, a))
    assert (encode_state(a), encode_state(b)) == before
    assert repr(features.compute(merged, LATEST_US)) == repr(features.compute(whole, LATEST_US))


# ------------------------------------------------------------------------------------------------------------- encoding
@each_entity
@seldom
@given(data=st.data())
def test_states_survive_their_encoding(entity: str, data: st.DataObject) -> None:
    features = ALL_FEATURES[entity]
    state = fold(features, data.draw(facts(features)))
    state.since_us = data.draw(st.dictionaries(st.integers(0, 5), st.integers(0, LATEST_US), max_size=3))
    assert decode_state(encode_state(state)) == state
    stored = StoredState(state, [1, 2**64 - 1])
    assert decode_stored(encode_stored(stored)) == stored


@seldom
@given(numbers=st.lists(st.integers(-(2**80), 2**80), min_size=1, max_size=6))
def test_any_number_gives_a_state_that_can_be_encoded(numbers: list[int]) -> None:
    features = things()
    state = fold(features, [Fact("a", f"m{n}", LATEST_US, {"amount_minor": n}, {}) for n in numbers])
    assert decode_state(encode_state(state)) == state


@given(st.lists(st.integers(MAX_SUM // 4, MAX_SUM), min_size=4, max_size=9), st.integers(0, DAY))
def test_sums_stay_at_their_largest_rather_than_fail(amounts: list[int], apart_s: int) -> None:
    history = [
        Fact("a", f"m{i}", LATEST_US - i * apart_s * SECOND, {"amount_minor": amount}, {})
        for i, amount in enumerate(amounts)
    ]
    features = things()
    a, b = fold(features, history), fold(features, reversed(history))
    assert known(a) == known(b)
    assert known(features.layout.merge(fold(features, history[:2]), fold(features, history[2:]))) == known(a)
    assert decode_state(encode_state(a)) == a


# --------------------------------------------------------------------------------------------------------- repeats
def stored_after(features: EntityFeatures, facts: Sequence[Fact]) -> tuple[StoredState, list[str]]:
    stored = StoredState(features.layout.empty(), [])
    return stored, [features.layout.fold_stored(stored, update(fact, offset)) for offset, fact in enumerate(facts)]


def test_a_message_the_shop_sends_twice_is_counted_once() -> None:
    fact = Fact("a", "m", LATEST_US, {"amount_minor": 7}, {})
    stored, results = stored_after(things(), [fact, fact, replace_id(fact, "other"), fact])
    assert results == ["folded", "repeated", "folded", "repeated"]
    assert stored.state.positions == {0: 3}
    assert known(stored.state) == known(fold(things(), [fact, replace_id(fact, "other")]))


def test_stamps_of_a_row_increase_with_every_update_even_a_repeated_one() -> None:
    features, stored, stamps = things(), StoredState(things().layout.empty(), []), []
    for offset, (name, ago_s) in enumerate([("a", 9), ("a", 9), ("b", 5), ("c", 100 * DAY), ("d", 5)]):
        features.layout.fold_stored(stored, update(Fact("a", name, LATEST_US - ago_s * SECOND, {}, {}), offset))
        stamps.append(stored.state.stamp_us)
    assert stamps == sorted(set(stamps))


def test_repeats_are_recognised_among_the_latest_messages_alone() -> None:
    history = [Fact("a", f"m{i}", LATEST_US, {}, {}) for i in range(RECENT_MESSAGES + 1)]
    stored, results = stored_after(things(), [*history, history[-1], history[0]])
    assert results[-2:] == ["repeated", "folded"]
    assert len(stored.recent) == RECENT_MESSAGES


def test_one_message_id_may_serve_for_an_order_and_its_payment() -> None:
    order = Fact("a", "tx-1", LATEST_US, {}, {})
    assert stored_after(things(), [order, Fact("b", "tx-1", LATEST_US, {}, {})])[1] == ["folded", "folded"]


def replace_id(fact: Fact, message_id: str) -> Fact:
    return Fact(fact.kind, message_id, fact.occurred_us, fact.numbers, fact.ids)


def test_what_is_older_than_every_window_is_late_but_still_seen_first() -> None:
    features = EntityFeatures("thing", [
        Feature(entity="thing", name="n", kind="count", kinds=("a",), windows_s=(HOUR,), why=""),
        Feature(entity="thing", name="age", kind="first_age", kinds=("a",), why=""),
    ])  # fmt: skip
    state = fold(features, [Fact("a", "new", LATEST_US, {}, {})])
    assert features.layout.fold(state, update(Fact("a", "old", LATEST_US - DAY * SECOND, {}, {}), 1)) == "late"
    assert features.compute(state, LATEST_US) == [1.0, DAY]


def test_a_fact_nobody_asks_for_leaves_no_tile() -> None:
    features = things()
    state = fold(features, [Fact("unheard of", "m", LATEST_US, {}, {})])
    assert (state.tiles, state.latest_us) == ([], 0)


# --------------------------------------------------------------------------------------------- of older declarations
def declared(*, windows: tuple[int, ...] = (MINUTE, HOUR), amounts: bool = False, first: bool = True) -> EntityFeatures:
    features = [Feature(entity="thing", name="n", kind="count", kinds=("a",), windows_s=windows, why="")]
    if amounts:
        features.append(Feature(
            entity="thing", name="max", kind="max", kinds=("b",), field="amount_minor", windows_s=(HOUR,), why="",
        ))  # fmt: skip
    if first:
        features.append(Feature(entity="thing", name="age", kind="first_age", kinds=("a", "c"), why=""))
    return EntityFeatures("thing", features)


def named(features: EntityFeatures, state: WindowState, as_of_us: int) -> dict[str, str]:
    return dict(zip(features.names, map(repr, features.compute(state, as_of_us)), strict=True))


def test_first_times_outlive_a_new_declaration_even_without_a_tile() -> None:
    old, new = declared(), declared(amounts=True)
    state = fold(old, [Fact("c", "m", LATEST_US, {}, {})])
    assert named(new, state, LATEST_US + 9 * SECOND)["age"] == "9.0"


def test_what_nobody_counted_is_missing_until_a_window_has_passed() -> None:
    old, new = declared(), declared(amounts=True)
    state = fold(old, [Fact("a", "m0", LATEST_US - DAY * SECOND, {}, {}), Fact("b", "m1", LATEST_US, {}, {})])
    later = Fact("b", "m2", LATEST_US + 2 * MINUTE * SECOND, {"amount_minor": 3}, {})
    state = fold(new, [later], new.layout.adopt(state))
    assert named(new, state, LATEST_US + (HOUR + MINUTE) * SECOND)["max_1h"] == "nan"
    assert named(new, state, LATEST_US + (HOUR + MINUTE + 1) * SECOND)["max_1h"] == "3.0"


def test_a_feature_that_is_gone_takes_its_numbers_along() -> None:
    old, new = declared(amounts=True), declared()
    state = fold(old, [Fact(kind, kind, LATEST_US, {"amount_minor": 3}, {}) for kind in "ab"])
    adopted = new.layout.adopt(state)
    assert known(adopted) == known(fold(new, [Fact("a", "a", LATEST_US, {}, {})]))
    assert not adopted.since_us


@seldom
@given(data=st.data(), windows=st.sampled_from([(5, HOUR), (HOUR,), (MINUTE, DAY)]))
def test_other_windows_keep_tiles_in_order(data: st.DataObject, windows: tuple[int, ...]) -> None:
    old, new = declared(), declared(windows=windows)
    history = in_order(data.draw(facts(old)))
    cut = data.draw(st.integers(0, len(history)))
    state = fold(new, history[cut:], new.layout.adopt(fold(old, history[:cut])))
    hops = new.layout.hops_s
    assert all(a.start + hops[a.level] <= b.start for a, b in pairwise(state.tiles))


@seldom
@given(data=st.data())
def test_another_resolution_is_begun_anew_and_never_misread(data: st.DataObject) -> None:
    fine, coarse = ALL_FEATURES["thing in fine tiles"], ALL_FEATURES["thing in coarse tiles"]
    state = fold(fine, data.draw(facts(fine)))
    adopted = coarse.layout.adopt(state)
    assert (adopted.tiles, adopted.positions, adopted.stamp_us) == ([], state.positions, state.stamp_us)
    values = dict(zip(coarse.names, coarse.compute(state, state.stamp_us), strict=True))
    assert {repr(value) for name, value in values.items() if "age" not in name} == {"nan"}
    assert adopted.first_us == state.first_us, "when something was first seen needs no tile"


def test_a_state_of_this_layout_is_itself() -> None:
    features = things()
    state = fold(features, [Fact("a", "m", LATEST_US, {}, {})])
    assert features.layout.adopt(state) is state


def test_measures_are_known_by_what_they_count_not_by_their_windows() -> None:
    (measure,) = declared().declared[0].measures()
    assert replace(measure, longest_s=9).id == measure.id
    assert len({replace(measure, kinds=frozenset({"b"})).id, replace(measure, field="x").id, measure.id}) == 3
