"""Features at any instant from the log: equal to what a state folded up to there gives."""

from random import Random

import msgspec
import numpy as np
import pytest

from ibook import backfill
from ibook.backfill import Wanted, fold_log, values_at
from ibook.clock import to_us
from ibook.entities import ENTITIES, Fact, source_slot, update_of
from ibook.features import ENTITY_FEATURES
from ibook.states import StoredState, decode_stored, encode_stored
from tests.replayed import LAG, START, log_of, served, traffic
from tests.traffic import purchase

SENT = traffic(seed=3)
LOG = log_of(SENT)
MINUTE_US = 60_000_000


def wanted_at(*, staleness_us: int = 0, count: int = 200) -> list[Wanted]:
    """Entities of the traffic at random instants, some before and after everything."""
    rng, found = Random(1), []
    for _ in range(count):
        fact = rng.choice(LOG).update.fact
        entity = rng.choice([name for name in ENTITIES if name in fact.ids])
        as_of_us = to_us(START) + rng.randrange(-5, 60) * MINUTE_US + rng.randrange(MINUTE_US)
        found.append(Wanted(entity, fact.ids[entity], as_of_us, as_of_us - staleness_us))
    return found


def once(entity: str, key: str) -> list[Fact]:
    """What happened to an entity, the shop's repeats left out."""
    seen: dict[str, Fact] = {}
    for logged in LOG:
        fact = logged.update.fact
        if entity in logged.update.entities and fact.ids.get(entity) == key:
            seen.setdefault(f"{fact.kind}:{fact.message_id}", fact)
    return list(seen.values())


def by_hand(one: Wanted) -> list[float]:
    """The same by another way: a shuffled fold of exactly what counts."""
    features = ENTITY_FEATURES[one.entity]
    facts = [
        fact for fact in once(one.entity, one.key)
        if fact.occurred_us <= one.seen_us or (fact.kind == "purchase" and fact.occurred_us <= one.as_of_us)
    ]  # fmt: skip
    Random(one.as_of_us).shuffle(facts)
    state = features.layout.empty()
    for fact in facts:
        features.layout.fold_fact(state, fact)
    return features.compute(state, one.as_of_us)


@pytest.mark.parametrize("staleness_us", [0, 3 * MINUTE_US])
def test_values_are_those_of_what_had_happened_by_then(staleness_us: int) -> None:
    wanted = wanted_at(staleness_us=staleness_us)
    found = values_at((logged.update for logged in LOG), wanted)
    np.testing.assert_array_equal(
        np.concatenate([np.array(each) for each in found]), np.concatenate([np.array(by_hand(one)) for one in wanted])
    )


def test_an_entity_nobody_knows_has_the_features_of_nothing() -> None:
    (values,) = values_at((logged.update for logged in LOG), [Wanted("card", "never-seen", 0, 0)])
    np.testing.assert_array_equal(values, ENTITY_FEATURES["card"].compute(None, 0))


def test_as_served_sees_the_own_purchases_and_not_what_others_said_since() -> None:
    first, second = (purchase(f"t{i}", now=START, key="own") for i in range(2))
    second = msgspec.structs.replace(second, occurred_at=START.replace(second=10))
    source, at_us = source_slot("ticket-purchases", 0), to_us(second.occurred_at)
    updates = [update_of(first, source, 0, 0), update_of(second, source, 1, 0)]
    (values,) = values_at(updates, [Wanted("card", first.card_id, at_us, at_us - MINUTE_US)])
    assert dict(zip(ENTITY_FEATURES["card"].names, values, strict=True))["card_attempts_1m"] == 2


def test_a_message_delivered_twice_or_repeated_by_the_shop_counts_once() -> None:
    bought = purchase("t", now=START)
    source, as_of_us = source_slot("ticket-purchases", 0), to_us(START)
    sent = [update_of(bought, source, 0, 0), update_of(bought, source, 0, 0), update_of(bought, source, 1, 0)]
    (values,) = values_at(sent, [Wanted("card", bought.card_id, as_of_us, as_of_us)])
    assert values[ENTITY_FEATURES["card"].names.index("card_attempts_24h")] == 1


def test_backfill_of_a_served_purchase_without_lag_differs_only_by_what_was_not_there_yet() -> None:
    evidence = list(served(SENT))[-1]
    assert evidence.purchase is not None
    at_us = to_us(evidence.purchase.occurred_at)
    card = Wanted("card", evidence.purchase.card_id, at_us, at_us)
    attempts = ENTITY_FEATURES["card"].names.index("card_attempts_24h")
    assert values_at((logged.update for logged in LOG), [card])[0][attempts] == by_hand(card)[attempts] > LAG


def test_a_log_folds_to_the_states_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "BATCH", 50)
    one_by_one: dict[tuple[str, str], StoredState] = {}
    for _, offset, update in LOG:
        for entity in update.entities:
            layout = ENTITY_FEATURES[entity].layout
            stored = one_by_one.setdefault((entity, update.fact.ids[entity]), StoredState(layout.empty(), []))
            layout.fold_stored(stored, update, offset)
    found = fold_log((offset, update) for _, offset, update in LOG)
    assert {key: decode_stored(payload) for key, payload in found.items()} == one_by_one
    assert found == {key: encode_stored(stored) for key, stored in one_by_one.items()}
