"""The two feature agents, stepped through with a crash between any two steps: nothing is lost, nothing counts twice.

What they decide is theirs (`updates_by_partition`, `Folding`, `Unpushed`); logs, changelog, local table and online
store are dicts here, with the guarantees of the real ones: a write may be cut off anywhere, the store drops older rows.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ibook.codec import encode
from ibook.entities import EntityUpdates, pack, source_slot, unpack, update_of
from ibook.failing import OwnFailures
from ibook.features import ENTITY_FEATURES
from ibook.messages import PaymentOutcome, PurchaseRequested
from ibook.states import StoredState, WindowState, decode_state, decode_stored, state_in
from streams.activity_to_entities import updates_by_partition
from streams.folding import Folding, StateCache
from streams.push import EntityKey, Row, Unpushed
from tests.facts import known
from tests.traffic import purchase

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PARTITIONS = 2
SOURCES = (("ticket-purchases", 0), ("ticket-purchases", 1), ("payment-outcomes", 0))


class Crashed(Exception):
    """A process has just ended."""


@dataclass
class Fuse:
    """Lets so many writes happen, then ends the process."""

    writes_left: int

    def burn(self) -> None:
        if self.writes_left == 0:
            raise Crashed
        self.writes_left -= 1


NEVER = 10**9


@dataclass
class Sender:
    """`activity_to_entities`: source log -> entity updates."""

    source: dict[tuple[str, int], list[bytes]]
    log: dict[int, list[bytes]]
    committed: dict[tuple[str, int], int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))

    def step(self, source: tuple[str, int], count: int, fuse: Fuse) -> None:
        begin = self.committed[source]
        values = list(enumerate(self.source[source][begin : begin + count], start=begin))
        groups, rejected = updates_by_partition(
            [_event(source, *value) for value in values], PARTITIONS, OwnFailures(2)
        )
        assert not rejected
        for partition, updates in groups.items():
            fuse.burn()
            self.log[partition].append(pack(EntityUpdates(updates, [])))
        fuse.burn()
        self.committed[source] = begin + len(values)


@dataclass
class Worker:
    """`entities_to_features`: entity updates -> changelog, table -> online store."""

    log: dict[int, list[bytes]]
    changelog: dict[int, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    table: dict[int, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    store: dict[EntityKey, Row] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    read: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    unpushed: Unpushed = field(default_factory=Unpushed)
    cache: StateCache = field(default_factory=lambda: StateCache(20_000))

    def fold(self, partition: int, count: int, fuse: Fuse) -> None:
        begin = self.read[partition]
        records = list(enumerate(self.log[partition][begin : begin + count], start=begin))
        folding = Folding(self.cache, self.table[partition].get)
        for offset, record in records:
            folding.fold(offset, unpack(record).updates)
        stored, rows = folding.encode()
        for key, value in stored.items():  # the broker may have some of a batch when the process ends
            fuse.burn()
            self.changelog[partition][key] = value
        fuse.burn()
        self.table[partition].update(stored)
        self.read[partition] = begin + len(records)
        self.unpushed.rows.update(rows)
        self.unpushed.events.extend(_place(partition, offset) for offset, _ in records)

    def push(self, fuse: Fuse, *, reachable: bool) -> None:
        taken, self.unpushed = self.unpushed, Unpushed()
        if not reachable:
            self.unpushed.put_back(taken)
            return
        for key, row in taken.rows.items():
            fuse.burn()
            self.write(key, row)
        for event in taken.events:
            fuse.burn()
            self.committed[event.message.partition] = event.message.offset + 1

    def write(self, key: EntityKey, row: Row) -> None:
        """The online store drops what is not newer."""
        if key not in self.store or row.stamp_us > self.store[key].stamp_us:
            self.store[key] = row

    def restart(self, *, wiped: bool) -> None:
        """A new process: what was in memory is gone, the table is made whole from the changelog."""
        self.unpushed, self.read = Unpushed(), dict(self.committed)
        self.cache.clear()
        if wiped:
            self.table.clear()
        for partition, rows in self.changelog.items():
            self.table[partition].update(rows)

    def push_all_again(self) -> None:
        """The online store was emptied: every state of the table is written anew."""
        self.store.clear()
        for rows in self.table.values():
            for key, value in rows.items():
                payload, head = state_in(value)
                self.write(_key(key), Row(payload, head.stamp_us, 0))


def _event(source: tuple[str, int], offset: int, value: bytes) -> Any:
    topic, partition = source
    message = SimpleNamespace(
        topic=topic, partition=partition, offset=offset, value=value, timestamp=(NOW + timedelta(days=1)).timestamp()
    )
    return SimpleNamespace(message=message)


def _place(partition: int, offset: int) -> Any:
    return SimpleNamespace(message=SimpleNamespace(partition=partition, offset=offset))


def _key(table_key: bytes) -> EntityKey:
    entity, _, key = table_key.decode().partition(":")
    return next(name for name in ENTITY_FEATURES if name == entity), key


FUSES = st.one_of(st.just(NEVER), st.integers(0, 3), st.integers(4, 12))


class FeatureAgents(RuleBasedStateMachine):
    """Traffic, steps of both agents, and what may go wrong, in any order."""

    @initialize()
    def start(self) -> None:
        self.source: dict[tuple[str, int], list[bytes]] = {source: [] for source in SOURCES}
        log: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
        self.sender, self.worker = Sender(self.source, log), Worker(log)
        self.messages: dict[tuple[str, int], list[PurchaseRequested | PaymentOutcome]] = {s: [] for s in SOURCES}
        self.count = 0

    # ---------------------------------------------------------------------------------------------------- the shop
    def publish(self, source: tuple[str, int], message: PurchaseRequested | PaymentOutcome) -> None:
        self.messages[source].append(message)
        self.source[source].append(encode(message))

    @rule(partition=st.integers(0, 1), buyer=st.sampled_from("12"), ago_s=st.integers(0, 3 * 86400))
    def buy(self, partition: int, buyer: str, ago_s: int) -> None:
        self.count += 1
        now = NOW - timedelta(seconds=ago_s)
        self.publish(("ticket-purchases", partition), purchase(f"t{self.count}", now=now, key=buyer))

    @rule(buyer=st.sampled_from("12"), ago_s=st.integers(0, 4000))
    def decline(self, buyer: str, ago_s: int) -> None:
        self.count += 1
        bought = purchase(f"t{self.count}", now=NOW - timedelta(seconds=ago_s), key=buyer)
        ids = {name: getattr(bought, name) for name in PaymentOutcome.__struct_fields__ if hasattr(bought, name)}
        self.publish(("payment-outcomes", 0), PaymentOutcome(**ids, status="declined"))

    @precondition(lambda self: any(self.messages.values()))
    @rule(data=st.data())
    def publish_again(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from([source for source in SOURCES if self.messages[source]]))
        self.publish(source, data.draw(st.sampled_from(self.messages[source][-3:])))

    # -------------------------------------------------------------------------------------------------- the agents
    @rule(source=st.sampled_from(SOURCES), count=st.integers(1, 5), writes=FUSES)
    def send(self, source: tuple[str, int], count: int, writes: int) -> None:
        try:
            self.sender.step(source, count, Fuse(writes))
        except Crashed:
            return  # it begins again at what is committed

    @rule(partition=st.integers(0, PARTITIONS - 1), count=st.integers(1, 4), writes=FUSES, wiped=st.booleans())
    def fold(self, partition: int, count: int, writes: int, wiped: bool) -> None:
        try:
            self.worker.fold(partition, count, Fuse(writes))
        except Crashed:
            self.worker.restart(wiped=wiped)

    @rule(writes=FUSES, wiped=st.booleans(), reachable=st.booleans())
    def push(self, writes: int, wiped: bool, reachable: bool) -> None:
        try:
            self.worker.push(Fuse(writes), reachable=reachable)
        except Crashed:
            self.worker.restart(wiped=wiped)

    @rule(wiped=st.booleans())
    def crash(self, wiped: bool) -> None:
        self.worker.restart(wiped=wiped)

    @rule()
    def flush_the_store(self) -> None:
        self.worker.push_all_again()

    # ------------------------------------------------------------------------------------------------- in the end
    @rule()
    def come_to_rest(self) -> None:
        """All is sent, folded and pushed: table, changelog and store are the fold of the source log."""
        calm = Fuse(NEVER)
        for source in SOURCES:
            self.sender.step(source, len(self.source[source]), calm)
        for partition, records in self.sender.log.items():
            self.worker.fold(partition, len(records), calm)
        self.worker.push(calm, reachable=True)
        assert {p: dict(rows) for p, rows in self.worker.table.items() if rows} == {
            p: dict(rows) for p, rows in self.worker.changelog.items() if rows
        }
        assert self.worker.committed == {p: len(records) for p, records in self.sender.log.items()}
        table = {
            _key(key): decode_stored(value).state for rows in self.worker.table.values() for key, value in rows.items()
        }
        pushed = {key: decode_state(row.payload) for key, row in self.worker.store.items()}
        assert pushed == table
        assert _said(table) == _said(pushed) == _said(self.oracle())

    def oracle(self) -> dict[EntityKey, WindowState]:
        """Every message of the source log folded once, straight into its entities."""
        states: dict[EntityKey, StoredState] = {}
        for (topic, partition), messages in self.messages.items():
            for offset, message in enumerate(messages):
                update = update_of(message, source_slot(topic, partition), offset, 0)
                for entity in update.entities:
                    layout = ENTITY_FEATURES[entity].layout
                    stored = states.setdefault((entity, update.fact.ids[entity]), StoredState(layout.empty(), []))
                    layout.fold_stored(stored, update)
        return {key: stored.state for key, stored in states.items()}

    def teardown(self) -> None:
        if hasattr(self, "worker"):
            self.come_to_rest()


def _said(states: dict[EntityKey, WindowState]) -> dict[EntityKey, object]:
    """What states know, and of which positions; stamps depend on how the sources were interleaved."""
    return {key: (known(state), sorted(state.positions.items())) for key, state in states.items()}


TestFeatureAgents = FeatureAgents.TestCase
TestFeatureAgents.settings = settings(max_examples=250, stateful_step_count=30, deadline=None)


def test_what_is_sent_again_changes_no_byte_of_a_state_that_was_pushed() -> None:
    agents = FeatureAgents()
    agents.start()
    agents.buy(partition=0, buyer="1", ago_s=0)
    for writes in (2, NEVER):  # the first time the sender ends before it has committed what it sent
        agents.send(("ticket-purchases", 0), count=1, writes=writes)
        for partition in range(PARTITIONS):
            agents.fold(partition, count=4, writes=NEVER, wiped=False)
        agents.push(writes=NEVER, wiped=False, reachable=True)
    assert [len(records) for records in agents.sender.log.values()] == [2, 2]
    agents.come_to_rest()
