"""Tiles agree with a plain recount, whatever the order, and a redelivery changes nothing."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from ibook.declarations import DAY, HOUR, MINUTE, TEN_MINUTES
from ibook.entities import EntityName, EntityUpdate, Fact
from ibook.features import ENTITY_FEATURES
from ibook.windows import SECOND, WindowState, decode_state, encode_state

CARD = ENTITY_FEATURES["card"]
START_S = 1_790_000_000


def update(offset: int, second: int, *, kind: str = "purchase", user: str = "u1", amount: int = 100) -> EntityUpdate:
    fact = Fact(kind, f"m{offset}", second * SECOND, {"amount_minor": amount, "n_tickets": 1}, {"user": user})
    return EntityUpdate(0, offset, 0, ["card"], fact)


def fold(updates: Iterable[EntityUpdate]) -> WindowState:
    state = CARD.layout.empty()
    for each in updates:
        CARD.layout.fold(state, each)
    return state


def named(state: WindowState, second: float) -> dict[str, float]:
    return dict(zip(CARD.names, CARD.compute(state, int(second * SECOND)), strict=True))


facts = st.lists(
    st.tuples(
        st.integers(0, 3 * DAY),
        st.sampled_from(["purchase", "declined"]),
        st.sampled_from(["u1", "u2", "u3"]),
        st.integers(1, 9_999),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(facts)
def test_counts_equal_a_recount_up_to_one_hop(drawn: list[tuple[int, str, str, int]]) -> None:
    drawn.sort()
    now = START_S + drawn[-1][0]
    updates = [
        update(i, START_S + s, kind=kind, user=user, amount=amount) for i, (s, kind, user, amount) in enumerate(drawn)
    ]
    values = named(fold(updates), now)
    for window, name in ((MINUTE, "1m"), (TEN_MINUTES, "10m"), (HOUR, "1h"), (DAY, "24h")):
        hop = CARD.resolution.hop_of(window)
        ages = [now - (START_S + s) for s, kind, _, _ in drawn if kind == "purchase"]
        assert sum(age < window for age in ages) <= values[f"card_attempts_{name}"]
        assert values[f"card_attempts_{name}"] <= sum(age < window + hop for age in ages)


@settings(max_examples=100, deadline=None)
@given(facts, st.randoms(use_true_random=False))
def test_order_of_arrival_changes_no_feature(drawn: list[tuple[int, str, str, int]], random: object) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    now = START_S + max(s for s, *_ in drawn)
    in_order = fold(update(i, START_S + s, kind=k, user=u, amount=a) for i, (s, k, u, a) in enumerate(sorted(drawn)))
    any_order = fold(update(i, START_S + s, kind=k, user=u, amount=a) for i, (s, k, u, a) in enumerate(shuffled))
    assert [(t.start, t.level, t.numbers, t.sets) for t in in_order.tiles] == [
        (t.start, t.level, t.numbers, t.sets) for t in any_order.tiles
    ]
    assert str(named(in_order, now)) == str(named(any_order, now))


@settings(max_examples=50, deadline=None)
@given(facts, st.integers(0, 59))
def test_redelivery_changes_no_byte(drawn: list[tuple[int, str, str, int]], restart: int) -> None:
    updates = [update(i, START_S + s, kind=k, user=u, amount=a) for i, (s, k, u, a) in enumerate(drawn)]
    once = fold(updates)
    again = fold([*updates, *updates[restart:]])
    assert encode_state(once) == encode_state(again)


def test_window_empties_when_time_passes_without_messages() -> None:
    state = fold(update(i, START_S + i) for i in range(5))
    assert named(state, START_S + 5)["card_attempts_1m"] == 5
    assert named(state, START_S + 120)["card_attempts_1m"] == 0
    assert named(state, START_S + 120)["card_attempts_10m"] == 5


def test_what_happens_later_is_not_seen_earlier() -> None:
    state = fold([update(0, START_S), update(1, START_S + 30)])
    assert named(state, START_S + 10)["card_attempts_1m"] == 1


def test_state_survives_its_encoding() -> None:
    state = fold(update(i, START_S + i * 40, user=f"u{i}") for i in range(50))
    assert decode_state(encode_state(state)) == state


def test_distinct_counts_see_each_value_once() -> None:
    state = fold(update(i, START_S + i, user=f"u{i % 3}") for i in range(30))
    assert named(state, START_S + 31)["card_distinct_users_24h"] == 3


def test_a_card_fits_in_a_kilobyte() -> None:
    state = fold(update(i, START_S + i * 3600, user=f"u{i % 2}") for i in range(12))
    assert len(encode_state(state)) < 1024


@settings(max_examples=60, deadline=None)
@given(facts, st.randoms(use_true_random=False), st.sampled_from(["device", "user", "event"]))
def test_order_changes_no_feature_of_coarser_tiles_either(
    drawn: list[tuple[int, str, str, int]], random: object, entity: EntityName
) -> None:
    features = ENTITY_FEATURES[entity]
    shuffled = list(drawn)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    now_us = (START_S + max(s for s, *_ in drawn)) * SECOND

    def folded(facts: list[tuple[int, str, str, int]]) -> str:
        state = features.layout.empty()
        for i, (s, k, u, a) in enumerate(facts):
            features.layout.fold(state, update(i, START_S + s, kind=k, user=u, amount=a))
        assert all(tile.level >= features.layout.first_level for tile in state.tiles)
        return str(features.compute(state, now_us))

    assert folded(sorted(drawn)) == folded(shuffled)
