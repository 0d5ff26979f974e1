"""A small platform in one process: messages -> updates -> lagging states -> evidence, with faults to plant."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

import msgspec

from ibook import entities
from ibook import messages as m
from ibook.clock import to_us
from ibook.entities import EntityName, EntityUpdate, source_slot, update_of
from ibook.features import ENTITY_FEATURES, keys_of, vector_of
from ibook.fraud import Decision
from ibook.own_purchases import OwnPurchases
from ibook.partitioning import partition_of
from ibook.states import StoredState, encode_state
from ibook.verdicts import Circumstances, Scored, evidence_of
from tests.traffic import purchase

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PARTITIONS = 2
LAG = 7
"""Messages the feature workers are behind the verdict worker."""

Fold = Callable[[EntityName, StoredState, EntityUpdate], object]


class Logged(NamedTuple):
    """A record's update, as an archive gives it."""

    partition: int
    offset: int
    update: EntityUpdate


class Sent(NamedTuple):
    """A message at its place in a source topic."""

    topic: str
    partition: int
    offset: int
    message: entities.Source


def correct(entity: EntityName, stored: StoredState, update: EntityUpdate) -> object:
    """What the feature workers do."""
    return ENTITY_FEATURES[entity].layout.fold_stored(stored, update)


def traffic(seed: int = 0, count: int = 600) -> list[Sent]:
    """Purchases, views, logins and declines over forty minutes: some late, some repeated by the shop."""
    rng, offsets, sent = Random(seed), defaultdict[tuple[str, int], int](int), list[Sent]()

    def send(topic: str, partition: int, message: entities.Source) -> None:
        sent.append(Sent(topic, partition, offsets[topic, partition], message))
        offsets[topic, partition] += 1

    for i in range(count):
        now = START + timedelta(seconds=4 * i + rng.random())
        if rng.random() < 0.05:
            now -= timedelta(minutes=rng.randrange(1, 30))
        key, partition = str(rng.randrange(12)), rng.randrange(PARTITIONS)
        of = purchase(f"t{i}", now=now, key=key, event_id=f"event-{rng.randrange(2)}", promoter_id="promoter-1",
                      amount_minor=rng.randrange(500, 20_000))  # fmt: skip
        match rng.randrange(5):
            case 0:
                send("ticket-activity", partition, m.EventViewed(
                    message_id=f"v{i}", occurred_at=now, user_id=of.user_id, device_id=of.device_id, ip=of.ip,
                    event_id=of.event_id))  # fmt: skip
            case 1:
                send("payment-outcomes", partition, m.PaymentOutcome(
                    status="declined", **{f: getattr(of, f) for f in m.Order.__struct_fields__}))  # fmt: skip
            case _:
                send("ticket-purchases", int(key) % PARTITIONS, of)
                if rng.random() < 0.03:
                    send("ticket-purchases", int(key) % PARTITIONS, of)
    return sent


def update_from(sent: Sent) -> EntityUpdate:
    """The update of a message, taken by the broker as soon as it happened."""
    broker_ms = to_us(sent.message.occurred_at) // 1000
    return update_of(sent.message, source_slot(sent.topic, sent.partition), sent.offset, broker_ms)


def log_of(sent: Sequence[Sent]) -> list[Logged]:
    """`entity-updates`: three messages to a record, each partition one after the other."""
    records: dict[int, list[Logged]] = {partition: [] for partition in range(PARTITIONS)}
    for number, each in enumerate(sent):
        update = update_from(each)
        for partition, names in homes(update).items():
            homed = msgspec.structs.replace(update, entities=names)
            records[partition].append(Logged(partition, number // 3, homed))
    return [logged for partition in records.values() for logged in partition]


def homes(update: EntityUpdate) -> dict[int, list[EntityName]]:
    """The entities of an update by partition."""
    found: dict[int, list[EntityName]] = {}
    for entity in update.entities:
        found.setdefault(partition_of(f"{entity}:{update.fact.ids[entity]}", PARTITIONS), []).append(entity)
    return found


class States:
    """The online store: states folded record by record."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._stored: dict[tuple[EntityName, str], StoredState] = {}

    def take(self, number: int, sent: Sent) -> None:
        """Fold the message that was sent with this number."""
        update = update_from(sent)
        for entity in update.entities:
            key = (entity, update.fact.ids[entity])
            if key not in self._stored:
                self._stored[key] = StoredState(ENTITY_FEATURES[entity].layout.empty(), [])
            self._stored[key].state.updates_offset = number // 3
            self._fold(entity, self._stored[key], update)

    def read(self, entity: EntityName, key: str) -> bytes | None:
        """The stored state."""
        stored = self._stored.get((entity, key))
        return encode_state(stored.state) if stored else None


def served(sent: Sequence[Sent], fold: Fold = correct) -> Iterator[m.VerdictEvidence]:
    """Evidence of every purchase, decided by one worker whose online store lags."""
    own, states, answered, taken = OwnPurchases(), States(fold), set[str](), 0
    for number, each in enumerate(sent):
        while taken < number - LAG and taken // 3 < (number - LAG) // 3:  # whole records only
            for _ in range(3):
                states.take(taken, sent[taken])
                taken += 1
        bought = each.message
        if not isinstance(bought, m.PurchaseRequested) or bought.transaction_id in answered:
            continue
        answered.add(bought.transaction_id)
        keys = keys_of(bought)
        for entity, key in keys.items():
            own.refresh(entity, key, states.read(entity, key), number * 1_000_000)
        own.remember(update_of(bought, source_slot(each.topic, each.partition), each.offset, 0))
        about = Circumstances(posture="normal", staleness_seconds=0.2, decided_at=bought.occurred_at,
                              policy_version="1")  # fmt: skip
        yield evidence_of(Scored(
            purchase=bought, source=(each.topic, each.partition, each.offset),
            vector=vector_of(bought, own.compute(keys, to_us(bought.occurred_at))), score=0.5,
            model_version="1",
            decision=Decision(action="approve", score_band="low", threshold=0.9, propensity=1.0, explored=False,
                              rules=()),
            reasons=[], states=own.positions(keys, PARTITIONS)), about)  # fmt: skip
