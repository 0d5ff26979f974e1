"""Served values against the log: nothing is named when all is well, and every planted fault is."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest

from ibook import messages as m
from ibook.completeness import Completeness, Pairs
from ibook.entities import ENTITIES, EntityName, EntityUpdate, source_slot, update_of
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES
from ibook.parity import Parity, Purchases, Range, Values
from ibook.states import StoredState
from ibook.windows import Layout
from tests.replayed import PARTITIONS, Fold, Logged, Sent, correct, log_of, served, traffic, update_from
from tests.traffic import purchase

SENT = traffic()
LOG = log_of(SENT)


def compared(evidence: Sequence[m.VerdictEvidence], log: Sequence[Logged] = LOG) -> Values:
    parity = Parity()
    for each in evidence:
        parity.take(each)
    for sent in SENT:
        if sent.topic == "ticket-purchases":
            parity.purchases.seen(update_from(sent))
    for partition in range(PARTITIONS):
        recomputation = parity.partition(partition)
        for logged in log:
            if logged.partition == partition:
                recomputation.feed(logged.offset, logged.update)
        recomputation.finish(len(SENT))
    return parity.values


def pairs(log: Sequence[Logged], sent_below: int = 10**9) -> Pairs:
    completeness = Completeness(PARTITIONS)
    topics = {(each.topic, each.partition) for each in SENT}
    for topic, partition in topics:
        end = max(each.offset for each in SENT if (each.topic, each.partition) == (topic, partition)) + 1
        completeness.open(source_slot(topic, partition), 0, end)
    for each in SENT:
        completeness.expect(update_from(each))
    for logged in log:
        completeness.sent(logged.partition, logged.update)
    return completeness.compare({source_slot(*each): sent_below for each in topics})


@pytest.fixture(scope="module")
def evidence() -> list[m.VerdictEvidence]:
    return list(served(SENT))


# ------------------------------------------------------------------------------------------------------------- values
def test_what_a_correct_platform_served_is_what_the_log_gives(evidence: list[m.VerdictEvidence]) -> None:
    values = compared(evidence)
    assert (values.mismatches, values.examples, values.miscounted) == (0, {}, {})
    assert values.verdicts == len(evidence) > 300
    assert values.values_checked == values.verdicts * len(FEATURE_NAMES)
    assert any(position.folded and position.updates_offset >= 0 for each in evidence for position in each.states)


def tampered(fold: Fold) -> Values:
    return compared(list(served(SENT, fold)))


def test_a_wrong_hop_is_found_in_the_windows_it_rounds() -> None:
    right = ENTITY_FEATURES["card"].layout
    wrong = replace(right.resolution, hops_s=(30, 60, 60, 1200, 43_200))
    layout = Layout(right.measures, shortest_s=5, resolution=wrong)
    layout.first_level, layout.fingerprint = right.first_level, right.fingerprint

    def fold(entity: EntityName, stored: StoredState, update: EntityUpdate) -> object:
        return layout.fold_stored(stored, update) if entity == "card" else correct(entity, stored, update)

    values = tampered(fold)
    assert values.mismatches > 0
    assert all(name.startswith("card_") for name in values.mismatches_by_feature)
    assert "card_attempts_1m" in values.examples


def test_a_double_count_is_named_with_both_values() -> None:
    def fold(entity: EntityName, stored: StoredState, update: EntityUpdate) -> object:
        result = correct(entity, stored, update)
        if entity == "device" and update.fact.kind == "purchase" and update.offset == 40:
            ENTITY_FEATURES[entity].layout.fold_fact(stored.state, update.fact)
        return result

    values = tampered(fold)
    assert "device_attempts_1h" in values.mismatches_by_feature
    assert all(name.startswith("device_") for name in values.mismatches_by_feature)
    example = values.examples["device_attempts_1h"]
    assert example.recorded == example.recomputed + 1
    assert example.entity == "device"


def test_an_update_that_a_state_never_folded_is_found() -> None:
    def fold(entity: EntityName, stored: StoredState, update: EntityUpdate) -> object:
        if entity == "user" and update.fact.kind == "purchase" and update.offset == 30:
            ENTITY_FEATURES[entity].layout.skip(stored.state, update)
            return "skipped"
        return correct(entity, stored, update)

    values = tampered(fold)
    assert "user_attempts_24h" in values.mismatches_by_feature
    assert all(name.startswith("user_") for name in values.mismatches_by_feature)


def test_a_late_message_that_was_dropped_is_found() -> None:
    def fold(entity: EntityName, stored: StoredState, update: EntityUpdate) -> object:
        if entity == "event" and update.fact.occurred_us < stored.state.latest_us:
            ENTITY_FEATURES[entity].layout.skip(stored.state, update)
            return "skipped"
        return correct(entity, stored, update)

    values = tampered(fold)
    assert "event_attempts_1h" in values.mismatches_by_feature
    assert all(name.startswith("event_") for name in values.mismatches_by_feature)


def test_a_changed_request_feature_is_named(evidence: list[m.VerdictEvidence]) -> None:
    features = list(evidence[5].features)
    features[FEATURE_NAMES.index("amount_minor")] = 1.0
    values = compared([*evidence[:5], msgspec.structs.replace(evidence[5], features=features), *evidence[6:]])
    assert values.mismatches_by_feature == {"amount_minor": 1}


def test_purchases_that_the_log_does_not_hold_are_miscounted(evidence: list[m.VerdictEvidence]) -> None:
    last = evidence[-1]
    states = [
        msgspec.structs.replace(each, folded=[(t, p, first, end, n + 1) for t, p, first, end, n in each.folded])
        if each.entity == "card" else each for each in last.states
    ]  # fmt: skip
    values = compared([*evidence[:-1], msgspec.structs.replace(last, states=states)])
    assert values.miscounted_by_entity["card"] == 1
    assert last.transaction_id in values.miscounted["card"]
    assert all(name.startswith("card_") for name in values.mismatches_by_feature)


@pytest.mark.parametrize(("n_purchases", "offsets"), [(2, [0, 1]), (3, [0, 1, 4]), (5, [0, 1, 2, 3, 4]), (4, None)])
def test_repeats_count_as_the_worker_knew_them(n_purchases: int, offsets: list[int] | None) -> None:
    """Decided at 0 and 1, repeated at 2 and 3; at 4 lies the repeat of one from before, which counts as new."""
    source, purchases = source_slot("ticket-purchases", 0), Purchases()
    bought = [purchase(name) for name in ("a", "b", "b", "b", "before")]
    for offset in (0, 1):
        purchases.decided(bought[offset], source, offset)
    for offset, each in enumerate(bought):
        purchases.seen(update_of(each, source, offset, 0))
    found = purchases.of(("card", "card-1"), Range(source, 0, 4, n_purchases))
    assert (None if found is None else [update.offset for update in found]) == offsets


def test_a_position_beyond_the_log_is_a_mismatch(evidence: list[m.VerdictEvidence]) -> None:
    states = [msgspec.structs.replace(each, updates_offset=10**6) for each in evidence[-1].states]
    values = compared([*evidence[:-1], msgspec.structs.replace(evidence[-1], states=states)])
    assert set(values.miscounted_by_entity) == {each.entity for each in states}


def test_verdicts_of_other_declarations_are_counted_apart(evidence: list[m.VerdictEvidence]) -> None:
    values = compared([msgspec.structs.replace(evidence[0], feature_names_hash="0" * 16), *evidence[1:]])
    assert (values.verdicts_of_other_features, values.mismatches) == (1, 0)
    assert values.verdicts == len(evidence) - 1


def test_verdicts_without_features_are_left_out_but_their_purchases_count(evidence: list[m.VerdictEvidence]) -> None:
    half = [msgspec.structs.replace(each, posture="no_features") for each in evidence[::2]]
    values = compared([*half, *evidence[1::2]])
    assert (values.mismatches, values.verdicts) == (0, len(evidence[1::2]))


def test_each_view_tells_how_long_the_broker_held_what_was_missed(evidence: list[m.VerdictEvidence]) -> None:
    delay = timedelta(seconds=50)  # decided late, with the states of then
    late = [msgspec.structs.replace(each, occurred_at=each.occurred_at + delay) for each in evidence]
    values = compared(late)
    assert len(values.staleness_s) == len(late)
    assert all(len(values.missed_s[entity]) == len(late) for entity in ENTITIES)
    assert 45 < max(values.missed_s["event"]) < 30 * 60


def test_a_past_that_was_loaded_at_once_is_no_measure_of_staleness(evidence: list[m.VerdictEvidence]) -> None:
    delay = timedelta(days=1)
    values = compared([msgspec.structs.replace(each, occurred_at=each.occurred_at + delay) for each in evidence])
    assert (len(values.staleness_s), len(values.missed_s["event"])) == (0, 0)
    assert len(values.staleness_all_s) == len(evidence)


# ------------------------------------------------------------------------------------------------------- completeness
def test_a_whole_log_has_nothing_missing_and_nothing_extra() -> None:
    found = pairs(LOG)
    assert (found.missing, found.extra, found.repeated, found.examples) == (0, 0, 0, {})
    assert found.expected == sum(len(update_from(each).entities) for each in SENT)


def test_a_dropped_update_is_named_by_entity_and_position() -> None:
    lost = next(i for i, each in enumerate(LOG) if "card" in each.update.entities and each.offset > 20)
    others = [entity for entity in LOG[lost].update.entities if entity != "card"]
    without = LOG[lost]._replace(update=msgspec.structs.replace(LOG[lost].update, entities=others))
    found = pairs([*LOG[:lost], without, *LOG[lost + 1 :]])
    assert dict(found.missing_by_entity) == {"card": 1}
    assert f"at offset {LOG[lost].update.offset}" in found.examples["missing card"]
    assert "card" in found.examples["missing card"]


def test_an_update_sent_twice_is_counted_apart() -> None:
    found = pairs([*LOG, LOG[10]])
    assert (found.missing, found.extra, found.repeated) == (0, 0, len(LOG[10].update.entities))


def test_an_update_nobody_asked_for_is_extra() -> None:
    view = next(each for each in LOG if each.update.fact.kind == "view")
    forged = msgspec.structs.replace(view.update.fact, ids={**view.update.fact.ids, "card": "card-1"})
    homes = range(PARTITIONS)
    found = pairs([*LOG, *(Logged(p, 0, msgspec.structs.replace(view.update, entities=["card"], fact=forged))
                           for p in homes)])  # fmt: skip
    assert dict(found.extra_by_entity) == {"card": PARTITIONS}  # in one partition nobody asked, in the other it is lost
    assert found.missing == 0


def test_what_was_not_sent_yet_is_not_missing() -> None:
    assert pairs([], sent_below=0).missing == 0


def test_traffic_has_what_these_tests_are_about() -> None:
    repeats = len(SENT) - len({each.message.message_id + each.topic for each in SENT})
    assert repeats > 3
    assert any(_late(before, after) for before, after in pairwise(SENT))


def _late(before: Sent, after: Sent) -> bool:
    return after.message.occurred_at < before.message.occurred_at
