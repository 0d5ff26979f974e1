"""Scores over HTTP with a real model and states in memory: what a caller who needs the answer now sees."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ibook.clock import ManualClock, to_us
from ibook.codec import encode
from ibook.edges.champion import Loaded, Running
from ibook.edges.feature_reader import FeatureReader
from ibook.edges.policy_in_force import PolicyInForce
from ibook.edges.price_snapshots import Snapshots
from ibook.edges.scoring import Scorer
from ibook.entities import EntityName, source_slot, update_of
from ibook.errors import FeatureUnavailable
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES
from ibook.fraud import load_policy
from ibook.heartbeat import Heartbeat, encode_heartbeat
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from ibook.states import encode_state
from serving.app import create_app
from serving.score_desk import CHUNK_ROWS, ScoreDesk
from serving.score_schemas import EXAMPLE_PURCHASE, Scores
from tests.api.test_prices import MemoryJournal
from tests.tiny_models import TRAINED, released
from tests.traffic import purchase

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = Settings(partitions=1, score_longest_seconds=60.0)
PATIENT = SETTINGS.model_copy(update={"feature_read_seconds": 120.0})
PATH = "/v1/fraud/scores"
MODEL = Loaded(TRAINED.model, released(TRAINED))


class Store:
    """States of purchases that were folded, with a fresh heartbeat; asked things can be made slow or fail."""

    def __init__(self, past: Sequence[PurchaseRequested] = ()) -> None:
        self.reads = 0
        self.heartbeat: bytes | None = encode_heartbeat(Heartbeat(to_us(NOW), {}, 1))
        self.before_read: Callable[[], object] = lambda: None
        self._states: dict[tuple[EntityName, str], bytes] = {}
        folded: dict[tuple[EntityName, str], Any] = {}
        for offset, each in enumerate(past):
            update = update_of(each, source_slot("ticket-purchases", 0), offset, 0)
            for entity in update.entities:
                layout = ENTITY_FEATURES[entity].layout
                state = folded.setdefault((entity, update.fact.ids[entity]), layout.empty())
                layout.fold(state, update)
        self._states = {key: encode_state(state) for key, state in folded.items()}

    def read(
        self, keys: Mapping[EntityName, Sequence[str]], n_partitions: int
    ) -> tuple[dict[EntityName, list[bytes | None]], list[bytes | None]]:
        self.reads += 1
        self.before_read()
        states = {entity: [self._states.get((entity, key)) for key in wanted] for entity, wanted in keys.items()}
        return states, [self.heartbeat] * n_partitions


class Api:
    """One replica that is ready to score."""

    def __init__(self, store: Store, *, model: Loaded | None = MODEL, settings: Settings = SETTINGS) -> None:
        clock = ManualClock(NOW)
        reader = FeatureReader(store, settings.partitions, settings.feature_read_seconds, clock)  # type: ignore[arg-type]
        champion: Any = SimpleNamespace(running=Running(model))
        self.desk = ScoreDesk(reader, Scorer(settings, champion, PolicyInForce(), clock), clock)
        app = create_app(
            settings, clock=clock, snapshots=Snapshots(), journal=MemoryJournal(), score_desk=self.desk
        )  # fmt: skip
        self.client = TestClient(app)

    def post(self, purchases: Sequence[object], **more: object) -> Any:
        return self.client.post(PATH, content=body_of(purchases, **more))

    def scores(self, purchases: Sequence[object], **more: object) -> list[dict[str, Any]]:
        answer = self.post(purchases, **{"deadline_ms": 60_000, **more})
        assert answer.status_code == 200, answer.text
        Scores.model_validate_json(answer.content, strict=False)
        return answer.json()["scores"]  # type: ignore[no-any-return]


def body_of(purchases: Sequence[object], **more: object) -> bytes:
    import msgspec

    rows = [encode(each) if isinstance(each, PurchaseRequested) else each for each in purchases]
    raw = [msgspec.Raw(row) if isinstance(row, bytes) else row for row in rows]
    return msgspec.json.encode({"purchases": raw, **more})


@contextmanager
def running(store: Store | None = None, **more: Any) -> Iterator[Api]:
    api = Api(store or Store(), **more)
    with api.client:
        yield api


@pytest.fixture
def api() -> Iterator[Api]:
    with running() as api:
        yield api


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def attempts(row: dict[str, Any]) -> float:
    return row["explanation"]["features"]["card_attempts_1h"]  # type: ignore[no-any-return]


def test_a_purchase_gets_the_verdict_of_its_score(api: Api) -> None:
    [row] = api.scores([purchase("t", now=NOW)], explain=True)
    explanation = row.pop("explanation")
    assert row == {
        "transaction_id": "t", "action": row["action"], "score_band": row["score_band"], "posture": "normal",
        "model_version": TRAINED.model.version, "policy_version": load_policy().version,
        "decided_at": "2026-03-01T12:00:00Z",
    }  # fmt: skip
    assert 0 < explanation["score"] < 1
    assert list(explanation["features"]) == list(FEATURE_NAMES)
    assert explanation["staleness_seconds"] == 0


def test_without_being_asked_an_answer_explains_nothing(api: Api) -> None:
    [row] = api.scores([purchase("t", now=NOW)])
    assert row["explanation"] is None


def test_what_the_store_knows_counts_and_so_do_the_rows_before() -> None:
    past = [purchase(f"past-{i}", now=at(-60 + i)) for i in range(3)]
    with running(Store(past)) as api:
        rows = api.scores([purchase(f"t{i}", now=at(i)) for i in range(100)], explain=True)
        assert [attempts(row) for row in rows] == [4.0 + i for i in range(100)]
        assert rows[-1]["action"] == "decline"
        assert "card_burst" in rows[-1]["explanation"]["rules"]
        assert len(rows[-1]["explanation"]["reasons"]) > 1


def test_requests_do_not_know_of_one_another(api: Api) -> None:
    for _ in range(2):
        [row] = api.scores([purchase("t", now=NOW)], explain=True)
        assert attempts(row) == 1.0


def test_bad_rows_get_their_own_error_and_the_others_their_verdict(api: Api) -> None:
    naive = encode(purchase("naive", now=NOW)).replace(b"00:00Z", b"00:00")
    rows = api.scores([
        purchase("first", now=NOW), naive, b"7", b"{}", purchase("far", now=at(3600)), purchase("last", now=NOW),
        purchase("first", now=NOW, amount_minor=99), purchase("first", now=NOW),
    ])  # fmt: skip
    assert [row.get("error", {}).get("reason") for row in rows] == [
        None, "invalid", "invalid", "invalid", "future", None, "conflict", None,
    ]  # fmt: skip
    assert [row["transaction_id"] for row in rows] == [
        "first", "naive", None, None, "far", "last", "first", "first",
    ]  # fmt: skip
    assert "occurred_at" in rows[1]["error"]["detail"]
    assert rows[7] == rows[0], "a repeat is counted once and gets the same answer"


def test_a_row_that_makes_our_code_fail_is_its_own_error(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from ibook import features
    from ibook.edges import scoring

    def broken(bought: PurchaseRequested, computed: Any) -> Any:
        if bought.transaction_id == "bad":
            raise ZeroDivisionError("a bug")
        return vector_of(bought, computed)

    vector_of = features.vector_of
    monkeypatch.setattr(scoring, "vector_of", broken)
    rows = api.scores([purchase("good", now=NOW), purchase("bad", now=NOW), purchase("fine", now=NOW)])
    assert [row.get("error", {}).get("reason") for row in rows] == [None, "unscorable", None]


def test_a_row_that_can_not_be_decided_is_its_own_error(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from ibook import fraud
    from ibook.edges import scoring

    def broken(scores: Any, matrix: Any, purchases: Sequence[PurchaseRequested], *more: Any) -> Any:
        if any(each.transaction_id == "bad" for each in purchases):
            raise ZeroDivisionError("a bug")
        return decide_all(scores, matrix, purchases, *more)

    decide_all = fraud.decide_all
    monkeypatch.setattr(scoring, "decide_all", broken)
    rows = api.scores([purchase("good", now=NOW), purchase("bad", now=NOW), purchase("fine", now=NOW)])
    assert [row.get("error", {}).get("reason") for row in rows] == [None, "unscorable", None]


def test_a_chunk_that_fails_is_answered_and_the_next_request_is_served(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving import score_desk

    with monkeypatch.context() as patch:
        patch.setattr(score_desk, "decide", lambda *_: 1 / 0)
        [row] = api.scores([purchase("t", now=NOW)])
        assert row["error"]["reason"] == "unscorable"
    assert "action" in api.scores([purchase("t", now=NOW)])[0]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b"\xff", b'{"purchases": []}', b'{"purchases": {}}', b'{"purchases": [1], "else": 2}',
        b'{"purchases": [1], "deadline_ms": 0}', b'{"purchases": [1], "deadline_ms": "soon"}',
        b'{"purchases": [' + b"1," * 500 + b"1]}", b'{"purchases": [NaN]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_only_what_is_no_list_of_rows_is_refused_as_a_whole(api: Api, body: bytes) -> None:
    answer = api.client.post(PATH, content=body)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


def test_five_hundred_large_purchases_fit_and_a_larger_body_does_not(api: Api) -> None:
    large = dict.fromkeys(("user_id", "card_id", "device_id", "ip", "event_id", "email_domain"), "x" * 128)
    rows = [purchase(f"{i:0128}", now=NOW, message_id="m" * 128, **large) for i in range(500)]
    assert len(api.scores(rows)) == 500
    assert api.client.post(PATH, content=b" " * ((1 << 20) + 1)).status_code == 413


def test_a_store_that_is_away_means_rules_without_features_and_says_so() -> None:
    store = Store()

    def fail() -> None:
        raise FeatureUnavailable("away")

    store.before_read = fail
    with running(store) as api:
        [row] = api.scores([purchase("t", now=NOW, amount_minor=40_000)], explain=True)
    assert (row["posture"], row["score_band"], row["action"]) == ("no_features", "not_scored", "review")
    assert row["explanation"]["score"] is None


def test_a_store_that_does_not_answer_in_time_is_not_waited_for() -> None:
    store, go_on = Store(), threading.Event()
    store.before_read = lambda: go_on.wait(120)
    with running(store, settings=PATIENT) as api:
        try:
            [row] = api.scores([purchase("t", now=NOW)], deadline_ms=2000)
            assert (row["posture"], go_on.is_set()) == ("no_features", False)
        finally:
            go_on.set()
        [row] = api.scores([purchase("t", now=NOW)], deadline_ms=60_000)
        assert row["posture"] == "normal"


def test_what_is_not_scored_by_the_deadline_says_so_and_what_is_keeps_its_verdict(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving import score_chunk, score_desk

    decide, many = score_chunk.decide, [purchase(f"t{i}", now=at(i / 1000), key=str(i)) for i in range(500)]

    def scored(deadline_ms: int) -> list[dict[str, Any]]:
        calls, go_on = count(1), threading.Event()

        def stalls_at_the_second(*arguments: Any) -> Any:
            if next(calls) == 2:
                go_on.wait(120)
            return decide(*arguments)

        monkeypatch.setattr(score_desk, "decide", stalls_at_the_second)
        try:
            return api.scores(many, deadline_ms=deadline_ms)
        finally:
            go_on.set()

    for deadline_ms in (1500, 6_000, 24_000):  # a busy machine may not come to the first rows in time, and tries again
        rows = scored(deadline_ms)
        if "posture" in rows[0]:
            break
    assert [row.get("error", {}).get("reason", row.get("posture")) for row in rows] == (
        ["normal"] * CHUNK_ROWS + ["deadline"] * (500 - CHUNK_ROWS)
    )
    assert rows[-1]["transaction_id"] == "t499"


def test_no_heartbeat_an_old_one_and_no_model_have_their_postures() -> None:
    def posture(store: Store, **more: Any) -> str:
        with running(store, **more) as api:
            return api.scores([purchase("t", now=NOW)])[0]["posture"]  # type: ignore[no-any-return]

    unvouched, stale = Store(), Store()
    unvouched.heartbeat = None
    stale.heartbeat = encode_heartbeat(Heartbeat(to_us(at(-60)), {}, 1))
    assert posture(unvouched) == "no_features"
    assert posture(stale) == "stale_features"
    assert posture(Store(), model=None) == "rules_only"


def test_requests_that_wait_are_read_together() -> None:
    store, gate = Store(), threading.Event()
    store.before_read = lambda: gate.wait(120)
    with running(store, settings=PATIENT) as api:
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda i=i: found.extend(api.scores([purchase(f"t{i}", now=NOW)])))
            for i in range(9)
        ]
        threads[0].start()
        _until(lambda: store.reads == 1)
        for thread in threads[1:]:
            thread.start()
        _until(lambda: len(api.desk._waiting) == 8)
        gate.set()
        for thread in threads:
            thread.join()
    assert store.reads == 2
    assert {row["transaction_id"] for row in found} == {f"t{i}" for i in range(9)}


def test_who_comes_when_too_much_waits_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from serving import score_desk

    store, gate = Store(), threading.Event()
    store.before_read = lambda: gate.wait(120)
    with running(store, settings=PATIENT) as api:
        many = [purchase(f"t{i}", now=NOW) for i in range(500)]
        threads = [threading.Thread(target=api.post, args=(many,), kwargs={"deadline_ms": 60_000}) for _ in range(8)]
        for thread in threads:
            thread.start()
        _until(lambda: sum(each.left for each in tuple(api.desk._waiting)) > 3_500)
        answer = api.post(many)
        monkeypatch.setattr(score_desk, "decide", lambda *_: 1 / 0)  # nobody wants to know the rest
        gate.set()
        for thread in threads:
            thread.join()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_description_says_what_a_purchase_is_and_its_example_works(api: Api) -> None:
    described = api.client.get("/openapi.json").json()["paths"][PATH]["post"]
    content = described["requestBody"]["content"]["application/json"]
    assert set(content["schema"]["properties"]["purchases"]["items"]["required"]) <= set(EXAMPLE_PURCHASE)
    example = content["examples"]["one"]["value"]
    [row] = api.client.post(PATH, json={**example, "deadline_ms": 60_000}).json()["scores"]
    assert row["error"]["reason"] == "future", "the clock here is older than the example"


def test_scores_can_be_turned_off() -> None:
    settings = Settings(scores="off")
    app = create_app(settings, clock=ManualClock(NOW), snapshots=Snapshots(), journal=MemoryJournal())
    with TestClient(app) as client:
        assert client.post(PATH, content=b"{}").status_code == 404
        assert client.get("/readyz").json()["scores"] == "off"
