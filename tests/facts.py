"""Facts for tests of the feature engine: histories that hypothesis draws, and declarations of every kind."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from ibook.declarations import DAY, HOUR, MINUTE, MONTH, TEN_MINUTES, EntityFeatures, Feature
from ibook.entities import EntityUpdate, Fact
from ibook.features import ENTITY_FEATURES
from ibook.measures import COARSE, FINE, LIFETIME, SECOND, Resolution, Where
from ibook.states import Tile, WindowState
from ibook.windows import FoldResult

LATEST_US = 1_790_000_123 * SECOND
"""No drawn fact is later."""
IDS = ("user", "card", "device", "ip", "subnet", "bin", "event", "promoter")
ALMOST_ALL_S = (5, MINUTE, 5 * MINUTE, TEN_MINUTES, HOUR, DAY, MONTH)


def every_kind() -> tuple[Feature, ...]:
    """One declaration of every kind, with filters, delays and lifetimes, for an entity of nobody's: `thing`."""

    def feature(name: str, **said: Any) -> Feature:
        return Feature(**{"entity": "thing", "name": name, "kinds": ("a",), "why": "A test.", **said})

    ended, all_ = ALMOST_ALL_S, (*ALMOST_ALL_S, LIFETIME)
    return (
        feature("n", kind="count", windows_s=all_),
        feature("n_small", kind="count", windows_s=(HOUR, LIFETIME), where=(Where("amount_minor", "<=", 5),)),
        feature("n_big_of_u1", kind="count", windows_s=(MINUTE, DAY),
                where=(Where("amount_minor", ">=", 5), Where("user", "==", "user-1"))),
        feature("n_known_late", kind="count", windows_s=(HOUR, MONTH), delay_s=DAY),
        feature("total", kind="sum", field="amount_minor", windows_s=all_),
        feature("mean", kind="mean", field="amount_minor", windows_s=all_),
        feature("mean_known_late", kind="mean", field="amount_minor", windows_s=(DAY,), delay_s=HOUR),
        feature("max", kind="max", field="amount_minor", windows_s=all_),
        feature("min", kind="min", field="amount_minor", windows_s=all_),
        feature("last", kind="last", field="amount_minor", windows_s=all_),
        feature("users", kind="distinct", field="user", kinds=("a", "b"), windows_s=all_),
        feature("b_per_a", kind="ratio", kinds=("b",), of=("a", "b"), windows_s=ended),
        feature("users_per_card", kind="ratio", field="user", of=("b",), of_field="card", windows_s=(HOUR, LIFETIME)),
        feature("first_age", kind="first_age", kinds=("c",)),
        feature("last_age", kind="last_age", kinds=("b",)),
        feature("z", kind="z_score", field="amount_minor", windows_s=ended),
        feature("faded", kind="decayed_mean", field="amount_minor", kinds=("b",), windows_s=(MONTH,)),
    )  # fmt: skip


def things(resolution: Resolution = FINE, *, less: Sequence[str] = ()) -> EntityFeatures:
    """The features of `every_kind`, but for some."""
    return EntityFeatures("thing", [f for f in every_kind() if f.name not in less], resolution=resolution)


ALL_FEATURES: dict[str, EntityFeatures] = {
    **{str(entity): features for entity, features in ENTITY_FEATURES.items()},
    "thing in fine tiles": things(), "thing in coarse tiles": things(COARSE),
}  # fmt: skip
"""The catalogue, and every kind beside it."""


def kinds_of(features: EntityFeatures) -> list[str]:
    """The kinds of facts that these features look at."""
    return sorted({kind for feature in features.declared for kind in (*feature.kinds, *feature.of)})


EDGE_US = -(-LATEST_US // (DAY * SECOND)) * DAY * SECOND
"""A whole day, not before LATEST_US: as of then every window begins where a tile does."""
_NEAR_EDGES_US = st.builds(
    lambda window_s, hops, us: window_s * SECOND + hops * SECOND + us - (EDGE_US - LATEST_US),
    st.sampled_from(ALMOST_ALL_S), st.sampled_from([-60, -10, -1, 0, 1, 5, 10, 60, 1200]), st.sampled_from([-1, 0, 1]),
).filter(lambda age_us: age_us >= 0)  # fmt: skip
AGES_US = st.one_of(
    *(st.integers(0, longest * SECOND) for longest in (90, 900, 5000, 2 * DAY, 40 * DAY)), _NEAR_EDGES_US
)
"""How long before LATEST_US something happens: in any level of the tiles, and beyond them."""


def fact(kind: str, number: int, occurred_us: int, seed: int) -> Fact:
    """A fact whose numbers and ids, few of each, follow from a seed."""
    rng = Random(seed)
    ids = {name: f"{name}-{rng.randrange(5)}" for name in IDS} | {"category": rng.choice(["sports", "concerts"])}
    numbers = {
        "amount_minor": rng.randrange(11), "n_tickets": rng.randrange(1, 5), "n_seats": rng.randrange(1, 5),
        "score_ppm": rng.randrange(10**6), "sold_permille": rng.randrange(1001), "capacity": 100,
        "remaining": rng.randrange(100),
    }  # fmt: skip
    return Fact(kind, f"m{number}", occurred_us, numbers, ids)


def facts(features: EntityFeatures, *, max_size: int = 40) -> st.SearchStrategy[list[Fact]]:
    """Histories that these features look at, in any order, each message once."""
    drawn = st.tuples(st.sampled_from(kinds_of(features)), AGES_US, st.integers(0, 1000))
    return st.lists(drawn, min_size=1, max_size=max_size).map(
        lambda rows: [fact(kind, i, LATEST_US - age, seed) for i, (kind, age, seed) in enumerate(rows)]
    )


def in_order(facts: Iterable[Fact]) -> list[Fact]:
    """As they happened."""
    return sorted(facts, key=lambda fact: fact.occurred_us)


def update(fact: Fact, offset: int, source: int = 0) -> EntityUpdate:
    """A fact as it is delivered at a position."""
    return EntityUpdate(source, offset, 0, [], fact)


def fold(features: EntityFeatures, facts: Iterable[Fact], state: WindowState | None = None) -> WindowState:
    """Fold facts, in the order given, from the position on that the state has reached."""
    state = features.layout.empty() if state is None else state
    begin = state.positions.get(0, -1) + 1
    for offset, fact in enumerate(facts, start=begin):
        result: FoldResult = features.layout.fold(state, update(fact, offset))
        assert result in ("folded", "late")
    return state


def known(state: WindowState) -> tuple[int, dict[int, int], list[Tile]]:
    """What a state knows of its facts, whatever the positions they came from."""
    return state.latest_us, dict(sorted(state.first_us.items())), state.tiles
