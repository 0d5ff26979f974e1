"""A degraded way to Kafka: nothing is lost, every harm is counted, and broken copies stand for nobody's purchase."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import msgspec
import pytest

from ibook import codec
from ibook.clock import from_us, to_us
from ibook.errors import InvalidMessage
from ibook.messages import EventViewed, InventoryChanged, Message, PurchaseRequested
from ibook.topics import EVENT_INVENTORY, TICKET_ACTIVITY, TICKET_PURCHASES, Topic
from simulator.broken import damaged
from simulator.degradation import Degradation, Degraded
from simulator.engine import SECOND_US, Engine
from simulator.ids import Ids
from tests.bought import purchase

START_US = to_us(datetime(2026, 3, 1, 12, 0, tzinfo=UTC))
QUIET = Degradation(delayed=0, duplicated=0, reordered=0, late=0, malformed=0, silence_every=(1e6, 1e6))
"""Harms nothing; each test turns on what it is about."""


class Way:
    """A shop that sends a hundred messages a second through a degraded way, and what arrives when."""

    def __init__(self, how: Degradation, seed: int = 1) -> None:
        self.engine = Engine(START_US)
        self.arrived: list[tuple[float, Topic, Message]] = []
        self.raw: list[tuple[float, Topic, bytes, str]] = []
        self.sent: list[Message] = []
        self.degraded = Degraded(how, self.engine, Random(seed), Ids("damaged"), self.write, self.write_raw)

    @property
    def now(self) -> float:
        return (self.engine.now_us - START_US) / SECOND_US

    def write(self, topic: Topic, _: str, message: Message) -> None:
        self.arrived.append((self.now, topic, message))

    def write_raw(self, topic: Topic, _: str, payload: bytes, transaction_id: str) -> None:
        self.raw.append((self.now, topic, payload, transaction_id))

    def send(self, seconds: float, topic: Topic = TICKET_ACTIVITY) -> None:
        for number in range(round(seconds * 100)):
            self.engine.at(self.engine.now_us + number * 10_000, lambda: self._send(topic))
        self.engine.run_until(self.engine.now_us + int(seconds * SECOND_US))

    def _send(self, topic: Topic) -> None:
        number, at = len(self.sent), from_us(self.engine.now_us)
        message: Message
        if topic is TICKET_PURCHASES:
            ids = {"message_id": f"m-{number}", "transaction_id": f"t-{number}"}
            message = msgspec.structs.replace(purchase(1), occurred_at=at, **ids)
        elif topic is EVENT_INVENTORY:
            message = InventoryChanged(message_id=f"m-{number}", occurred_at=at, event_id="e", capacity=9, remaining=1)
        else:
            message = EventViewed(message_id=f"m-{number}", occurred_at=at, user_id="u", device_id="d",
                                  ip="192.0.2.1", event_id="e")  # fmt: skip
        self.sent.append(message)
        self.degraded.write(topic, "k", message)

    def delays(self) -> list[float]:
        """Seconds on the way of each arrival, in the order of arrival."""
        return [at - (to_us(message.occurred_at) - START_US) / SECOND_US for at, _, message in self.arrived]

    def arrivals(self) -> Counter[str]:
        return Counter(message.message_id for _, _, message in self.arrived)


def degraded(how: Degradation, seconds: float = 60.0, topic: Topic = TICKET_ACTIVITY) -> Way:
    way = Way(how)
    way.degraded.begin()
    way.send(seconds, topic)
    way.degraded.release()
    return way


@pytest.mark.parametrize("topic", [TICKET_ACTIVITY, TICKET_PURCHASES], ids=lambda topic: topic.name)
def test_whatever_happens_everything_arrives_and_what_came_twice_is_counted(topic: Topic) -> None:
    way = degraded(Degradation(), topic=topic)
    arrivals = way.arrivals()
    assert set(arrivals) == {message.message_id for message in way.sent}
    assert sum(n == 2 for n in arrivals.values()) == way.degraded.counts["duplicated"] > 100
    assert max(arrivals.values()) == 2
    assert len(way.raw) == way.degraded.counts["malformed"] > 20
    assert way.degraded.pending == 0


def test_before_it_begins_and_after_it_has_ended_messages_pass_as_they_are() -> None:
    way = Way(Degradation())
    way.send(5)
    way.degraded.begin()
    way.degraded.end()
    way.send(5)
    assert [message for _, _, message in way.arrived] == way.sent
    assert not way.degraded.counts and not way.raw and set(way.delays()) == {0.0}


def test_delayed_messages_are_as_many_as_counted_and_as_late_as_said() -> None:
    way = degraded(replace(QUIET, delayed=0.2, delay=(0.5, 1.5)))
    late = [delay for delay in way.delays() if delay > 0]
    assert len(late) == way.degraded.counts["delayed"] == pytest.approx(1200, rel=0.1)
    in_time = [delay for (at, *_), delay in zip(way.arrived, way.delays(), strict=True) if delay > 0 and at < 60]
    assert min(in_time) >= 0.5 and max(in_time) <= 1.5


def test_repeats_come_after_the_original_with_the_same_bytes() -> None:
    way = degraded(replace(QUIET, duplicated=0.1, repeat_after=(0.3, 1.0)))
    repeats = [delay for delay in way.delays() if delay > 0]
    assert len(repeats) == way.degraded.counts["duplicated"] == len(way.arrived) - len(way.sent)
    assert way.degraded.counts.total() == len(repeats)


def test_reordered_messages_are_overtaken_by_so_many_and_no_more() -> None:
    way = degraded(replace(QUIET, reordered=0.1, overtaken_by=(3, 6)))
    order = [int(message.message_id[2:]) for _, _, message in way.arrived]
    overtaken = 0
    for place, number in enumerate(order[:-10]):
        by = sum(other > number for other in order[:place])
        overtaken += by > 0
        if by:
            assert 3 <= by <= 6 + 3  # messages that are held back themselves count when they leave
    assert overtaken == pytest.approx(way.degraded.counts["reordered"], abs=10)
    assert overtaken > 300


def test_purchases_are_never_as_late_as_activity() -> None:
    how = replace(QUIET, late=0.1)
    assert degraded(how).degraded.counts["late"] > 300
    assert not degraded(how, topic=TICKET_PURCHASES).degraded.counts


def test_after_a_silence_everything_comes_at_once_and_in_order() -> None:
    way = degraded(replace(QUIET, silence=(1.0, 1.0), silence_every=(4.0, 4.0)))
    assert [message for _, _, message in way.arrived] == way.sent
    bursts = {at: n for at, n in Counter(round(at, 3) for at, *_ in way.arrived).items() if n > 50}
    assert list(bursts) == pytest.approx([5 * n - 2 for n in range(1, 13)])
    assert way.degraded.counts["silences"] == 12
    waited = sum(delay > 0 for delay in way.delays())
    assert waited <= way.degraded.counts["held_back"] <= waited + 12  # one a silence is held for no time at all
    assert waited == pytest.approx(1200, abs=24)


def test_compacted_topics_are_spared_for_their_last_message_stands_for_ever() -> None:
    way = degraded(Degradation(), topic=EVENT_INVENTORY)
    assert [message for _, _, message in way.arrived] == way.sent
    assert not way.raw


def test_nothing_broken_can_be_read_and_nothing_broken_names_a_real_purchase() -> None:
    way = degraded(replace(QUIET, malformed=0.3), topic=TICKET_PURCHASES)
    real = {message.transaction_id.encode() for message in way.sent if isinstance(message, PurchaseRequested)}
    for _, topic, payload, transaction_id in way.raw:
        with pytest.raises(InvalidMessage):
            codec.decode(payload, topic.message)
        assert b'"transaction_id":"t-' not in payload
        assert transaction_id.encode() not in real
    named = {transaction_id for *_, transaction_id in way.raw if transaction_id}
    assert named == way.degraded.identifiable
    assert len(named) == pytest.approx(len(way.raw) / 2, rel=0.15)


def test_activity_that_is_broken_has_no_transaction_to_answer() -> None:
    way = degraded(replace(QUIET, malformed=0.3))
    assert way.raw and not any(transaction_id for *_, transaction_id in way.raw)


def test_the_same_seed_does_the_same_harm() -> None:
    ways = [degraded(Degradation(), seconds=20) for _ in range(2)]
    assert ways[0].arrived == ways[1].arrived and ways[0].raw == ways[1].raw
    assert ways[0].degraded.counts == ways[1].degraded.counts


@pytest.mark.parametrize("topic", [TICKET_PURCHASES, TICKET_ACTIVITY], ids=lambda topic: topic.name)
def test_every_way_to_damage_makes_a_message_unreadable(topic: Topic) -> None:
    way = Way(QUIET)
    way.send(0.01, topic)
    (message,) = way.sent
    seen = {damaged(message, Random(seed), "other", "another") for seed in range(60)}
    assert len(seen) == 7
    for payload in seen:
        with pytest.raises(InvalidMessage):
            codec.decode(payload, topic.message)
        assert b'"m-0"' not in payload and b'"t-0"' not in payload
