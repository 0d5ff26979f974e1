"""Features are what a recount says: within the declared bound always, exactly at the edges of tiles."""

import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ibook.declarations import DAY, HOUR, MINUTE, MONTH, EntityFeatures, Feature
from ibook.entities import Fact
from ibook.finishing import HALF_LIFE_S
from ibook.measures import FINE, LIFETIME, SECOND
from tests.facts import ALL_FEATURES, EDGE_US, LATEST_US, facts, fold, in_order, things, update
from tests.oracle import admissible, exact, hop_at, named_windows, same

each_entity = pytest.mark.parametrize("entity", ALL_FEATURES)


def bounds(features: EntityFeatures, feature: Feature, window_s: int, as_of_us: int, latest_us: int) -> tuple[int, int]:
    """By how many seconds begin and end of a window may be rounded."""
    end_age_s = (latest_us - as_of_us) / SECOND + feature.delay_s
    tail_s = 0 if window_s == LIFETIME else hop_at(features, end_age_s + window_s)
    return tail_s, hop_at(features, end_age_s)


def is_right(
    features: EntityFeatures, feature: Feature, window_s: int, history: Sequence[Fact], as_of_us: int, value: float
) -> bool:
    """Whether a recount of facts up to some tile edges gives the value."""
    latest_us = max(fact.occurred_us for fact in history)
    tail_s, head_s = bounds(features, feature, window_s, as_of_us, latest_us)
    could_be = admissible(feature, window_s, history, as_of_us, tail_s=tail_s, head_s=head_s)
    if feature.kind == "decayed_mean":  # a tile weighs as its start does
        faded = 1.0 - 0.5 ** (hop_at(features, window_s) / HALF_LIFE_S)
        numbers = [fact.numbers.get(feature.field, 0) for fact in history]
        return any(same(value, each) or abs(value - each) <= faded * max(numbers) + 1e-6 for each in could_be)
    if feature.kind == "last_age":  # what is a little ahead has no age below 0
        could_be = [max(0.0, each) if not math.isnan(each) else each for each in could_be]
    if feature.kind == "first_age":
        return same(value, exact(feature, window_s, history, as_of_us))
    return any(same(value, each) for each in could_be)


@each_entity
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_features_equal_a_recount_within_their_bound(entity: str, data: st.DataObject) -> None:
    features = ALL_FEATURES[entity]
    history = data.draw(facts(features))
    latest_us = max(fact.occurred_us for fact in history)
    as_of_us = latest_us + data.draw(st.one_of(st.integers(0, 20 * SECOND), st.integers(0, 40 * DAY * SECOND)))
    values = features.compute(fold(features, history), as_of_us)
    for (name, feature, window_s), value in zip(named_windows(features), values, strict=True):
        assert is_right(features, feature, window_s, history, as_of_us, value), (name, value)


@each_entity
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_instant_in_the_past_sees_little_of_what_came_after(entity: str, data: st.DataObject) -> None:
    features = ALL_FEATURES[entity]
    history = data.draw(facts(features))
    latest_us = max(fact.occurred_us for fact in history)
    as_of_us = latest_us - data.draw(st.one_of(st.integers(0, 20 * SECOND), st.integers(0, 2 * HOUR * SECOND)))
    values = features.compute(fold(features, history), as_of_us)
    for (name, feature, window_s), value in zip(named_windows(features), values, strict=True):
        assert is_right(features, feature, window_s, history, as_of_us, value), (name, value)


@each_entity
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_features_are_exact_where_a_tile_begins(entity: str, data: st.DataObject) -> None:
    features = ALL_FEATURES[entity]
    history = data.draw(facts(features))
    values = features.compute(fold(features, history), EDGE_US)
    for (name, feature, window_s), value in zip(named_windows(features), values, strict=True):
        if feature.delay_s or feature.kind == "decayed_mean":  # an end in the past may lie within a tile
            assert is_right(features, feature, window_s, history, EDGE_US, value), name
        else:
            assert same(value, exact(feature, window_s, history, EDGE_US)), name


@given(st.integers(0, 10**6), st.sampled_from(sorted(set(ALL_FEATURES))))
def test_nothing_seen_is_zero_for_counts_and_missing_for_the_rest(as_of_s: int, entity: str) -> None:
    features = ALL_FEATURES[entity]
    values = features.compute(None, LATEST_US + as_of_s * SECOND)
    for (_, feature, _), value in zip(named_windows(features), values, strict=True):
        assert value == 0 if feature.kind in ("count", "sum", "distinct") else math.isnan(value)


@pytest.mark.parametrize("entity", ["thing in fine tiles", "thing in coarse tiles"])
def test_hops_say_the_bound_of_every_window(entity: str) -> None:
    features = ALL_FEATURES[entity]
    for _, feature, window_s in named_windows(features):
        if window_s != LIFETIME and not feature.delay_s:
            assert hop_at(features, window_s) <= features.resolution.hop_of(window_s)


# ------------------------------------------------------------------------------------------------------ distinct counts
def of_users(n_users: int, seed: int, *, spread_s: int) -> list[Fact]:
    rng = Random(seed)
    return [
        Fact("a", f"m{i}", LATEST_US - rng.randrange(spread_s * SECOND), {"amount_minor": 1}, {"user": f"{seed}-{i}"})
        for i in range(n_users)
    ]


def users(history: list[Fact], window: str) -> float:
    features = things()
    values = features.compute(fold(features, history), LATEST_US)
    return values[features.names.index(f"users_{window}")]


@given(st.integers(0, FINE.distinct_cap - 1), st.integers(0, 10**6), st.integers(1, 20))
def test_distinct_counts_are_exact_below_the_cap(n_users: int, seed: int, repeats: int) -> None:
    history = of_users(n_users, seed, spread_s=HOUR) * repeats
    assert users(history, "1h") == users(history, "24h") == users(history, "lifetime") == n_users


@pytest.mark.parametrize("spread_s", [2, HOUR, 20 * HOUR])
@pytest.mark.parametrize("n_users", [40, 300, 3000])
def test_distinct_counts_above_the_cap_are_within_three_standard_errors(n_users: int, spread_s: int) -> None:
    standard_error = 1 / math.sqrt(FINE.distinct_cap - 2)
    errors = [users(of_users(n_users, seed, spread_s=spread_s), "24h") / n_users - 1 for seed in range(12)]
    assert max(map(abs, errors)) <= 3 * standard_error
    assert abs(sum(errors) / len(errors)) <= 3 * standard_error / math.sqrt(len(errors)), "no bias"


@given(st.permutations(range(80)))
def test_an_estimate_does_not_depend_on_the_order(order: list[int]) -> None:
    history = of_users(80, 1, spread_s=DAY)
    assert users([history[i] for i in order], "24h") == users(history, "24h")


# ----------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"kind": "count"}, "at least one"),
        ({"kind": "first_age", "windows_s": (HOUR,)}, "an age has no window"),
        ({"kind": "count", "windows_s": (DAY, HOUR)}, "windows must increase"),
        ({"kind": "ratio", "windows_s": (DAY,)}, "a ratio `of`"),
        ({"kind": "count", "of": ("b",), "windows_s": (DAY,)}, "a ratio `of`"),
        ({"kind": "sum", "windows_s": (DAY,)}, "needs a field"),
        ({"kind": "count", "windows_s": (LIFETIME,), "delay_s": DAY}, "windows that end"),
        ({"kind": "count", "windows_s": (31 * DAY,)}, "30 days"),
        ({"kind": "count", "windows_s": (MONTH,), "delay_s": 2 * DAY}, "a delay"),
    ],
)
def test_a_declaration_that_can_not_be_computed_is_refused(said: dict[str, object], refused: str) -> None:
    with pytest.raises(ValueError, match=refused):
        Feature(**{"entity": "thing", "name": "x", "kinds": ("a",), "why": "", **said})  # type: ignore[arg-type]


def test_two_features_of_one_name_are_refused() -> None:
    feature = Feature(entity="thing", name="x", kind="count", kinds=("a",), windows_s=(MINUTE,), why="")
    with pytest.raises(ValueError, match="one name"):
        EntityFeatures("thing", [feature, feature])


# ---------------------------------------------------------------------------------------------- in the course of time
def test_window_empties_when_time_passes_without_messages() -> None:
    features = things()
    state = fold(features, [Fact("a", f"m{i}", LATEST_US - i * SECOND, {}, {}) for i in range(5)])

    def n(after_s: int) -> dict[str, float]:
        return dict(zip(features.names, features.compute(state, LATEST_US + after_s * SECOND), strict=True))

    assert (n(0)["n_1m"], n(120)["n_1m"], n(120)["n_10m"], n(40 * DAY)["n_lifetime"]) == (5, 0, 5, 5)


@given(st.integers(0, 60))
def test_late_facts_are_counted_in_their_own_time(age_s: int) -> None:
    features = things()
    early, latest = (Fact("a", m, LATEST_US - s * SECOND, {}, {}) for m, s in (("m1", age_s), ("m0", 0)))
    assume(age_s)
    state = fold(features, in_order([early, latest]))
    late = fold(features, [latest, early])
    assert features.layout.fold(late, update(early, 0)) == "redelivered"
    assert repr(features.compute(state, LATEST_US)) == repr(features.compute(late, LATEST_US))
