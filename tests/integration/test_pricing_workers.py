"""Offers and settlements in, prices that learn out: serving and the three pricing workers on a real Kafka."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace

from ibook.codec import decode, encode, unpack_state
from ibook.edges.kafka import BroadcastReader, Outgoing, Record, producer, publish
from ibook.messages import (
    CurveMoments,
    DeadLetter,
    EventListed,
    FraudVerdict,
    PaymentOutcome,
    PricePolicy,
    PricePrior,
    PriceReward,
    TicketType,
)
from ibook.pricing_priors import key_of
from ibook.rewards import EventSums
from ibook.settings import Settings
from ibook.topics import (
    DEAD_LETTERS,
    EVENT_LISTINGS,
    FRAUD_VERDICTS,
    PAYMENT_OUTCOMES,
    PRICE_POLICIES,
    PRICE_PRIORS,
    PRICE_REWARDS,
    QUOTE_JOURNAL,
    changelog,
)
from infra.local.processes import Child, start, wait_until
from infra.local.state import environment
from serving.app import create_app
from streams.journal_to_rewards import NAME as REWARDS
from streams.outcomes_to_journal import NAME as OUTCOMES
from streams.rewards_to_policies import NAME as POLICIES
from streams.rewards_to_policies import TABLE

pytestmark = pytest.mark.slow

STALLS = TicketType(name="stalls", list_price_minor=5000, floor_minor=4000, cap_minor=6000)
LOOP = ("settled", "refunded")
Totals = Counter[tuple[str, str, int]]
"""(event, `offers` or `sales`, price) -> how many."""


def listing(event_id: str) -> EventListed:
    now = datetime.now(UTC)
    return EventListed(
        message_id=f"l-{event_id}", occurred_at=now, event_id=event_id, name="Gala", category="concerts",
        promoter_id="p", venue="v", capacity=100, on_sale_at=now, starts_at=now + timedelta(days=30), currency="GBP",
        ticket_types=[STALLS],
    )  # fmt: skip


@dataclass
class Workers:
    """The pricing workers as processes; each can be killed and started again."""

    settings: Settings
    folder: Path
    running: dict[str, Child] = field(default_factory=dict)

    def start(self, *names: str) -> None:
        for name in names:
            log = self.folder / f"{name}.log"
            argv = [sys.executable, "-m", "streams", name]
            self.running[name] = start(name, argv, log=log, env=environment(self.settings))

    def kill(self, name: str) -> None:
        self.running.pop(name).kill()

    def stop(self) -> None:
        for child in self.running.values():
            child.terminate()
        for child in self.running.values():
            child.stop()

    def logs(self) -> str:
        return "\n".join(f"{name}: {line}" for name, child in self.running.items() for line in child.lines()[-20:])


class Topic:
    """Everything in a topic, read on as it grows."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._reader = BroadcastReader(settings, name)
        self.records: list[Record] = self._reader.load()

    def read(self) -> list[Record]:
        self.records += self._reader.poll_new(0.2)
        return self.records

    def close(self) -> None:
        self._reader.close()


class Shop:
    """Quotes over HTTP, outcomes and verdicts to Kafka, and what the sums must be in the end."""

    def __init__(self, settings: Settings, client: TestClient) -> None:
        self.settings = settings
        self.client = client
        self.producer = producer(settings)
        self.random = Random(7)
        self.expected: Totals = Counter()
        self.transactions = 0
        self._expires_at: dict[str, datetime] = {}

    def offer(self, event_id: str) -> tuple[str, int]:
        """An offer that counts, to somebody new."""
        quote_id, price = self.ask(event_id, f"u{self.transactions}")
        self.expected[event_id, "offers", price] += 1
        return quote_id, price

    def ask(self, event_id: str, buyer: str) -> tuple[str, int]:
        question = {"event_id": event_id, "ticket_type": "stalls", "buyer": buyer}
        answer = self.client.post("/v1/quotes", json=question)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        self._expires_at[body["quote_id"]] = datetime.fromisoformat(body["expires_at"])
        return body["quote_id"], body["price_minor"]

    def in_time(self, quote_id: str) -> datetime:
        """Now, or the last moment of the quote: on a busy machine nobody is too late to buy."""
        now = datetime.now(UTC)
        return min(now, self._expires_at.get(quote_id, now) - timedelta(milliseconds=1))

    def bots(self, event_id: str) -> None:
        """One that asks all the time, and one that buys and returns; either counts for what the caps allow."""
        asked = [self.ask(event_id, "bot")[1] for _ in range(10 * self.settings.cap_offers)]
        for price in asked[: self.settings.cap_offers]:
            self.expected[event_id, "offers", price] += 1
        for n in range(self.settings.cap_refunds + 2):
            quote_id, price = self.ask(event_id, f"looper {n}")
            self.transactions += 1
            messages = [self.outcome(status, event_id, quote_id, price, payer="loop") for status in LOOP]
            publish(self.producer, messages)

    def visit(self, event_id: str, sale_share: Callable[[int], float]) -> list[Outgoing]:
        """A buyer sees a price; what follows are messages that may come twice."""
        self.transactions += 1
        quote_id, price = self.offer(event_id)
        if self.random.random() > sale_share(price):
            return []
        self.expected[event_id, "sales", price] += 1
        bought = [self.outcome("settled", event_id, quote_id, price)]
        fate = self.random.random()
        if fate < 0.1:
            bought.append(self.outcome("refunded", event_id, quote_id, price))
            self.take_out(event_id, price)
        elif fate < 0.2:
            bought = [self.verdict("decline", event_id, quote_id)]
            self.take_out(event_id, price)
        elif fate < 0.3:
            bought.append(self.verdict("approve", event_id, quote_id))
        return bought * self.random.choice((1, 1, 2))

    def take_out(self, event_id: str, price: int) -> None:
        self.expected[event_id, "offers", price] -= 1
        self.expected[event_id, "sales", price] -= 1

    def outcome(self, status: str, event_id: str, quote_id: str, price: int, payer: str = "") -> Outgoing:
        transaction = f"t{self.transactions}"
        payer = payer or f"{self.transactions}"
        message = PaymentOutcome(
            message_id=f"{transaction}-{status}", occurred_at=self.in_time(quote_id), transaction_id=transaction,
            user_id=f"u{payer}", card_id=f"c{payer}", device_id=f"d{payer}", ip="192.0.2.1", event_id=event_id,
            amount_minor=price,
            currency="GBP", n_tickets=1, quote_id=quote_id, status=status,  # type: ignore[arg-type]
        )  # fmt: skip
        return Outgoing(topic=PAYMENT_OUTCOMES.name, key=transaction.encode(), value=encode(message))

    def verdict(self, action: str, event_id: str, quote_id: str) -> Outgoing:
        transaction = f"t{self.transactions}"
        message = FraudVerdict(
            message_id=f"{transaction}-verdict", occurred_at=self.in_time(quote_id), transaction_id=transaction,
            action=action, score_band="low", posture="normal", model_version="none", quote_id=quote_id,  # type: ignore[arg-type]
            event_id=event_id,
        )  # fmt: skip
        return Outgoing(topic=FRAUD_VERDICTS.name, key=transaction.encode(), value=encode(message))

    def trade(self, event_id: str, visits: int, sale_share: Callable[[int], float]) -> None:
        publish(self.producer, [one for _ in range(visits) for one in self.visit(event_id, sale_share)])


def folded(rewards: list[Record]) -> Totals:
    """The rewards topic added up, each (partition, sequence) once."""
    seen: set[tuple[int, int]] = set()
    totals: Totals = Counter()
    for record in rewards:
        reward: PriceReward = decode(record.value, PriceReward)
        if (reward.source_partition, reward.sequence) not in seen:
            seen.add((reward.source_partition, reward.sequence))
            totals[reward.event_id, "offers", reward.price_minor] += reward.offers
            totals[reward.event_id, "sales", reward.price_minor] += reward.sales
    return totals


def stored(states: list[Record]) -> Totals:
    """The learner's changelog: what its sums are."""
    newest = {record.key: record.value for record in states}
    totals: Totals = Counter()
    for key, value in newest.items():
        sums: EventSums = unpack_state(value or b"", EventSums)
        for price, tiles in sums.prices.get("stalls", {}).items():
            for offers, sales in tiles.values():
                totals[(key or b"").decode(), "offers", price] += offers
                totals[(key or b"").decode(), "sales", price] += sales
    return totals


@pytest.fixture
def pricing(platform_settings: Settings, tmp_path: Path) -> Iterator[tuple[Workers, Shop]]:
    settings = platform_settings.model_copy(
        update={
            "slot_seconds": 1.0, "quote_ttl_seconds": 2.0, "quote_grace_seconds": 2.0, "policy_seconds": 0.5,
            "session_timeout_seconds": 28.0,  # who stands still for half of it leaves, and nobody starts it again here
        }
    )  # fmt: skip
    for event_id in ("gala", "match"):
        message = Outgoing(topic=EVENT_LISTINGS.name, key=event_id.encode(), value=encode(listing(event_id)))
        publish(producer(settings), [message])
    workers = Workers(settings, tmp_path / "logs")
    workers.start(OUTCOMES, REWARDS, POLICIES)
    try:
        with TestClient(create_app(settings)) as client:
            until(lambda: client.get("/readyz").json()["policies"] == 2, "policies for both events", workers)
            yield workers, Shop(settings, client)
    finally:
        workers.stop()


def until(condition: Callable[[], bool], what: str, workers: Workers, seconds: float = 150.0) -> None:
    assert wait_until(condition, timeout_seconds=seconds), f"no {what}\n{workers.logs()}"


def plain(totals: Totals) -> dict[tuple[str, str, int], int]:
    return {key: count for key, count in totals.items() if count}


def test_prices_learn_and_nothing_is_lost_or_doubled_when_workers_are_killed(
    pricing: tuple[Workers, Shop],
) -> None:
    workers, shop = pricing
    rewards = Topic(shop.settings, PRICE_REWARDS.name)
    sums = Topic(shop.settings, changelog(POLICIES, TABLE).name)
    policies = Topic(shop.settings, PRICE_POLICIES.name)

    def dearest_is_best(price: int) -> float:
        return 0.6 if price == STALLS.cap_minor else 0.2

    def probability_of_the_dearest() -> float:
        made = [decode(record.value, PricePolicy) for record in policies.read() if record.key == b"gala"]
        return float(made[-1].upcoming[0].probabilities[-1])

    assert probability_of_the_dearest() < 0.5

    shop.trade("gala", 150, dearest_is_best)
    shop.trade("match", 50, dearest_is_best)
    shop.bots("match")
    until(lambda: bool(folded(rewards.read())), "rewards", workers)
    workers.kill(REWARDS)
    shop.trade("gala", 150, dearest_is_best)
    workers.start(REWARDS)
    shop.trade("gala", 50, dearest_is_best)
    workers.kill(POLICIES)
    shop.trade("match", 50, dearest_is_best)
    n_before = len(rewards.read())
    until(lambda: len(rewards.read()) > n_before, "rewards after the restart", workers)
    workers.kill(REWARDS)
    workers.start(REWARDS, POLICIES)

    def trade_until_it_is_preferred() -> bool:
        shop.trade("gala", 5, dearest_is_best)
        return probability_of_the_dearest() > 0.7

    until(trade_until_it_is_preferred, "policy that prefers what earns most", workers)
    expected = plain(shop.expected)
    until(lambda: plain(folded(rewards.read())) == expected, "rewards for everything that was sold", workers)
    until(lambda: plain(stored(sums.read())) == expected, "sums equal to the rewards", workers)
    versions = [decode(record.value, PricePolicy).version for record in policies.read() if record.key == b"gala"]
    assert versions == sorted(set(versions))
    for topic in (rewards, sums, policies):
        topic.close()


def test_forged_quotes_and_unreadable_messages_are_dead_lettered_and_teach_nothing(
    pricing: tuple[Workers, Shop],
) -> None:
    workers, shop = pricing
    letters = Topic(shop.settings, DEAD_LETTERS.name)
    journal = Topic(shop.settings, QUOTE_JOURNAL.name)
    rewards = Topic(shop.settings, PRICE_REWARDS.name)
    quote_id, price = shop.offer("gala")
    forged = ("A" if quote_id[40] != "A" else "B").join((quote_id[:40], quote_id[41:]))
    publish(shop.producer, [
        shop.outcome("settled", "gala", forged, price),
        shop.outcome("settled", "match", quote_id, price),
        Outgoing(topic=EVENT_LISTINGS.name, key=b"x", value=b'{"type": "event_listed.v1"}'),
        Outgoing(topic=QUOTE_JOURNAL.name, key=b"x", value=b"not json"),
        Outgoing(topic=PRICE_REWARDS.name, key=b"x", value=b"\xff\xfe"),
        shop.outcome("settled", "gala", quote_id, price),
    ])  # fmt: skip
    shop.expected["gala", "sales", price] += 1

    def reasons() -> set[tuple[str, str]]:
        found: list[DeadLetter] = [decode(record.value, DeadLetter) for record in letters.read()]
        return {(letter.topic, letter.reason) for letter in found}

    until(lambda: len(reasons()) >= 5, "five dead letters", workers)
    assert reasons() == {
        (PAYMENT_OUTCOMES.name, "forged"), (PAYMENT_OUTCOMES.name, "other_event"), (EVENT_LISTINGS.name, "invalid"),
        (QUOTE_JOURNAL.name, "malformed"), (PRICE_REWARDS.name, "malformed"),
    }  # fmt: skip

    def sold() -> bool:
        return folded([r for r in rewards.read() if r.value != b"\xff\xfe"])["gala", "sales", price] == 1

    until(sold, "the one honest sale", workers)

    def kinds() -> Counter[str]:
        return Counter(json.loads(r.value)["type"] for r in journal.read() if r.value and r.value != b"not json")

    until(lambda: kinds()["quote_sold.v1"] > 0, "the sale in the journal", workers)
    found = kinds()
    assert (found["quote_issued.v1"], found["quote_sold.v1"]) == (1, 1)
    for topic in (letters, journal, rewards):
        topic.close()


def test_an_event_for_which_no_price_can_be_decided_keeps_no_other_waiting(pricing: tuple[Workers, Shop]) -> None:
    """Experience so absurd that no curve comes of it meets the events of one promoter."""
    workers, shop = pricing
    policies = Topic(shop.settings, PRICE_POLICIES.name)
    now = datetime.now(UTC)
    absurd = PricePrior(
        message_id="absurd", occurred_at=now, scope="promoter", name="cursed", partition=99,
        moments=CurveMoments(curves=3, sums=(1e200,) * 3, squares=(1e308,) * 9),
    )  # fmt: skip
    publish(shop.producer, [Outgoing(topic=PRICE_PRIORS.name, key=key_of(absurd).encode(), value=encode(absurd))])
    cursed, later = replace(listing("cursed"), promoter_id="cursed"), listing("later")

    def is_refused() -> bool:
        again = replace(cursed, message_id=f"l-{datetime.now(UTC)}")  # the prior is read by another thread, when it may
        publish(shop.producer, [Outgoing(topic=EVENT_LISTINGS.name, key=b"cursed", value=encode(again))])
        return any("no price can be decided" in line for line in workers.running[POLICIES].lines())

    until(is_refused, "word of the event without prices", workers)
    over = replace(listing("over"), promoter_id="over", starts_at=now)
    for event in (over, later):
        publish(shop.producer, [Outgoing(topic=EVENT_LISTINGS.name, key=event.event_id.encode(), value=encode(event))])
    priced: set[bytes | None] = set()

    def later_has_prices() -> bool:
        priced.update(record.key for record in policies.read())
        return b"later" in priced

    until(later_has_prices, "policy of a later event", workers)
    assert workers.running[POLICIES].alive
    assert b"over" not in priced, "it is priced no more"
    policies.close()
