"""A state of other declarations is right or missing, never wrong; what both declare keeps its numbers."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibook.declarations import DAY, HOUR, EntityFeatures, Feature
from ibook.entities import Fact
from ibook.measures import COARSE, FINE, LIFETIME, SECOND, Resolution
from tests.facts import EDGE_US, LATEST_US, every_kind, facts, fold, in_order, things
from tests.oracle import named_windows
from tests.unit.test_declarations import is_right

NAMES = sorted(feature.name for feature in every_kind())
both = pytest.mark.parametrize("resolution", [FINE, COARSE], ids=lambda each: each.name)


def earlier(feature: Feature, n_windows: int) -> Feature:
    """The declaration when it had only its shortest windows, and perhaps the 5 seconds that fix the finest tile."""
    return replace(feature, windows_s=feature.windows_s[:n_windows]) if feature.windows_s else feature


@both
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_translated_state_is_right_or_missing(resolution: Resolution, data: st.DataObject) -> None:
    absent = data.draw(st.sets(st.sampled_from(NAMES), max_size=8), label="not declared yet")
    n_windows = data.draw(st.integers(1, 8), label="windows then")
    then = [earlier(f, n_windows) for f in every_kind() if f.name not in absent]
    old, new = EntityFeatures("thing", then, resolution=resolution), things(resolution)
    history = in_order(data.draw(facts(new)))
    cut = data.draw(st.integers(0, len(history)), label="declared after")
    state = fold(new, history[cut:], new.layout.adopt(fold(old, history[:cut])))
    as_of_us = history[-1].occurred_us + data.draw(
        st.one_of(st.integers(0, 20 * SECOND), st.integers(0, 40 * DAY * SECOND)), label="later"
    )
    for (name, feature, window_s), value in zip(named_windows(new), new.compute(state, as_of_us), strict=True):
        # A decayed mean weighs by the edges of tiles; the latest known of anything is the latest, if it is known.
        if not math.isnan(value) and feature.kind not in ("decayed_mean", "last_age"):
            assert is_right(new, feature, window_s, history, as_of_us, value), (name, value)


def test_a_mean_never_mixes_a_count_that_was_known_with_a_sum_that_was_not() -> None:
    old, new = things(less=[name for name in NAMES if name != "n"]), things()
    first, second = (Fact("a", f"m{s}", EDGE_US + s * SECOND, {"amount_minor": 10}, {}) for s in (0, 1))
    state = fold(new, [second], new.layout.adopt(fold(old, [first])))
    for after_s in (HOUR + 1, HOUR + 59, HOUR + 61):
        values = dict(zip(new.names, new.compute(state, EDGE_US + after_s * SECOND), strict=True))
        assert math.isnan(values["mean_1h"])


@both
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_both_declare_keeps_its_numbers_bit_by_bit(resolution: Resolution, data: st.DataObject) -> None:
    absent = data.draw(st.sets(st.sampled_from([name for name in NAMES if name != "n"]), max_size=8))
    few, all_ = things(resolution, less=sorted(absent)), things(resolution)
    old, new = data.draw(st.permutations([few, all_]))
    history = data.draw(facts(all_))
    cut = data.draw(st.integers(0, len(history)))
    kept, translated = fold(old, history[:cut]), new.layout.adopt(fold(old, history[:cut]))
    for state, features in ((kept, old), (translated, new)):
        fold(features, history[cut:], state)
    as_of_us = LATEST_US + data.draw(st.integers(0, 2 * DAY * SECOND))
    before = dict(zip(old.names, map(repr, old.compute(kept, as_of_us)), strict=True))
    after = dict(zip(new.names, map(repr, new.compute(translated, as_of_us)), strict=True))
    shared = {name for name, feature, _ in named_windows(few) if feature.name not in absent}
    assert {name: before[name] for name in shared} == {name: after[name] for name in shared}


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_in_time_everything_that_ends_is_known_again(data: st.DataObject) -> None:
    old, new = things(less=[name for name in NAMES if name != "n"]), things()
    history = in_order(data.draw(facts(new)))
    state = new.layout.adopt(fold(old, history))
    as_of_us = state.stamp_us + 33 * DAY * SECOND
    for (name, feature, window_s), value in zip(named_windows(new), new.compute(state, as_of_us), strict=True):
        if feature.kind in ("count", "sum", "distinct") and window_s < LIFETIME:
            assert value == 0.0, name
