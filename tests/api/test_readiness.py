"""What the price API says of itself: whether its start is over, whether it is ready, and what is worse than usual."""

from msgspec.structs import replace

from ibook.messages import PriceControlled
from tests.api.test_prices import LISTING, NOW, Api


def test_before_events_are_known_the_answer_is_not_yet(api: Api) -> None:
    api.snapshots.listings.clear()
    api.snapshots.loaded, api.snapshots.problem = False, "No Kafka broker answers."
    answer = api.client.post("/v1/quotes", json={"event_id": "gala", "ticket_type": "stalls"})
    assert answer.status_code == 503
    assert answer.json()["detail"] == "Events are not known yet: No Kafka broker answers."
    readiness = api.client.get("/readyz")
    assert readiness.status_code == 503
    assert readiness.json()["degraded"] == ["No Kafka broker answers."]
    assert api.client.get("/startupz").status_code == 503
    assert api.client.get("/healthz").json() == {"status": "alive"}


def test_what_an_earlier_process_knew_is_priced_until_kafka_is_read(api: Api) -> None:
    api.snapshots.listings["over"] = replace(LISTING, event_id="over", starts_at=NOW)
    api.snapshots.controls["gala"] = PriceControlled(message_id="c", occurred_at=NOW, event_id="gala", frozen=True)
    api.snapshots.loaded, api.snapshots.problem, api.snapshots.kept_from = False, "What was known holds.", NOW
    assert api.quote()["source"] == "frozen"
    answers = [api.client.get(f"/v1/events/{event_id}/price") for event_id in ("over", "listed-since")]
    assert [answer.status_code for answer in answers] == [410, 503]
    assert answers[1].json()["detail"] == "Event 'listed-since' is not known yet: What was known holds."
    assert api.client.get("/startupz").status_code == 200
    readiness = api.client.get("/readyz")
    assert (readiness.status_code, readiness.json()["status"]) == (200, "ready")
    assert "What was known holds." in readiness.json()["degraded"]


def test_what_is_not_kept_on_disk_is_degraded(api: Api) -> None:
    api.snapshots.unkept = "What is read is not kept."
    assert api.client.get("/readyz").json()["degraded"] == ["What is read is not kept."]


def test_readiness_counts_what_is_known_and_says_what_is_degraded(api: Api) -> None:
    answer = api.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "listings": 1,
        "policies": 1,
        "journal_waiting": 0,
        "scores": "not asked for",
        "degraded": [],
    }
    api.snapshots.policies.clear()
    assert api.client.get("/readyz").json()["degraded"] == ["No price policy for 1 of 1 events: list prices."]


def test_without_a_listing_the_start_is_over_but_nothing_is_ready(api: Api) -> None:
    api.snapshots.listings.clear()
    answer = api.client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert answer.json()["degraded"] == ["No event is listed: there is nothing to price."]
    assert api.client.get("/startupz").status_code == 200
    assert api.client.get("/v1/events/gala/price").status_code == 404
