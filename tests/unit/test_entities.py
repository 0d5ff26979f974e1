"""What a message says of whom."""

from datetime import UTC, datetime, timedelta

import pytest

from ibook import messages as m
from ibook.clock import to_us
from ibook.entities import EntityUpdates, Watermark, is_future, pack, unpack, updates_of
from ibook.errors import InvalidMessage
from tests.traffic import purchase

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_purchase_touches_its_four_entities() -> None:
    updates = updates_of(purchase("t1", now=NOW), 3, 17)
    assert {(u.entity, u.key) for u in updates} == {
        ("user", "user-1"), ("card", "card-1"), ("device", "device-1"), ("event", "event-1"),
    }  # fmt: skip
    assert {(u.source, u.offset) for u in updates} == {(3, 17)}


def test_inventory_touches_its_event_alone() -> None:
    message = m.InventoryChanged(message_id="i", occurred_at=NOW, event_id="e", capacity=10, remaining=4)
    (update,) = updates_of(message, 0, 0)
    assert (update.entity, update.key, update.fact.numbers) == ("event", "e", {"capacity": 10, "remaining": 4})


def test_a_failed_login_is_told_from_a_successful_one() -> None:
    def kind(succeeded: bool) -> str:
        message = m.LoginAttempted(
            message_id="l", occurred_at=NOW, user_id="u", device_id="d", ip="192.0.2.1", succeeded=succeeded
        )
        return updates_of(message, 0, 0)[0].fact.kind

    assert (kind(True), kind(False)) == ("login", "login_failed")


def test_records_survive_their_encoding() -> None:
    record = EntityUpdates(updates_of(purchase("t1", now=NOW), 3, 17), [Watermark(3, 17, 99)])
    assert unpack(pack(record)) == record


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b"\x91"])
def test_foreign_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(InvalidMessage):
        unpack(payload)


def test_future_is_judged_by_the_brokers_clock() -> None:
    assert not is_future(purchase("t", now=NOW + timedelta(minutes=4)), to_us(NOW))
    assert is_future(purchase("t", now=NOW + timedelta(minutes=6)), to_us(NOW))
