"""The page for people: what it says, that it escapes what comes from data, and that it loads nothing."""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn
from msgspec.structs import replace

from ibook.api_keys import new_key
from ibook.codec import encode
from ibook.edges.kafka import Record
from ibook.experiments import ending, exact_shares
from ibook.messages import ArmFigures, ExperimentFigures, InventoryChanged, PriceControlled, QuoteIssued
from infra.local.processes import free_port
from serving.sales import Sales
from tests.api.test_prices import LISTING, NOW, SETTINGS, SLOT, Api
from tests.unit.test_price_history import issued

FOREIGN = re.compile(r"""(?:src|href|action)=["'](?!/)|url\(|@import|<script""")


class Told(Sales):
    """Sales that a test tells, instead of Kafka."""

    def _run(self) -> None:
        self.problem = ""

    def tell(self, *entries: QuoteIssued) -> None:
        self.history()
        self.take([_record(encode(each)) for each in entries])


def _record(value: bytes) -> Record:
    return Record(topic="quote-journal", partition=0, offset=0, timestamp_ms=0, key=None, value=value, headers=())


@pytest.fixture
def sales() -> Told:
    return Told(SETTINGS)


@pytest.fixture
def api(sales: Told) -> Iterator[Api]:
    api = Api(sales=sales)
    api.snapshots.inventory["gala"] = InventoryChanged(
        message_id="i", occurred_at=NOW, event_id="gala", capacity=100, remaining=37
    )
    with api.client:
        yield api


def test_the_page_shows_what_the_arms_of_the_experiment_earn_and_which_was_ended(api: Api) -> None:
    assert "No slot is settled yet" in page(api, "/prices")
    api.snapshots.figures = ExperimentFigures(
        message_id="f", occurred_at=NOW, version=1, since=NOW,
        arms=[
            ArmFigures(arm="list_price", slots=40, offers=400, sales=40, revenue_per_offer=0.1),
            ArmFigures(arm="rules", slots=3, offers=30, sales=3, revenue_per_offer=0.1,
                       slots_needed=1234),
            ArmFigures(arm="bandit", slots=300, offers=3000, sales=310, revenue_per_offer=0.108, uplift=0.08,
                       low=-0.01, high=0.18),
        ],
    )  # fmt: skip
    api.snapshots.experiment = ending(None, exact_shares(0.25, 0.25), "rules", now=NOW, by="guard", why="It <loses>.")
    api.clock.advance(timedelta(minutes=5))
    shown = page(api, "/prices")
    assert "+8.0% (-1.0% to +18.0%)" in shown
    assert "too early to say: about 1,234 more slots" in shown
    assert "Rule on seats and time: ended. It &lt;loses&gt;." in shown
    assert re.search(r"List price</td><td class=.n.>50%", shown)


def page(api: Api, path: str) -> str:
    answer = api.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not FOREIGN.search(answer.text)
    return answer.text


def test_the_list_names_events_with_seats_price_and_sales(api: Api, sales: Told) -> None:
    api.quote()
    sales.tell(api.journal.entries[0])
    text = page(api, "/prices")
    price = api.journal.entries[0].price_minor
    assert f'<td class="n">{price / 100:.2f} GBP</td><td class="n">1</td><td class="n">0</td>' in text
    assert '<a href="/prices/gala">Gala</a>' in text
    assert '<td class="n">37</td>' in text
    assert api.client.get("/", follow_redirects=False).headers["location"] == "/prices"


def test_an_event_shows_history_beliefs_and_sales_per_ticket_type(api: Api, sales: Told) -> None:
    sales.tell(*(issued(SLOT - n, 4000 + 500 * n, n) for n in range(4)))
    text = page(api, "/prices/gala")
    assert text.count("<svg") == 2, "stalls have a history and beliefs, the balcony has neither"
    assert ">12.00<" in text, "what an offer at 40.00 earns, if three in ten buy"
    assert "50%" not in text, "how likely a price is drawn is for the journal alone"
    assert "30.0% of offers sell (20.0% to 40.0%)" in text
    assert "4 quotes, 0 tickets sold" in text
    assert "Learned from what sells." in text
    assert "List price: nothing that was learned fits the listing yet." in text
    assert "37 of 100 seats are left." in text


def test_what_people_ordered_is_said_with_their_reason(api: Api) -> None:
    api.snapshots.controls["gala"] = PriceControlled(
        message_id="c", occurred_at=NOW, event_id="gala", frozen=True, by="mira", why="calm"
    )
    text = page(api, "/prices/gala")
    assert "Its prices are as mira ordered: calm." in text
    assert "Frozen at list price by order." in text


def test_what_comes_from_data_is_escaped(api: Api) -> None:
    nasty = '"><script>alert(1)</script>'
    ticket = replace(LISTING.ticket_types[0], name=nasty)
    api.snapshots.listings[nasty] = replace(LISTING, event_id=nasty, name=nasty, venue=nasty, ticket_types=[ticket])
    assert "<script" not in page(api, "/prices")
    [href] = re.findall(r'href="(/prices/%22[^"]*)"', page(api, "/prices"))
    assert "<script" not in page(api, href)
    assert "<script" not in page(api, "/prices?q=%22%3E%3Cscript%3E")


def test_events_are_found_by_name_and_many_are_cut(api: Api) -> None:
    for number in range(250):
        event_id = f"match-{number}"
        starts_at = LISTING.starts_at + timedelta(hours=number)
        api.snapshots.listings[event_id] = replace(
            LISTING, event_id=event_id, name=f"Match {number}", starts_at=starts_at
        )
    text = page(api, "/prices")
    assert "And 51 more: find them by name." in text
    found = page(api, "/prices?q=MATCH%20249")
    assert found.count("<td><a") == 1
    assert "Match 249" in found
    assert "No event is listed under that name." in page(api, "/prices?q=opera")


def test_what_is_on_sale_stands_before_what_has_begun_and_each_nearest_first(api: Api) -> None:
    for days in (-400, -1, 3, 90):
        event_id, starts_at = f"in-{days}", NOW + timedelta(days=days)
        api.snapshots.listings[event_id] = replace(LISTING, event_id=event_id, starts_at=starts_at)
    shown = page(api, "/prices")
    assert re.findall(r'href="/prices/([^"]+)"', shown) == ["in-3", "gala", "in-90", "in--1", "in--400"]
    assert shown.count('<td class="n">over</td>') == 2
    assert "its sale is over" in page(api, "/prices/in--1")
    assert "its sale is over" not in page(api, "/prices/in-3")


def test_an_event_that_is_not_listed_is_a_problem_like_any_other(api: Api) -> None:
    answer = api.client.get("/prices/nope")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Event 'nope' is not listed.")
    assert api.client.get(f"/prices?q={'x' * 101}").status_code == 422


def test_the_page_needs_a_key_that_a_browser_can_send(tmp_path: Path) -> None:
    key, known = new_key("promoter", ["price:read"])
    (tmp_path / "keys").write_text(known.line())
    api = Api(SETTINGS.model_copy(update={"api_keys_file": tmp_path / "keys"}), sales=Told(SETTINGS))
    with api.client:
        for path in ("/", "/prices", "/prices/gala"):
            refused = api.client.get(path)
            assert (refused.status_code, "Basic" in refused.headers["www-authenticate"]) == (401, True)
            assert api.client.get(path, auth=("promoter", key)).status_code == 200


@pytest.fixture
def served(sales: Told) -> Iterator[str]:
    """The same, on a port."""
    api = Api(sales=sales)
    sales.tell(*(issued(SLOT - n, 4000 + 500 * (n % 4), n) for n in range(20)))
    server = uvicorn.Server(uvicorn.Config(api.client.app, port=free_port(), log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.config.port}"
    server.should_exit = True
    thread.join()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (apt-get install chromium)")
def test_a_browser_shows_the_page_and_draws_its_charts(served: str, tmp_path: Path) -> None:
    chromium = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,1400"]  # fmt: skip
    picture = tmp_path / "page.png"
    shown = subprocess.run(
        [*chromium, "--dump-dom", f"--screenshot={picture}", f"{served}/prices/gala"],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "<h1>Gala</h1>" in shown.stdout
    assert len(re.findall(r"<polyline class=\"line\" points=\"[\d., -]+\">", shown.stdout)) == 1
    assert "Refused to" not in shown.stderr, "its own policy lets it load nothing but itself"
