"""What the judge remembers of the platform's evidence: the first of each purchase, and no more than it may."""

from ibook import codec
from ibook.settings import Settings
from simulator.evidence import EvidenceReader
from tests.bought import purchase
from tests.evidence import evidence_for


def reader(kept: int = 10) -> EvidenceReader:
    return EvidenceReader(Settings(), kept=kept)


def test_score_posture_model_and_rules_are_remembered() -> None:
    ear = reader()
    ear.take(codec.encode(evidence_for(purchase(1), 0, score=0.75)), 0.0)
    (heard,) = ear.found.values()
    assert (heard.transaction_id, heard.score, heard.posture, heard.model_version) == ("t1", 0.75, "normal", "1")
    assert heard.rules == ()


def test_the_first_evidence_counts_as_the_first_verdict_does() -> None:
    ear = reader()
    for score in (0.2, 0.9):
        ear.take(codec.encode(evidence_for(purchase(1), 0, score=score)), 0.0)
    assert ear.found["t1"].score == 0.2


def test_memory_is_bounded_and_the_oldest_are_forgotten() -> None:
    ear = reader(kept=3)
    for number in range(10):
        ear.take(codec.encode(evidence_for(purchase(number), number)), 0.0)
    assert list(ear.found) == ["t7", "t8", "t9"]


def test_what_cannot_be_read_is_counted() -> None:
    ear = reader()
    ear.take(b"{", 0.0)
    ear.take(None, 0.0)
    assert (ear.unreadable, len(ear.found)) == (2, 0)
