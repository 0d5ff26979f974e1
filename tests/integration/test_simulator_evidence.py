"""The judge's ear against real Kafka: it hears scores from the moment the shop opens, and all of them."""

from pathlib import Path

import pytest

from ibook.edges.kafka import Outgoing, producer, publish
from ibook.settings import Settings
from ibook.topics import FRAUD_EVIDENCE
from simulator import evidence
from simulator.evidence import EvidenceReader

EXAMPLES = Path(__file__).parents[1] / "contracts" / "examples" / FRAUD_EVIDENCE.name / "verdict_evidence.v1"


def write(settings: Settings, *payloads: bytes) -> None:
    publish(producer(settings), [Outgoing(topic=FRAUD_EVIDENCE.name, key=b"t", value=each) for each in payloads])


def test_evidence_of_the_time_before_is_left_alone_and_the_last_one_is_waited_for(
    platform_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "FINISH_SECONDS", 120.0)
    before, then = (EXAMPLES / "purchase_unreadable.json").read_bytes(), (EXAMPLES / "declined.json").read_bytes()
    write(platform_settings, before)
    reader = EvidenceReader(platform_settings)
    reader.start()
    later = [then.replace(b"tx-1001", f"tx-{number}".encode()) for number in range(1_000)]
    write(platform_settings, b"nobody can read this", *later)
    reader.stop()
    assert list(reader.found) == [f"tx-{number}" for number in range(1_000)]
    assert reader.unreadable == 1
