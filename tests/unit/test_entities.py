"""What a message says of whom."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook import messages as m
from ibook.clock import to_us
from ibook.entities import EntityUpdates, PastScore, Watermark, is_future, pack, subnet_of, unpack, update_of
from ibook.errors import InvalidMessage
from tests.traffic import purchase

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_purchase_touches_every_entity_it_names() -> None:
    update = update_of(purchase("t1", now=NOW, promoter_id="p", bin="411111"), 3, 17, 99)
    assert {entity: update.fact.ids[entity] for entity in update.entities} == {
        "user": "user-1", "card": "card-1", "device": "device-1", "ip": "192.0.2.1", "subnet": "192.0.2.0/24",
        "bin": "411111", "event": "event-1", "promoter": "p",
    }  # fmt: skip
    assert (update.source, update.offset, update.broker_ms) == (3, 17, 99)


def test_what_a_message_does_not_name_is_not_counted() -> None:
    update = update_of(purchase("t1", now=NOW, ip="proxy-7"), 3, 17, 99)
    assert not {"subnet", "promoter"} & set(update.entities)


def test_inventory_touches_its_event_and_promoter() -> None:
    message = m.InventoryChanged(message_id="i", occurred_at=NOW, event_id="e", capacity=10, remaining=4)
    update = update_of(message, 0, 0, 0)
    assert (update.entities, update.fact.ids) == (["event"], {"event": "e"})
    assert update.fact.numbers == {"capacity": 10, "remaining": 4, "sold_permille": 600}
    named = msgspec.structs.replace(message, promoter_id="p", capacity=0, remaining=0)
    assert update_of(named, 0, 0, 0).entities == ["event", "promoter"]
    assert update_of(named, 0, 0, 0).fact.numbers["sold_permille"] == 0


@pytest.mark.parametrize("score", [0.125, None])
def test_a_past_score_is_of_its_buyer_and_nothing_without_one(score: float | None) -> None:
    message = PastScore(message_id="e", occurred_at=NOW, purchase=PastScore.Buyer(user_id="u"), score=score)
    update = update_of(message, 0, 0, 0)
    expected: tuple[list[str], dict[str, int]] = (["user"], {"score_ppm": 125_000}) if score else ([], {})
    assert (update.entities, update.fact.numbers) == expected


def test_an_address_belongs_to_the_network_it_is_rented_out_in() -> None:
    assert subnet_of("203.0.113.7") == subnet_of("203.0.113.200") != subnet_of("203.0.114.7")
    assert subnet_of("2001:db8:1:2::3") == subnet_of("2001:db8:1:ffff::1") != subnet_of("2001:db8:2::1")


@given(st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){2,4}", fullmatch=True) | st.ip_addresses(v=4).map(str) | st.text())
def test_the_short_way_to_a_network_agrees_with_the_long_one(ip: str) -> None:
    try:
        expected: str | None = str(ip_network(f"{ip_address(ip)}/{24 if ip_address(ip).version == 4 else 48}", False))
    except ValueError:
        expected = None
    assert subnet_of(ip) == expected


def test_a_failed_login_is_told_from_a_successful_one() -> None:
    def kind(*, succeeded: bool) -> str:
        message = m.LoginAttempted(
            message_id="l", occurred_at=NOW, user_id="u", device_id="d", ip="192.0.2.1", succeeded=succeeded
        )
        return update_of(message, 0, 0, 0).fact.kind

    assert (kind(succeeded=True), kind(succeeded=False)) == ("login", "login_failed")


def test_records_survive_their_encoding() -> None:
    record = EntityUpdates([update_of(purchase("t1", now=NOW), 3, 17, 99)], [Watermark(3, 17, 99)])
    assert unpack(pack(record)) == record


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b"\x91"])
def test_foreign_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(InvalidMessage):
        unpack(payload)


def test_future_is_judged_by_the_brokers_clock() -> None:
    assert not is_future(purchase("t", now=NOW + timedelta(minutes=4)), to_us(NOW))
    assert is_future(purchase("t", now=NOW + timedelta(minutes=6)), to_us(NOW))
