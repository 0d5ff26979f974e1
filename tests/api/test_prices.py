"""The price API against listings and policies in memory: what a shop's engineer sees."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace

from ibook.clock import ManualClock
from ibook.edges.price_snapshots import Snapshots
from ibook.messages import (
    ArmProbabilities,
    EventListed,
    InventoryChanged,
    PricePolicy,
    QuoteIssued,
    TicketType,
)
from ibook.pricing import slot_of, slot_start
from ibook.quotes import quote_keys
from ibook.settings import Settings
from serving.app import create_app
from serving.desk import PriceDesk
from serving.sales import Sales
from serving.score_desk import ScoreDesk

NOW = datetime(2026, 3, 1, 12, 2, tzinfo=UTC)
SETTINGS = Settings(
    slot_seconds=300.0, quote_ttl_seconds=600.0, quote_secret="secret", partitions=4, price_list_share=0.0,
    price_rules_share=0.0,
)  # fmt: skip
SLOT = slot_of(NOW, 300.0)
LISTING = EventListed(
    message_id="l", occurred_at=NOW, event_id="gala", name="Gala", category="concerts", promoter_id="p", venue="v",
    capacity=100, on_sale_at=NOW, starts_at=NOW + timedelta(days=30), currency="GBP",
    ticket_types=[
        TicketType(name="stalls", list_price_minor=5000, floor_minor=4000, cap_minor=6000),
        TicketType(name="balcony", list_price_minor=3000, floor_minor=2500, cap_minor=3500),
    ],
)  # fmt: skip


def policy(first_slot: int = SLOT, occurred_at: datetime = NOW - timedelta(seconds=1)) -> PricePolicy:
    arms = ArmProbabilities(
        ticket_type="stalls", list_price_minor=5000, prices_minor=[4000, 6000], probabilities=[0.5, 0.5],
        expected_sales=[0.3, 0.2], interval=[(0.2, 0.4), (0.1, 0.3)],
    )  # fmt: skip
    return PricePolicy(
        message_id="p", occurred_at=occurred_at, event_id="gala", version=4, slot_seconds=300.0,
        first_slot=first_slot, currency="GBP", current=[], upcoming=[arms],
    )  # fmt: skip


class MemoryJournal:
    """A journal with room for so many entries."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.entries: list[QuoteIssued] = []

    def record(self, entry: QuoteIssued) -> bool:
        if len(self.entries) >= self.room:
            return False
        self.entries.append(entry)
        return True

    def waiting(self) -> int:
        return 0

    def problem(self) -> str:
        return ""


class Api:
    """One replica."""

    def __init__(
        self, settings: Settings = SETTINGS, score_desk: ScoreDesk | None = None, sales: Sales | None = None
    ) -> None:
        self.clock = ManualClock(NOW)
        self.snapshots = Snapshots()
        self.snapshots.loaded, self.snapshots.problem = True, ""
        self.snapshots.listings["gala"] = LISTING
        self.snapshots.policies["gala"] = policy()
        self.journal = MemoryJournal()
        app = create_app(
            settings,
            clock=self.clock,
            snapshots=self.snapshots,
            journal=self.journal,
            score_desk=score_desk,
            sales=sales,
        )
        self.client = TestClient(app)

    def quote(self, **body: object) -> dict[str, object]:
        answer = self.client.post("/v1/quotes", json={"event_id": "gala", "ticket_type": "stalls", **body})
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]


def test_a_quote_is_the_slots_price_signed_and_expiring(api: Api) -> None:
    body = api.quote()
    expires_at = slot_start(SLOT + 1, 300.0) + timedelta(seconds=600)
    assert set(body) == {"quote_id", "event_id", "ticket_type", "price_minor", "currency", "expires_at",
                         "expected_sales", "expected_revenue", "explanation", "source"}  # fmt: skip
    assert body["price_minor"] in (4000, 6000)
    assert body["currency"] == "GBP"
    assert body["source"] == "policy"
    assert datetime.fromisoformat(str(body["expires_at"])) == expires_at
    quote = quote_keys(SETTINGS).verify(str(body["quote_id"]), event_id="gala", at=NOW)
    assert (quote.price_minor, quote.slot, quote.expires_at) == (body["price_minor"], SLOT, expires_at)


def test_replicas_agree_who_decides_a_slot_and_the_journal_says_so() -> None:
    settings = SETTINGS.model_copy(update={"price_list_share": 0.25, "price_rules_share": 0.25})
    replicas = [Api(settings), Api(settings)]
    shown: list[list[tuple[str, int, float | None]]] = []
    for replica in replicas:
        replica.snapshots.policies["gala"] = policy(occurred_at=NOW + timedelta(hours=9))
        replica.snapshots.inventory["gala"] = InventoryChanged(
            message_id="i", occurred_at=NOW, event_id="gala", capacity=100, remaining=40
        )
        with replica.client:
            for _ in range(40):
                replica.quote()
                replica.clock.advance(timedelta(seconds=300))
        entries = replica.journal.entries
        shown.append([(each.decided_by, each.price_minor, each.total_propensity) for each in entries])
        assert {(each.list_price_minor, each.seats_left) for each in entries} == {(5000, 40)}
    assert shown[0] == shown[1]
    # The policy's prices are 4000 and 6000, half of the time each; it does not say what the rule would ask.
    assert set(shown[0]) == {
        ("list_price", 5000, 0.5),
        ("rules", 5000, 0.5),
        ("bandit", 4000, 0.25),
        ("bandit", 6000, 0.25),
    }


def test_the_journal_knows_arm_and_propensity_and_the_caller_does_not(api: Api) -> None:
    body = api.quote()
    [entry] = api.journal.entries
    assert entry.quote_id == body["quote_id"]
    assert (entry.arm, entry.propensity, entry.policy_version) == ([4000, 6000].index(entry.price_minor), 0.5, 4)
    assert not {"arm", "propensity", "policy_version"} & set(body)


def test_expected_sales_are_those_of_the_arm_that_was_drawn(api: Api) -> None:
    body = api.quote()
    expected = {4000: {"mean": 0.3, "low": 0.2, "high": 0.4}, 6000: {"mean": 0.2, "low": 0.1, "high": 0.3}}
    assert body["expected_sales"] == expected[body["price_minor"]]  # type: ignore[index]
    revenue = {4000: {"mean": 1200, "low": 800, "high": 1600}, 6000: {"mean": 1200, "low": 600, "high": 1800}}
    assert body["expected_revenue"] == pytest.approx(revenue[body["price_minor"]])  # type: ignore[index]
    assert body["explanation"] == "Learned from what sells."


def test_the_list_shows_the_price_that_quotes_give(api: Api) -> None:
    body = api.client.get("/v1/events/gala/price").json()
    assert [price["ticket_type"] for price in body["prices"]] == ["stalls", "balcony"]
    listed, quoted = body["prices"][0], api.quote()
    for each in ("price_minor", "expected_sales", "expected_revenue", "explanation", "source"):
        assert listed[each] == quoted[each]
    assert not {"arm", "propensity", "total_propensity", "decided_by"} & {*listed, *quoted}
    assert datetime.fromisoformat(body["slot_ends_at"]) == slot_start(SLOT + 1, 300.0)
    assert not api.journal.entries[1:], "a list is no offer"


def test_the_list_can_be_asked_for_one_ticket_type(api: Api) -> None:
    body = api.client.get("/v1/events/gala/price", params={"ticket_type": "balcony"}).json()
    [price] = body["prices"]
    assert (price["ticket_type"], price["price_minor"], price["source"]) == ("balcony", 3000, "list_price")
    assert price["list_price_minor"] == 3000


def test_every_buyer_and_replica_gets_the_same_price_in_a_slot(api: Api) -> None:
    other = Api()
    with other.client:
        assert {api.quote()["price_minor"] for _ in range(20)} == {other.quote()["price_minor"]}


def test_prices_change_between_slots(api: Api) -> None:
    prices = set()
    for _ in range(12):
        prices.add(api.quote()["price_minor"])
        api.clock.advance(timedelta(seconds=300))
    assert prices == {4000, 6000}


@pytest.mark.parametrize("unusable", [None, policy(first_slot=SLOT + 1)])
def test_without_a_usable_policy_the_list_price_is_quoted_and_says_so(api: Api, unusable: PricePolicy | None) -> None:
    api.snapshots.policies.clear()
    if unusable:
        api.snapshots.policies["gala"] = unusable
    body = api.quote()
    assert (body["price_minor"], body["source"]) == (5000, "list_price")
    assert [(entry.arm, entry.propensity) for entry in api.journal.entries] == [(-1, 1.0)]


def test_a_full_journal_gives_list_prices_that_are_no_offers(api: Api) -> None:
    api.journal.room = 0
    body = api.quote()
    assert (body["price_minor"], body["source"]) == (5000, "list_price")
    assert api.journal.entries == []


def test_an_unknown_event_is_not_found(api: Api) -> None:
    answer = api.client.get("/v1/events/nope/price")
    problem = {"title": "Not Found", "status": 404, "detail": "Event 'nope' is not listed.", "errors": []}
    assert (answer.status_code, answer.json()) == (404, problem)
    answer = api.client.post("/v1/quotes", json={"event_id": "nope", "ticket_type": "stalls"})
    assert (answer.status_code, answer.json()) == (404, problem)
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_event_that_has_begun_is_priced_no_more(api: Api) -> None:
    path = "/v1/events/gala/price"
    api.snapshots.listings["gala"] = replace(LISTING, starts_at=NOW + timedelta(seconds=10))
    assert api.client.get(path).status_code == 200
    kept = api.quote(idempotency_key="cart-1")
    api.clock.advance(timedelta(seconds=10))
    problem = {"title": "Gone", "status": 410, "detail": "Event 'gala' has begun: its sale is over.", "errors": []}
    for answer in (
        api.client.get(path),
        api.client.post("/v1/quotes", json={"event_id": "gala", "ticket_type": "stalls"}),
    ):
        assert (answer.status_code, answer.json()) == (410, problem)
    assert len(api.journal.entries) == 1
    assert api.quote(idempotency_key="cart-1") == kept, "what was promised holds"


@pytest.mark.parametrize("over", ["begun", "taken off the list"])
def test_what_was_prepared_for_an_event_is_forgotten_when_it_is_over(api: Api, over: str) -> None:
    desk: PriceDesk = api.client.app.state.desk  # type: ignore[attr-defined]
    stale = policy(occurred_at=NOW - timedelta(hours=2))
    api.snapshots.listings["another"] = replace(LISTING, event_id="another")
    for event_id in ("gala", "another"):
        api.snapshots.policies[event_id] = replace(stale, event_id=event_id)
        api.quote(event_id=event_id)
        api.client.get(f"/v1/events/{event_id}/price")
    prepared = (desk.slot_prices._by_rule, desk.slot_prices._chosen, desk._lists, desk._offers)
    assert all({key[0] for key in each} == {"gala", "another"} for each in prepared)
    if over == "begun":
        api.snapshots.listings["gala"] = replace(LISTING, starts_at=NOW)
    else:
        del api.snapshots.listings["gala"]
    api.clock.advance(timedelta(seconds=300))
    api.quote(event_id="another")
    assert all({key[0] for key in each} == {"another"} for each in prepared)


def test_an_unknown_ticket_type_is_not_found(api: Api) -> None:
    sentence = "Event 'gala' has no ticket type 'pit'."
    answer = api.client.post("/v1/quotes", json={"event_id": "gala", "ticket_type": "pit"})
    assert (answer.status_code, answer.json()["detail"]) == (404, sentence)
    assert api.client.get("/v1/events/gala/price?ticket_type=pit").json()["detail"] == sentence


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"event_id": "gala"}', b'{"event_id": 7, "ticket_type": "stalls"}',
        b'{"event_id": "", "ticket_type": "stalls"}', b'{"event_id": "' + b"x" * 129 + b'", "ticket_type": "stalls"}',
        b'{"event_id": "gala", "ticket_type": "stalls", "idempotency_key": ""}',
        b'{"event_id": "gala", "ticket_type": "stalls", "idempotency_key": "\\ud800"}',
        b'{"event_id": "gala", "ticket_type": "stalls", "idempotencykey": "x"}',
        b'{"event_id": NaN, "ticket_type": "stalls"}',
        b'{"event_id": "gala", "ticket_type": "stalls", "\\ud800": 1}',
        b'{"event_id": "gala", "ticket_type": "stalls"}\xff',
    ],
)  # fmt: skip
def test_a_wrong_body_is_refused(api: Api, body: bytes) -> None:
    answer = api.client.post("/v1/quotes", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert isinstance(problem["detail"], str)
    assert all(set(each) == {"at", "reason"} for each in problem["errors"])
    assert api.journal.entries == []


LARGEST = 64 << 10
TOO_LARGE = (413, "The body is larger than 64 KiB.")


def test_a_body_beyond_64_kib_is_refused_whether_it_says_so_or_not(api: Api) -> None:
    def pieces() -> Iterator[bytes]:  # sent in chunks, without a length
        for _ in range(65):
            yield b" " * 1024

    for body in (b" " * (LARGEST + 1), pieces()):
        answer = api.client.post("/v1/quotes", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["detail"]) == TOO_LARGE
    assert api.journal.entries == []


@pytest.mark.parametrize("length", ["99999999999999999999", "9" * 5000, "\u00b2"])
def test_an_absurd_content_length_is_no_error_of_ours(api: Api, length: str) -> None:
    answer = api.client.post("/v1/quotes", content=b"", headers={b"content-length": length.encode("latin-1")})
    assert answer.status_code in (413, 422)


def test_the_largest_body_is_read(api: Api) -> None:
    body = b'{"event_id": "gala", "ticket_type": "stalls"}'
    answer = api.client.post("/v1/quotes", content=body.ljust(LARGEST), headers={"content-type": "application/json"})
    assert answer.status_code == 200


@pytest.mark.parametrize("event_id", ["tour/gala", "/", "price", "gala/price", "v1/quotes", "a//b/", "../gala"])
def test_an_event_id_may_hold_slashes(api: Api, event_id: str) -> None:
    api.snapshots.listings[event_id] = replace(LISTING, event_id=event_id)
    body = api.client.get(f"/v1/events/{quote(event_id, safe='')}/price").json()
    assert body["event_id"] == event_id
    assert api.quote(event_id=event_id)["event_id"] == event_id
    assert api.client.get("/v1/events/gala/price").json()["event_id"] == "gala"


@pytest.mark.parametrize("path", ["/v1/events/gala", "/v1/events/gala/", "/v1/events/gala/prices", "/v1/quotes"])
def test_no_other_path_is_taken_for_a_price(api: Api, path: str) -> None:
    assert api.client.get(path).status_code in (404, 405)
    assert api.client.get("/v1/events//price").status_code == 422


def test_metrics_count_quotes(api: Api) -> None:
    api.quote()
    text = api.client.get("/metrics").text
    assert 'ibook_price_quotes_total{source="policy"}' in text
    assert "ibook_price_quote_seconds_bucket" in text


def test_the_journal_says_of_an_offer_that_its_sale_had_not_begun(api: Api) -> None:
    api.snapshots.listings["gala"] = replace(LISTING, on_sale_at=NOW + timedelta(seconds=1))
    api.quote()
    api.clock.advance(timedelta(seconds=1))
    api.quote()
    assert [each.before_sale for each in api.journal.entries] == [True, False]
