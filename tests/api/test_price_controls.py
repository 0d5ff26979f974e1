"""What a shop sees when prices are frozen, rolled back, or by rule because nothing learned is fresh."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from msgspec.structs import replace

from ibook.messages import ArmProbabilities, InventoryChanged, PriceControlled, PricePolicy, TicketType
from ibook.pricing import slot_start
from tests.api.test_prices import LISTING, NOW, SLOT, Api, policy


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    with api.client:
        yield api


def order(api: Api, event_id: str = "gala", **more: object) -> None:
    api.snapshots.controls[event_id] = PriceControlled(
        message_id="c", occurred_at=NOW, event_id=event_id, **more  # type: ignore[arg-type]
    )  # fmt: skip


def seats(api: Api, remaining: int) -> None:
    api.snapshots.inventory["gala"] = InventoryChanged(
        message_id="i", occurred_at=NOW, event_id="gala", capacity=100, remaining=remaining
    )


def asked(api: Api) -> tuple[object, object]:
    quote = api.quote()
    listed = api.client.get("/v1/events/gala/price").json()["prices"][0]
    assert (listed["price_minor"], listed["source"]) == (quote["price_minor"], quote["source"])
    return quote["price_minor"], quote["source"]


@pytest.mark.parametrize("event_id", ["gala", ""])
def test_a_freeze_means_list_price_at_once_and_quotes_given_before_hold(api: Api, event_id: str) -> None:
    before = api.quote(idempotency_key="cart-1")
    order(api, event_id, frozen=True)
    assert asked(api) == (5000, "frozen")
    assert api.quote(idempotency_key="cart-1") == before
    assert (api.journal.entries[-1].arm, api.journal.entries[-1].propensity) == (-1, 1.0)
    order(api, event_id)
    assert api.quote()["price_minor"] == before["price_minor"]


def test_a_freeze_of_another_event_changes_nothing(api: Api) -> None:
    order(api, "another", frozen=True)
    assert api.quote()["source"] == "policy"


def test_a_freeze_with_an_end_ends_by_itself(api: Api) -> None:
    order(api, frozen=True, until=NOW + timedelta(minutes=1))
    assert asked(api)[1] == "frozen"
    api.clock.advance(timedelta(minutes=1))
    assert asked(api)[1] == "policy"


def test_a_rollback_draws_from_the_earlier_policy_and_journals_it(api: Api) -> None:
    arms = ArmProbabilities(
        ticket_type="stalls", list_price_minor=5000, prices_minor=[4500, 5500], probabilities=[0.25, 0.75],
        expected_sales=[0.3, 0.2], interval=[(0.2, 0.4), (0.1, 0.3)],
    )  # fmt: skip
    earlier = replace(policy(occurred_at=NOW - timedelta(days=1)), version=2, upcoming=[arms])
    order(api, policy=earlier)
    price, source = asked(api)
    assert (price in (4500, 5500), source) == (True, "policy")
    entry = api.journal.entries[-1]
    assert (entry.policy_version, entry.propensity) == (2, {4500: 0.25, 5500: 0.75}[entry.price_minor])
    assert (entry.decided_by, entry.total_propensity) == ("", entry.propensity), "drawn, but no part of the experiment"


def stale() -> PricePolicy:
    return policy(occurred_at=NOW - timedelta(hours=2))


def test_a_policy_that_is_too_old_gives_way_to_a_rule_on_seats_and_time(api: Api) -> None:
    api.snapshots.policies["gala"] = stale()
    seats(api, remaining=40)
    assert asked(api) == (6000, "rules")
    assert (api.journal.entries[-1].arm, api.journal.entries[-1].policy_version) == (-2, 0)


def test_without_known_seats_the_rule_is_the_list_price(api: Api) -> None:
    api.snapshots.policies["gala"] = stale()
    assert asked(api) == (5000, "rules")


def test_within_a_slot_the_price_by_rule_stays_and_the_next_slot_follows_what_is_fresh(api: Api) -> None:
    api.snapshots.policies["gala"] = stale()
    seats(api, remaining=90)
    first = asked(api)
    seats(api, remaining=10)
    api.snapshots.policies["gala"] = policy(first_slot=SLOT + 1, occurred_at=NOW)
    assert asked(api) == first
    api.clock.advance(slot_start(SLOT + 1, 300.0) - NOW)
    assert asked(api)[1] == "policy"


def test_a_price_by_rule_follows_the_listing_at_once(api: Api) -> None:
    api.snapshots.policies["gala"] = stale()
    seats(api, remaining=40)
    assert asked(api) == (6000, "rules")
    dearer = TicketType(name="stalls", list_price_minor=10_000, floor_minor=8000, cap_minor=12_500)
    api.snapshots.listings["gala"] = replace(LISTING, currency="JPY", ticket_types=[dearer])
    assert asked(api) == (12_500, "rules")
    entry = api.journal.entries[-1]
    assert (entry.price_minor, entry.currency, entry.list_price_minor) == (12_500, "JPY", 10_000)


def test_a_listing_that_is_published_again_leaves_a_price_by_rule_as_it_is(api: Api) -> None:
    api.snapshots.policies["gala"] = stale()
    seats(api, remaining=90)
    first = asked(api)
    seats(api, remaining=10)
    api.snapshots.listings["gala"] = replace(LISTING, message_id="again", occurred_at=NOW + timedelta(seconds=1))
    assert asked(api) == first


def test_a_rollback_in_a_slot_that_is_priced_by_rule_holds_at_once(api: Api) -> None:
    api.snapshots.policies["gala"] = stale()
    assert asked(api)[1] == "rules"
    order(api, policy=policy(occurred_at=NOW - timedelta(days=1)))
    assert asked(api)[1] == "policy"
    order(api)
    assert asked(api)[1] == "rules"


def test_readiness_says_what_is_frozen_and_what_is_too_old(api: Api) -> None:
    order(api, frozen=True)
    [sentence] = api.client.get("/readyz").json()["degraded"]
    assert sentence == "Prices of 1 events are as ordered: `ibook pricing status`."
    order(api, "", frozen=True)
    assert "Prices of all events" in str(api.client.get("/readyz").json()["degraded"])
    order(api)
    order(api, "")
    api.snapshots.policies["gala"] = stale()
    assert api.client.get("/readyz").json()["degraded"] == [
        "The price policies of 1 events are too old: prices by rule."
    ]


def test_what_is_worse_than_usual_is_a_figure_for_alerts(api: Api) -> None:
    def faults() -> set[str]:
        told = api.client.get("/metrics").text
        return set(re.findall(r'^ibook_price_api_degraded{fault="(\w+)"} 1.0$', told, re.MULTILINE))

    assert faults() == set()
    api.snapshots.policies["gala"] = stale()
    order(api, "", frozen=True)
    assert faults() == {"old_policy", "ordered"}
    order(api, "")
    api.snapshots.policies["gala"] = policy()
    assert faults() == set(), "and it is taken back"


def test_a_learner_that_counts_other_slots_is_not_passed_over_in_silence(api: Api) -> None:
    api.snapshots.policies["gala"] = replace(policy(), slot_seconds=60.0)
    assert asked(api) == (5000, "list_price")
    [sentence] = api.client.get("/readyz").json()["degraded"]
    assert sentence == (
        "The price policies of 1 events are for slots of another length (IBOOK_SLOT_SECONDS): list prices."
    )


def test_an_event_that_has_begun_makes_nothing_worse_than_usual(api: Api) -> None:
    for event_id, policies in (("played", {"played": stale()}), ("never priced", {})):
        api.snapshots.listings[event_id] = replace(LISTING, event_id=event_id, starts_at=NOW)
        api.snapshots.policies.update(policies)
    assert api.client.get("/readyz").json()["degraded"] == []
