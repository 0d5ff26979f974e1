"""The limit: a plain confluent-kafka loop around the same core, which promises nothing.

It reads, decides and publishes what our worker does: the same reads of the online store, the same folds, vectors,
score, rules, reasons, evidence and verdict. What it leaves out is what makes our worker safe to lose: nothing is waited
for, evidence need not arrive before its verdict, nothing is remembered of what was answered, and a partition that comes
or goes is nobody's concern. It also tells where its time goes.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, Message, Producer

from bench.stages import Stages
from ibook.clock import SystemClock, to_us
from ibook.codec import decode, encode
from ibook.edges.champion import Champion
from ibook.edges.feature_reader import Reading, reading_of
from ibook.edges.fraud_model import FraudModel
from ibook.edges.kafka import producer
from ibook.edges.online_store import OnlineStore
from ibook.edges.policy_in_force import PolicyInForce
from ibook.edges.scoring import Asked, Batch, Scorer
from ibook.entities import ENTITIES, EntityName
from ibook.messages import PurchaseRequested
from ibook.own_purchases import OwnPurchases
from ibook.settings import Settings
from ibook.topics import FRAUD_EVIDENCE, FRAUD_VERDICTS, TICKET_PURCHASES
from ibook.verdicts import evidence_of, verdict_of
from streams.app import mark_ready

BATCH_LIMIT = 128
WAIT_SECONDS = 0.01
STAGES_FILE = "raw-loop-stages.json"
TELL_SECONDS = 5.0


class RawLoop:
    """Decides purchases for ever, in one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._store = OnlineStore(settings)
        champion = Champion.follow(settings, "raw-loop")
        self._scorer = Scorer(settings, champion, PolicyInForce(), self._clock)
        self._own = OwnPurchases()
        self._stages = Stages()
        self._decided = 0
        champion.wait(60)
        self._store.read({}, settings.partitions)  # the first connection, before anybody counts

    def run(self) -> None:
        """Read, decide, publish; ends with the process."""
        self._watch_core()
        consumer = Consumer(
            {
                "bootstrap.servers": self._settings.kafka_bootstrap,
                "group.id": "raw-loop",
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": int(WAIT_SECONDS * 1000),
            }
        )
        consumer.subscribe([TICKET_PURCHASES.name], on_assign=lambda *_: mark_ready())
        client = producer(self._settings, {"linger.ms": 2, "queue.buffering.max.messages": 1_000_000})
        told = 0
        while True:
            messages = [each for each in consumer.consume(BATCH_LIMIT, WAIT_SECONDS) if each.error() is None]
            if messages:
                self._handle(messages, client)
            elif told < self._decided:  # at rest
                told = self._tell()

    def _watch_core(self) -> None:
        self._stages.watch(OwnPurchases, "remember", "fold")
        self._stages.watch(OwnPurchases, "refresh", "fold")
        self._stages.watch(Scorer, "vectors", "vector")
        self._stages.watch(FraudModel, "score", "score")
        self._stages.watch(FraudModel, "contributions", "reasons")

    def _handle(self, messages: Sequence[Message], client: Producer) -> None:
        stage = self._stages.stage
        with stage("decode"):
            asked = [_asked(message) for message in messages]
        with stage("read"):
            reading = self._read(asked)
        with stage("decide"):
            batch = self._scorer.decide(asked, reading, self._own)
        with stage("encode"):
            encoded = _encoded(batch)
        with stage("publish"):
            _publish(client, encoded)
        self._decided += len(messages)

    def _read(self, asked: Sequence[Asked]) -> Reading:
        now_us = to_us(self._clock.now())
        keys: dict[EntityName, dict[str, None]] = {entity: {} for entity in ENTITIES}
        for one in asked:
            for entity, key in one.keys.items():
                if self._own.is_due(entity, key, now_us):
                    keys[entity][key] = None
        reading = reading_of(self._store, {entity: list(found) for entity, found in keys.items()},
                             self._settings.partitions)  # fmt: skip
        for entity, found in keys.items():
            for key, base in zip(found, reading.states[entity], strict=True):
                self._own.refresh(entity, key, base, now_us)
        return reading

    def _tell(self) -> int:
        """Leave the figures where the bench finds them; how many purchases they are of."""
        figures = {"purchases": self._decided, "us": self._stages.microseconds(self._decided)}
        unfinished = self._settings.data_dir / f"{STAGES_FILE}.new"
        unfinished.write_text(json.dumps(figures))
        unfinished.replace(self._settings.data_dir / STAGES_FILE)
        return self._decided


def _asked(message: Message) -> Asked:
    purchase: PurchaseRequested = decode(message.value(), PurchaseRequested)
    return Asked.of(purchase, (str(message.topic()), message.partition() or 0, message.offset() or 0))


def _encoded(batch: Batch) -> list[tuple[int, bytes, bytes, bytes]]:
    """Partition, transaction, evidence and verdict of each."""
    return [
        (
            scored.source[1],
            scored.purchase.transaction_id.encode(),
            encode(evidence_of(scored, batch.about)),
            encode(verdict_of(scored, batch.about)),
        )
        for scored in batch.scored
    ]


def _publish(client: Producer, encoded: Sequence[tuple[int, bytes, bytes, bytes]]) -> None:
    for partition, key, evidence, verdict in encoded:
        client.produce(FRAUD_EVIDENCE.name, evidence, key, partition=partition)
        client.produce(FRAUD_VERDICTS.name, verdict, key, partition=partition)
    client.poll(0)


def stages_told(settings: Settings, count: int) -> dict[str, float]:
    """Microseconds per purchase and stage, once the loop has told of `count` purchases or more.

    It tells when it comes to rest, a moment after its last verdict could be read. What it told last is taken then.
    """
    told: dict[str, Any] = {}
    deadline = time.monotonic() + TELL_SECONDS
    while told.get("purchases", 0) < count and time.monotonic() < deadline:
        time.sleep(0.1)
        told = json.loads((settings.data_dir / STAGES_FILE).read_text())
    us: dict[str, float] = told["us"]
    return us
