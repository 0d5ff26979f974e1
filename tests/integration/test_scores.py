"""Scores over HTTP on real Kafka and Redis: the answers of the stream, and an answer when Redis has none."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from ibook import codec
from ibook import messages as m
from ibook.edges.lag import features_behind
from ibook.edges.online_store import OnlineStore
from ibook.edges.policy_log import release as release_policy
from ibook.edges.rebuild import patient
from ibook.features import FEATURE_NAMES
from ibook.rules import DEFAULT_POLICY_PATH
from ibook.settings import Settings
from serving.app import create_app
from tests.tiny_models import TRAINED, write
from tests.traffic import missing, publish, purchase, purchases, read_all, verdicts
from tests.workers import running_workers, wait_until
from training.release import release

WORKERS = ("activity-to-entities", "entities-to-features", "purchases-to-verdicts")


@pytest.fixture(scope="module")
def settings(shared_platform_settings: Settings) -> Iterator[Settings]:
    """A platform with a past and a model, where chance approves nothing; a busy machine makes nothing stale."""
    patience = pytest.MonkeyPatch()
    patience.setenv("IBOOK_STALE_AFTER_SECONDS", "600")
    settings = shared_platform_settings.model_copy(update={"stale_after_seconds": 600.0, "score_longest_seconds": 60.0})
    write(settings.data_dir / "models", TRAINED)
    release(settings, TRAINED.model.version, why="test")
    policy = DEFAULT_POLICY_PATH.read_text().replace("share = 0.02", "share = 0.0")
    release_policy(settings, policy, "test", released_by="test", why="answers over HTTP are never explored")
    with running_workers(settings, WORKERS):
        sent = purchases("past", 200, keys=20)
        publish(settings, sent)
        wait_until(lambda: not missing(sent, verdicts(settings)), 60, "the past's verdicts")
        yield settings
    patience.undo()


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        first = client.post("/v1/fraud/scores", json={"purchases": [{}]})
        assert (first.status_code, first.headers["retry-after"]) == (503, "5")
        wait_until(lambda: client.get("/readyz").json()["scores"] == "ready", 90, "the scores to be ready")
        yield client


def scores(client: TestClient, bought: Sequence[m.PurchaseRequested], deadline_ms: float) -> list[dict[str, Any]]:
    rows = [msgspec.to_builtins(each) for each in bought]
    body = {"purchases": rows, "deadline_ms": deadline_ms, "explain": True}
    answer = client.post("/v1/fraud/scores", content=msgspec.json.encode(body))
    assert answer.status_code == 200, answer.text
    return answer.json()["scores"]  # type: ignore[no-any-return]


def evidence(settings: Settings) -> dict[str, m.VerdictEvidence]:
    found = [codec.decode(value, m.VerdictEvidence) for *_, value in read_all(settings, "fraud-evidence")]
    return {each.transaction_id: each for each in found}


def as_explained(each: m.VerdictEvidence) -> dict[str, Any]:
    """Evidence as an answer over HTTP tells it."""
    explanation = {
        "score": each.score, "threshold": each.threshold, "rules": each.rules, "propensity": each.propensity,
        "reasons": msgspec.to_builtins(each.reasons), "explored": each.explored,
        "features": dict(zip(FEATURE_NAMES, each.features, strict=True)),
    }  # fmt: skip
    return {
        "transaction_id": each.transaction_id, "action": each.action, "posture": each.posture,
        "model_version": each.model_version, "policy_version": each.policy_version, "explanation": explanation,
    }  # fmt: skip


def test_the_answers_are_those_of_the_stream(settings: Settings, client: TestClient) -> None:
    store = OnlineStore(patient(settings))
    wait_until(lambda: features_behind(settings, store) == 0, 60, "features")
    now = datetime.now(UTC)
    burst = [purchase(f"burst-{i}", key="3", now=now + timedelta(milliseconds=i)) for i in range(8)]
    others = [purchase(f"dear-{i}", key=f"new-{i}", now=now, amount_minor=90_000, ip_country="BR") for i in range(8)]
    asked = [scores(client, burst, 60_000), *(scores(client, [each], 60_000) for each in others)]
    answered = {row["transaction_id"]: row for rows in asked for row in rows}
    publish(settings, burst)
    wait_until(lambda: not missing(burst, verdicts(settings)), 60, "verdicts")
    known = evidence(settings)
    for each in burst:
        found, expected = answered[each.transaction_id], as_explained(known[each.transaction_id])
        assert found["explanation"].pop("staleness_seconds") is not None
        assert found.pop("score_band") == verdicts(settings)[each.transaction_id][0].score_band
        assert found.pop("decided_at")
        features, expected_features = (each["explanation"].pop("features") for each in (found, expected))
        assert {name: value for name, value in features.items() if value != expected_features[name]} == {}
        assert found == expected
    assert "decline" in {each.action for each in known.values()}


def test_a_silent_redis_costs_features_and_no_time(settings: Settings, client: TestClient) -> None:
    def answer() -> dict[str, Any]:
        with Redis.from_url(settings.redis_url) as redis:
            redis.execute_command("CLIENT", "PAUSE", 2500, "ALL")
        return scores(client, [purchase("silent")], 600)[0]

    wait_until(lambda: _without_features(answer()), 20, "an answer while Redis is silent")
    wait_until(
        lambda: scores(client, [purchase("back")], 60_000)[0]["posture"] == "normal", 60, "features to be back"
    )  # fmt: skip


def _without_features(row: dict[str, Any]) -> bool:
    return row.get("posture") == "no_features" and row["explanation"]["score"] is None
