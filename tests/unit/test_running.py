"""A running state gives the features of a full computation, bit by bit."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibook.declarations import DAY, EntityFeatures, Feature
from ibook.entities import ENTITIES, EntityName
from ibook.features import ENTITY_FEATURES, MODEL_FEATURES
from ibook.measures import SECOND
from ibook.running import WORTH_TILES, RunningState
from ibook.states import decode_state, encode_state
from tests.facts import ALL_FEATURES, LATEST_US, fact, fold, kinds_of, update

each_entity = pytest.mark.parametrize("entity", ALL_FEATURES)
STEPS_US = st.one_of(
    st.integers(-3 * SECOND, 3 * SECOND), st.integers(-90 * SECOND, 900 * SECOND), st.just(2 * DAY * SECOND)
)
"""How far the time of what is folded or asked for jumps, back too."""


@each_entity
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    steps=st.lists(st.tuples(STEPS_US, st.sampled_from(["fold", "late", "compute", "again"])), min_size=5, max_size=60),
)
def test_interleaved_folds_and_computations_equal_full_ones(
    entity: str, seed: int, steps: list[tuple[int, str]]
) -> None:
    features, rng = ALL_FEATURES[entity], Random(seed)
    kinds = kinds_of(features)
    history = [fact(rng.choice(kinds), i, LATEST_US - i * rng.randrange(9 * SECOND), i) for i in range(4 * WORTH_TILES)]
    plain = fold(features, history)
    running = RunningState(features, decode_state(encode_state(plain)))
    now_us = LATEST_US
    for offset, (step_us, action) in enumerate(steps, start=len(history)):
        now_us += step_us
        if action in ("fold", "late"):
            late_us = rng.randrange(2 * DAY * SECOND) if action == "late" else 0
            each = update(fact(rng.choice(kinds), offset, now_us - late_us, offset), offset)
            assert running.fold(each) == features.layout.fold(plain, each)
            assert running.fold(each) == "redelivered"
        else:
            for _ in range(2 if action == "again" else 1):  # sums are kept from the second time on
                assert repr(running.compute(now_us)) == repr(features.compute(plain, now_us))
    for ahead_us in (0, 1, SECOND, 0, 5 * SECOND, 0, DAY * SECOND):
        assert repr(running.compute(now_us + ahead_us)) == repr(features.compute(plain, now_us + ahead_us))
    assert encode_state(running.state) == encode_state(plain)


@pytest.mark.parametrize("entity", ENTITIES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), ahead_us=st.sampled_from([0, 1, SECOND, 90 * SECOND, 2 * DAY * SECOND]))
def test_the_features_of_the_model_are_those_of_all_features(entity: EntityName, seed: int, ahead_us: int) -> None:
    everything, for_model, rng = ENTITY_FEATURES[entity], MODEL_FEATURES[entity], Random(seed)
    kinds = kinds_of(everything)
    ages_s = [rng.randrange(3 * DAY) for _ in range(40)]
    state = fold(everything, [fact(rng.choice(kinds), i, LATEST_US - age * SECOND, i) for i, age in enumerate(ages_s)])
    known = dict(zip(everything.names, everything.compute(state, LATEST_US + ahead_us), strict=True))
    values = for_model.compute(state, LATEST_US + ahead_us)
    assert for_model.names == everything.model_names
    assert repr(values) == repr([known[name] for name in everything.model_names])


def test_a_translated_state_with_coarser_tiles_gives_full_computations_too() -> None:
    def counted(*windows_s: int) -> EntityFeatures:
        return EntityFeatures("thing", [
            Feature(entity="thing", name="n", kind="count", kinds=("a",), windows_s=windows_s, why="It counts."),
        ])  # fmt: skip

    old, new = counted(600, 3600), counted(5, 600, 3600)
    ages_s = [*range(0, 600, 20), *range(600, 3600, 200)]
    history = [fact("a", i, LATEST_US - age_s * SECOND, i) for i, age_s in enumerate(reversed(ages_s))]
    plain = new.layout.adopt(fold(old, history))
    running = RunningState(new, decode_state(encode_state(plain)))
    for second in range(8):
        for _ in range(3):
            assert repr(running.compute(LATEST_US)) == repr(new.compute(plain, LATEST_US))
        each = update(fact("a", 1000 + second, LATEST_US, second), 1000 + second)
        running.fold(each)
        new.layout.fold(plain, each)
