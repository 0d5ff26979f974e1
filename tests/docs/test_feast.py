"""`docs/feast.md` does what it says: its snippets run against a registry, a Redis and files with something in them."""

import runpy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ibook.clock import to_us
from ibook.edges.feast_apply import apply_feature_repo
from ibook.edges.feast_import import import_feast
from ibook.edges.feast_on_demand import EVENT_HISTORY, USER_BEHAVIOR
from ibook.edges.feast_views import REALTIME_VIEW, SERVED_VIEW
from ibook.edges.offline_rows import rows_folder, schema_of, write_states
from ibook.edges.online_store import OnlineStore
from ibook.entities import ENTITIES, EntityUpdate, Fact
from ibook.features import FEATURE_NAMES
from ibook.settings import Settings
from ibook.states import encode_state
from infra.local.backends import Parts
from tests.bought import fold_updates
from tests.docs.generated import ROOT
from tests.docs.snippets import named_blocks

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # Ibis 12 under DuckDB 2
PAGE = ROOT / "docs" / "feast.md"
BLOCKS = named_blocks(PAGE)
IDS = {"card": "card-1", "user": "user-1", "event": "event-1", "promoter": "promoter-1", "category": "family"}
NOON_US = to_us(datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.fixture(scope="module")
def folder(parts: Parts, wipe: Callable[[Settings], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's reader works: a data folder `.ibook`, one attempt at noon that was settled."""
    import_feast()
    folder = tmp_path_factory.mktemp("reader")
    settings = parts.settings(Settings(data_dir=folder / ".ibook"))
    wipe(settings)
    apply_feature_repo(settings)
    bought = {"amount_minor": 9_000, "n_tickets": 2}
    facts = [Fact(kind, kind, NOON_US, bought, IDS) for kind in ("purchase", "settled")]
    touched = [entity for entity in ENTITIES if entity in IDS]
    states = fold_updates(EntityUpdate(0, offset, 0, touched, fact) for offset, fact in enumerate(facts))
    store = OnlineStore(settings)
    for entity in touched:
        rows = [(key, encode_state(state), NOON_US) for key, state in states[entity].items()]
        store.write_states(entity, rows)
        write_states(settings, entity, rows)
    store.close()
    served = {"transaction_id": "transaction-1", "occurred_at": datetime(2026, 3, 1, 12, tzinfo=UTC)}
    row = {**served, **dict.fromkeys(FEATURE_NAMES, 7.0)}
    path = rows_folder(settings, SERVED_VIEW) / "day=2026-03-01" / "part.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist([row], schema=schema_of(SERVED_VIEW)), path)
    return folder


def run(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a snippet leaves behind."""
    monkeypatch.chdir(folder)
    script = folder / name
    script.write_text(BLOCKS[name])
    return runpy.run_path(str(script))


def test_page_has_the_snippets_it_promises() -> None:
    assert set(BLOCKS) == {"online.py", "historical.py", "served.py", "service.py"}


def test_features_of_now(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = run(folder, "online.py", monkeypatch)["answer"]
    assert answer["avg_ticket_price"] == [4_500.0]
    assert answer["preferred_category"] == ["family"]
    assert answer["card_attempts_1h"] == [0.0], "noon of that day is long ago"


def test_features_of_then(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, "historical.py", monkeypatch)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in printed[1:]] == [["1.0", "0.0"], ["1.0", "1800.0"]]


def test_features_that_were_served(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "served.py", monkeypatch)
    assert capsys.readouterr().out.splitlines()[-1].split()[-2:] == ["7.0", "7.0"]


def test_all_that_a_model_sees(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = run(folder, "service.py", monkeypatch)["vector"]
    assert len(vector) == len(FEATURE_NAMES)
    assert vector[FEATURE_NAMES.index("price_over_list")] == 1.125


def test_every_column_of_the_plans_views_is_explained() -> None:
    page = PAGE.read_text()
    for name in (*EVENT_HISTORY, *USER_BEHAVIOR, *REALTIME_VIEW.columns):
        assert f"`{name}`" in page
