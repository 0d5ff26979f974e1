"""How large states grow: they are read for every purchase."""

from collections.abc import Iterator
from random import Random

import pytest

from ibook.declarations import DAY, HOUR
from ibook.entities import ROUTES, EntityName, Fact
from ibook.features import ENTITY_FEATURES
from ibook.measures import SECOND
from ibook.states import WindowState, encode_state
from tests.facts import LATEST_US, update

CARD_BYTES = 1024
BYTES_AT_MOST: dict[EntityName, int] = {"event": 16 * 1024, "promoter": 16 * 1024, "bin": 8 * 1024, "subnet": 8 * 1024}
"""Half of an event's are the sets of its distinct counts: 40 tiles of up to ten minutes, three sets each."""
BUSY_S = 200
"""The youngest tiles are full after so long."""


def hot(entity: EntityName, rng: Random, per_second: int) -> Iterator[Fact]:
    """30 days of many users' doings, then `per_second` of them for a while, oldest first."""
    kinds = [kind for kind, entities in ROUTES.items() if entity in entities]
    ages_us = [rng.randrange(30 * DAY * SECOND) for _ in range(6_000)]
    ages_us += [rng.randrange(2 * HOUR * SECOND) for _ in range(12_000)]
    ages_us += [rng.randrange(BUSY_S * SECOND) for _ in range(BUSY_S * per_second)]
    for number, age_us in enumerate(sorted(ages_us, reverse=True)):
        someone = rng.randrange(50_000)
        ids = {
            "user": f"u{someone}", "card": f"c{someone}", "device": f"d{someone % 30_000}",
            "ip": f"i{someone % 9_000}", "event": f"e{someone % 300}", "category": "sports",
        }  # fmt: skip
        numbers = {
            "amount_minor": rng.randrange(500, 30_000), "n_tickets": rng.randrange(1, 9), "n_seats": 2,
            "capacity": 50_000, "remaining": rng.randrange(50_000), "sold_permille": rng.randrange(1001),
        }  # fmt: skip
        yield Fact(rng.choice(kinds), f"m{number}", LATEST_US - age_us, numbers, ids)


def folded(entity: EntityName, facts: Iterator[Fact]) -> WindowState:
    layout = ENTITY_FEATURES[entity].layout
    state = layout.empty()
    for offset, fact in enumerate(facts):
        layout.fold(state, update(fact, offset, offset % 24))
    return state


@pytest.mark.parametrize("entity", BYTES_AT_MOST)
def test_the_hottest_of_what_many_share_fits(entity: EntityName) -> None:
    per_second = 1_000 if entity == "event" else 200
    assert len(encode_state(folded(entity, hot(entity, Random(7), per_second)))) <= BYTES_AT_MOST[entity]


def test_a_card_of_a_dozen_purchases_in_a_month_is_small() -> None:
    rng, facts = Random(7), []
    for number in range(12):
        bought_us = LATEST_US - rng.randrange(30 * DAY) * SECOND
        ids = {name: f"{name}-{rng.randrange(3)}" for name in ("user", "device", "ip", "event")}
        numbers = {"amount_minor": rng.randrange(500, 30_000), "n_tickets": 2}
        facts += [
            Fact(kind, f"{kind}{number}", bought_us + after_s * SECOND, numbers, ids)
            for kind, after_s in (("purchase", 0), ("authorised", 1), ("settled", 60))
        ]
    state = folded("card", iter(sorted(facts, key=lambda fact: fact.occurred_us)))
    assert len(encode_state(state)) <= CARD_BYTES
