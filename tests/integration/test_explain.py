"""A purchase's story from a real broker and the archive: complete, in order, and honest about what is not there."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from ibook import codec
from ibook.clock import SystemClock
from ibook.edges import kafka_admin
from ibook.edges.archive import archive_to_the_end
from ibook.edges.explain import explain
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.features import FEATURE_NAMES
from ibook.letters import letter_id
from ibook.messages import (
    Action,
    DeadLetterRedriven,
    FraudLabel,
    FraudVerdict,
    ModelReleased,
    PaymentOutcome,
    PolicyReleased,
    PurchaseRequested,
    QuoteIssued,
    StatePosition,
    VerdictEvidence,
)
from ibook.partitioning import partition_of
from ibook.settings import Settings
from ibook.story import Story
from tests.evidence import evidence_for
from tests.letters import letter
from tests.tiny_models import TEST, TRAINED, metadata, released
from tests.traffic import purchase, purchases
from training.artefact import write_artefact

QUOTE = "q" * 92
NOW = datetime.now(UTC)
BOUGHT = purchase("t-1", key="1", quote_id=QUOTE)
ORDER = {
    name: getattr(BOUGHT, name)
    for name in ("transaction_id", "user_id", "card_id", "device_id", "ip", "event_id", "amount_minor", "currency",
                 "n_tickets", "quote_id")
}  # fmt: skip


class Log:
    """Writes messages, each acknowledged before the next: the broker's times are in this order."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._client = producer(settings)

    def put(self, topic: str, *messages: Any, key: str = "t-1", partition: int = -1, **headers: bytes) -> None:
        values = [each if isinstance(each, bytes) else codec.encode(each) for each in messages]
        publish(self._client, [
            Outgoing(topic=topic, key=key.encode(), partition=partition, value=value, headers=tuple(headers.items()))
            for value in values
        ])  # fmt: skip
        time.sleep(0.005)  # the logs' clocks count milliseconds: what is told in order must not be of the same one

    def story(self) -> Story:
        return explain(self.settings, "t-1", SystemClock(), seconds=300)


@pytest.fixture
def log(platform_settings: Settings) -> Log:
    return Log(platform_settings)


def verdict(action: Action) -> FraudVerdict:
    return FraudVerdict(
        message_id=f"v-{action}", occurred_at=NOW, transaction_id="t-1", action=action, score_band="high",
        posture="normal", model_version="1",
    )  # fmt: skip


def decided(bought: PurchaseRequested, offset: int, **changes: Any) -> VerdictEvidence:
    state = StatePosition(entity="card", key="card-1", updates_partition=2, updates_offset=7,
                          folded=[("ticket-purchases", 1, 3, 4, 2)])  # fmt: skip
    return msgspec.structs.replace(
        evidence_for(bought, offset), source=("ticket-purchases", 1, offset), states=[state], **changes
    )


def outcome(status: Any) -> PaymentOutcome:
    return PaymentOutcome(message_id=f"o-{status}", occurred_at=NOW, status=status, **ORDER)


def tell_it_all(log: Log) -> None:
    """A declined purchase's whole life, with others around it."""
    issued = QuoteIssued(
        message_id="q", occurred_at=NOW, quote_id=QUOTE, event_id="event-1", ticket_type="standard", currency="EUR",
        price_minor=2500, slot=1, arm=2, propensity=0.25, policy_version=4, expires_at=NOW + timedelta(minutes=10),
    )  # fmt: skip
    log.put("quote-journal", issued, key=QUOTE, partition=partition_of("event-1", log.settings.partitions))
    log.put("ticket-purchases", *purchases("other", 30), partition=1)
    log.put("ticket-purchases", b"{", key="card", partition=1)
    log.put("ticket-purchases", BOUGHT, partition=1)
    log.put("fraud-evidence", decided(BOUGHT, 31, action="decline", rules=["card_testing"]), partition=1)
    log.put("fraud-verdicts", verdict("decline"), partition=1)
    log.put("fraud-verdicts", verdict("approve"), partition=1)
    log.put("ticket-purchases", BOUGHT, partition=3)
    log.put("payment-outcomes", outcome("settled"))
    log.put("payment-outcomes", outcome("refunded"), partition=0)
    label = FraudLabel(
        message_id="l", occurred_at=NOW, source="chargeback", is_fraud=True, effective_at=BOUGHT.occurred_at, **ORDER
    )
    log.put("fraud-labels", label)
    about = letter(32, topic="ticket-purchases", partition=1, headers=[("transaction_id", b"t-1")], occurred_at=NOW)
    log.put("dead-letters", about)
    log.put("dead-letters", letter(5, topic="ticket-purchases", partition=1, occurred_at=NOW))
    again = DeadLetterRedriven(message_id="r", occurred_at=NOW, letter=letter_id("ticket-purchases", 1, 32), attempt=1)
    log.put("dead-letters", again)


def test_the_story_is_told_in_order_with_positions_from_every_log(log: Log) -> None:
    tell_it_all(log)
    story = log.story()
    assert [(each.what, each.where.rsplit(":", 1)[0]) for each in story.chapters if each.what != "payment"] == [
        ("quote", f"quote-journal:{partition_of('event-1', log.settings.partitions)}"),
        ("purchase", "ticket-purchases:1"), ("evidence", "fraud-evidence:1"), ("verdict", "fraud-verdicts:1"),
        ("verdict conflict", "fraud-verdicts:1"), ("purchase again", "ticket-purchases:3"),
        ("refund", "payment-outcomes:0"),
        ("label", "fraud-labels:2"),
        ("dead letter", "dead-letters:0"), ("redriven", "dead-letters:0"),
    ]  # fmt: skip
    assert [each.what for each in story.missing] == ["1 in policy-releases", "1 in model-releases"]
    assert all(earlier.at <= later.at for earlier, later in zip(story.chapters, story.chapters[1:], strict=False))
    assert story.why is not None
    assert (story.why.action, story.why.rules) == ("decline", ["card_testing"])
    assert story.why.states == [{
        "entity": "card", "key": "card-1", "position": "entity-updates:2:7", "folded": ["ticket-purchases:1:3–4 (2)"],
    }]  # fmt: skip
    first, second = (each.sentence for each in story.chapters if each.what.startswith("verdict"))
    assert first.startswith("Verdict: decline (high), posture normal, ")
    assert second == "A second verdict, approve: it CONTRADICTS the first, and does not count."


def test_what_is_missing_is_named_with_where_it_was_looked_for(log: Log) -> None:
    log.put("ticket-purchases", BOUGHT)
    story = log.story()
    assert [each.what for each in story.chapters] == ["purchase"]
    looked = {each.what: each.looked for each in story.missing}
    assert set(looked) == {"evidence", "verdict", "quote", "payment", "label"}
    assert looked["verdict"].startswith("fraud-verdicts since ")


def test_a_purchase_that_nobody_can_read_is_found_by_its_header(log: Log) -> None:
    log.put("ticket-purchases", b"{", key="card", transaction_id=b"t-1")
    log.put("fraud-verdicts", verdict("review"), partition=2)
    story = log.story()
    assert next(each.sentence for each in story.chapters) == "A purchase that nobody can read."
    assert "verdict" in {each.what for each in story.chapters}


def test_the_archive_tells_what_the_topics_have_forgotten(log: Log) -> None:
    others = enumerate(purchases("archived", 50))
    log.put("fraud-evidence", *(decided(other, offset) for offset, other in others), partition=1)
    log.put("fraud-evidence", decided(BOUGHT, 77), partition=1)
    assert archive_to_the_end(log.settings) == 51
    kafka_admin.delete_topics(log.settings, ["fraud-evidence"])
    kafka_admin.apply_topics(log.settings)
    story = log.story()
    assert [(each.what, each.where) for each in story.chapters] == [
        ("purchase", "ticket-purchases:1:77"), ("evidence", "fraud-evidence:1:50"),
    ]  # fmt: skip
    assert story.why is not None
    assert {each.feature: each.value for each in story.why.features}["amount_minor"] == BOUGHT.amount_minor


def test_features_that_moved_the_score_come_first_and_the_release_is_named(log: Log) -> None:
    write_artefact(log.settings.data_dir / "models", metadata(TRAINED), TRAINED, TEST)
    release: ModelReleased = released(TRAINED, released_by="ana", why="recall")
    log.put("model-releases", release, key="fraud", partition=0)
    policy = PolicyReleased(
        message_id="p", occurred_at=NOW, policy="fraud", version="1", text="", sha256="0" * 64, released_by="bea"
    )
    log.put("policy-releases", policy, key="fraud", partition=0)
    row = TEST.features[0]
    features = [None if value != value else value for value in row.tolist()]
    log.put("ticket-purchases", BOUGHT, partition=1)
    evidence = decided(BOUGHT, 0, features=features, model_version=TRAINED.model.version)
    log.put("fraud-evidence", evidence, partition=1)
    story = log.story()
    assert story.why is not None
    assert (story.model["released_by"], story.model["why"]) == ("ana", "recall")
    assert (story.policy["version"], story.policy["released_by"]) == ("1", "bea")
    weights = dict(zip(FEATURE_NAMES, TRAINED.model.contributions(row[None])[0].tolist(), strict=True))
    assert {each.feature: each.contribution for each in story.why.features} == pytest.approx(weights)
    moved = [abs(each.contribution or 0.0) for each in story.why.features]
    assert moved == sorted(moved, reverse=True)
    assert moved[0] == np.max(np.abs(list(weights.values())))


def test_the_command_prints_a_story_and_refuses_what_nobody_knows(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBOOK_KAFKA_BOOTSTRAP", log.settings.kafka_bootstrap)
    monkeypatch.setenv("IBOOK_DATA_DIR", str(log.settings.data_dir))
    tell_it_all(log)
    printed = CliRunner().invoke(app, ["explain", "t-1"], catch_exceptions=False).output
    assert "Why decline: score 0.2500, threshold 0.6000, posture normal" in printed
    assert "entity-updates:2:7" in printed
    told = json.loads(CliRunner().invoke(app, ["explain", "t-1", "--json"], catch_exceptions=False).output)
    assert told["transaction_id"] == "t-1"
    assert len(told["why"]["features"]) == len(FEATURE_NAMES)
    unknown = subprocess.run(
        [sys.executable, "-m", "cli.main", "explain", "nobody"], capture_output=True, text=True, timeout=240,
        check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("Nothing is known of transaction 'nobody'. Looked at: ticket-purchases since ")
