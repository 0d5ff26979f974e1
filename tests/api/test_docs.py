"""`/docs` works on a machine without a network."""

import re

from fastapi.testclient import TestClient

from ibook.edges.price_snapshots import Snapshots
from ibook.settings import Settings
from serving.app import create_app
from tests.api.test_prices import MemoryJournal


def client() -> TestClient:
    return TestClient(create_app(Settings(), snapshots=Snapshots(), journal=MemoryJournal()))


def test_docs_load_nothing_from_another_host() -> None:
    with client() as api:
        page = api.get("/docs")
        assert page.status_code == 200
        assert "//" not in re.sub(r"<!--.*?-->", "", page.text)
        assert '"validatorUrl": null' in page.text


def test_docs_assets_are_served_by_us() -> None:
    with client() as api:
        page = api.get("/docs").text
        assets = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert len(assets) == 3
        for asset in assets:
            assert api.get(asset).status_code == 200
            assert api.get(asset).content


def test_the_bundled_page_renders_the_version_of_our_description() -> None:
    """Swagger UI reads OpenAPI 3.1 since 5.0; older ones show an error."""
    with client() as api:
        assert api.get("/openapi.json").json()["openapi"].startswith("3.1")
        bundle = api.get("/docs/assets/swagger-ui-bundle.js").text
        assert "OpenAPI31" in bundle


def test_the_description_names_every_path_and_problem() -> None:
    with client() as api:
        paths = api.get("/openapi.json").json()["paths"]
        health = {"/healthz", "/startupz", "/readyz", "/metrics"}
        assert set(paths) == {"/v1/quotes", "/v1/events/{event_id}/price", "/v1/fraud/scores", *health}
        assert {"200", "404", "413", "422", "503"} <= set(paths["/v1/quotes"]["post"]["responses"])
