"""`ibook fraud backtest` on what the platform decided: real Kafka, real archive."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ibook.codec import encode
from ibook.edges.archive import archive_to_the_end
from ibook.edges.backtest import kinds_in_log
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.errors import BrokerUnavailable
from ibook.fraud import load_policy
from ibook.messages import FraudLabel, Message, Order, PaymentOutcome, PurchaseRequested, VerdictEvidence
from ibook.rules import DEFAULT_POLICY_PATH
from ibook.settings import Settings
from ibook.topics import FRAUD_EVIDENCE, FRAUD_LABELS, PAYMENT_OUTCOMES
from infra.local.processes import free_port
from tests.evidence import evidence_for
from tests.traffic import purchase
from tests.workers import environment

NOW = datetime.now(UTC) - timedelta(minutes=5)
LAXER = DEFAULT_POLICY_PATH.read_text().replace("decline = 0.60", "decline = 0.95")


def backtest(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "cli.main", "fraud", "backtest", *arguments]
    return subprocess.run(argv, env=environment(settings), capture_output=True, text=True, timeout=300, check=False)


def decided(bought: PurchaseRequested, offset: int, score: float, **changed: Any) -> VerdictEvidence:
    return replace(evidence_for(bought, offset, score=score), occurred_at=datetime.now(UTC), **changed)


def about(bought: PurchaseRequested) -> dict[str, Any]:
    return {field: getattr(bought, field) for field in Order.__struct_fields__} | {"occurred_at": datetime.now(UTC)}


def told(topic: str, messages: Sequence[Message]) -> list[Outgoing]:
    return [Outgoing(topic=topic, key=b"k", value=encode(message)) for message in messages]


@pytest.fixture
def logged(platform_settings: Settings) -> Settings:
    """Forty would-be declines, half of them let through at random; a quarter of those were frauds. Sixty approvals."""
    bought = [purchase(f"t{i}", now=NOW, key=f"{i}", amount_minor=10_000) for i in range(100)]
    evidence = [
        decided(each, i, 0.7, propensity=0.5, explored=i < 20, action="approve" if i < 20 else "decline")
        if i < 40 else decided(each, i, 0.01)
        for i, each in enumerate(bought)
    ]  # fmt: skip
    other = purchase("elsewhere", now=NOW, currency="USD")
    evidence += [decided(other, 100, 0.7), evidence[0], decided(bought[1], 101, 0.7, feature_names_hash="older")]
    settled = [PaymentOutcome(status="settled", **about(each)) for i, each in enumerate(bought) if not 20 <= i < 40]
    labels = [
        FraudLabel(source="chargeback", is_fraud=True, effective_at=NOW, **about(bought[i])) for i in range(0, 20, 4)
    ]  # fmt: skip
    publish(producer(platform_settings), [
        *told(FRAUD_EVIDENCE.name, evidence), *told(PAYMENT_OUTCOMES.name, settled), *told(FRAUD_LABELS.name, labels),
    ])  # fmt: skip
    archive_to_the_end(platform_settings)
    return platform_settings


def test_the_past_of_the_platform_is_decided_once_more(logged: Settings, tmp_path: Path) -> None:
    policy, out, page = tmp_path / "laxer.toml", tmp_path / "found.json", tmp_path / "page.html"
    policy.write_text(LAXER)
    done = backtest(logged, "--policy", str(policy), "--json", str(out), "--report", str(page))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert (found["purchases"], found["known"], found["currency"], found["moved"]) == (100, 80, "EUR", 40)
    assert found["left_out"] == {
        "were not in EUR": 1, "were decided again after a fault": 1, "were decided on other features": 1,
    }  # fmt: skip
    assert found["basis"] == {"known": 0, "explored": 20, "spoken_for": 40, "unknowable": 0}
    # They would be challenged: half of each is declined no more, half is approved no more; a quarter are frauds.
    fraud, honest = 12_000.0, 2_200.0
    expected = 40 * (0.25 * (0.5 - 0.1) * fraud + 0.75 * (0.5 - 0.1) * honest)
    assert found["saved"]["total"]["value"] == pytest.approx(expected)
    assert found["saved"]["total"]["low"] < expected < found["saved"]["total"]["high"]
    assert f"policy {load_policy(policy).version}".lower() in done.stdout.lower()
    html = page.read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", html), "the page needs nobody else"
    assert "all together" in html


def test_what_can_not_be_done_is_one_sentence(logged: Settings, tmp_path: Path) -> None:
    for arguments, sentence in (
        (("--since", "soon"), "--since 'soon' is no length of time like 12h, 7d or 4w."),
        (("--policy", "nowhere.toml"), "verdict policy nowhere.toml can't be read"),
        (("--current", "nowhere.toml"), "--current is for a history"),
        (("--currency", "CHF"), "There is nothing to compare"),
        (("--model", str(tmp_path)), "can't be read"),
    ):
        done = backtest(logged, *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert sentence in done.stderr


def test_a_kafka_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    away = Settings(kafka_bootstrap=f"127.0.0.1:{free_port()}", data_dir=tmp_path)
    with pytest.raises(BrokerUnavailable, match="No Kafka broker answers on"):
        kinds_in_log(away, datetime.now(UTC))
