"""What the price API and the learner believe of listings, seats and competitors, whatever clocks and partitions say."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from types import SimpleNamespace
from typing import cast

import pytest

from ibook.codec import encode
from ibook.edges.kafka import Record
from ibook.edges.price_snapshots import Snapshots
from ibook.messages import InventoryChanged
from streams.app import Event
from streams.rewards_to_policies import _sort
from tests.unit.test_price_controls import LISTING

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def told(remaining: int, said_at: datetime, partition: int = 0, stamped: datetime = NOW) -> Record:
    """A message on seats, which the broker stamped with its own time."""
    seats = InventoryChanged(
        message_id="i", occurred_at=said_at, event_id="gala", capacity=100, remaining=remaining
    )  # fmt: skip
    return Record(
        topic="event-inventory", partition=partition, offset=0, timestamp_ms=round(stamped.timestamp() * 1000),
        key=b"gala", value=encode(seats), headers=(),
    )  # fmt: skip


def seats_left(*records: Record) -> int | None:
    snapshots = Snapshots()
    snapshots.take(records)
    return snapshots.seats_left("gala")


def test_the_last_message_of_a_partition_counts_also_when_its_clock_is_behind() -> None:
    ahead, behind = told(100, NOW + timedelta(minutes=4)), told(37, NOW)
    assert seats_left(ahead, behind) == 37
    assert seats_left(behind) == 37, "which is what compaction leaves to a process that starts later"


def test_of_the_last_messages_of_two_partitions_the_newest_counts_in_whatever_order_they_are_read() -> None:
    here = [told(90, NOW - timedelta(minutes=1)), told(80, NOW - timedelta(minutes=3))]
    there = told(85, NOW - timedelta(minutes=2), partition=1)
    orders = [each for each in permutations([*here, there]) if each.index(here[0]) < each.index(here[1])]
    assert {seats_left(*each) for each in orders} == {85}


def test_what_claims_to_be_of_the_future_is_left_out() -> None:
    """Or a clock that is a year ahead would have the last word for a year."""
    absurd = told(100, NOW + timedelta(days=365))
    assert seats_left(absurd) is None
    assert seats_left(told(37, NOW), absurd) == 37


def test_what_was_taken_back_is_forgotten_whole() -> None:
    nothing = Record(
        topic="event-inventory", partition=0, offset=0, timestamp_ms=0, key=b"gala", value=None, headers=()
    )  # fmt: skip
    assert seats_left(told(37, NOW), nothing) is None
    assert seats_left(told(37, NOW), nothing, told(12, NOW - timedelta(minutes=1))) == 12


@pytest.mark.parametrize(("ahead", "reasons"), [(timedelta(minutes=4), []), (timedelta(hours=2), ["future"])])
def test_a_listing_of_the_future_is_a_dead_letter_of_the_learner(ahead: timedelta, reasons: list[str]) -> None:
    message = SimpleNamespace(topic="event-listings", value=encode(LISTING), timestamp=(NOW - ahead).timestamp())
    rewards, rejected = _sort([cast(Event, SimpleNamespace(message=message))])
    assert (rewards, [error.reason for _, error in rejected]) == ([], reasons)
