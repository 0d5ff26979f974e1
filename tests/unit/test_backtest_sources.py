"""Which decisions of an archive are decided once more, and what is known of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ibook.clock import to_us
from ibook.codec import encode
from ibook.edges.archive import Archive
from ibook.edges.archive_writer import ArchiveWriter, Limits
from ibook.edges.backtest import Kinds, LeftOut, archived, newest_decision
from ibook.errors import ConfigurationError
from ibook.messages import FraudLabel, Order, PaymentOutcome, PurchaseRequested, VerdictEvidence
from ibook.topics import FRAUD_EVIDENCE
from tests.evidence import evidence_for
from tests.traffic import purchase

NOW = datetime(2026, 3, 10, 0, 30, tzinfo=UTC)


def decided(name: str, offset: int, hours_ago: float = 0.0, **changed: Any) -> VerdictEvidence:
    at = NOW - timedelta(hours=hours_ago)
    bought = purchase(name, now=at, currency=changed.pop("currency", "EUR"))
    return replace(evidence_for(bought, offset), occurred_at=at, **changed)


def archive_with(folder: Path, *rows: VerdictEvidence) -> Archive:
    writer = ArchiveWriter(folder, Limits(), lambda: 0.0)
    writer.begin(FRAUD_EVIDENCE.name, 0, 0)
    for offset, row in enumerate(sorted(rows, key=lambda each: each.occurred_at)):
        writer.take(FRAUD_EVIDENCE.name, 0, offset, to_us(row.occurred_at) // 1000, encode(row))
    assert writer.flush()
    return Archive(folder)


def test_each_decision_of_the_time_asked_for_is_taken_once(tmp_path: Path) -> None:
    archive = archive_with(
        tmp_path, decided("long ago", 0, 40 * 24), decided("before midnight", 1, 1), decided("newest", 2),
        decided("before midnight", 3, 0.9), decided("dollars", 4, 0.5, currency="USD"),
        decided("older features", 5, 0.4, feature_names_hash="x"), decided("unreadable", 6, 0.3, purchase=None),
    )  # fmt: skip
    until, left_out = newest_decision(archive), LeftOut()
    found = list(archived(archive, until - timedelta(days=7), until, left_out))
    assert until == NOW
    assert [each.purchase.transaction_id for each in found] == ["before midnight", "newest"]
    assert left_out.currency == "EUR"
    assert left_out.counts == {
        "were decided again after a fault": 1, "were not in EUR": 1, "were decided on other features": 1,
        "could not be read": 1,
    }  # fmt: skip
    dollars = LeftOut(currency="USD")
    assert len(list(archived(archive, until - timedelta(days=7), until, dollars))) == 1


def test_an_archive_without_verdicts_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no verdicts"):
        newest_decision(Archive(tmp_path))


def about(bought: PurchaseRequested) -> dict[str, Any]:
    return {field: getattr(bought, field) for field in Order.__struct_fields__}


def test_what_became_of_a_purchase_is_its_label_its_payment_or_not_known() -> None:
    fraud, honest, refused, retried, open_, cleared = (purchase(f"t{i}", now=NOW) for i in range(6))
    later = {"occurred_at": NOW + timedelta(days=3)}
    kinds = Kinds.of([
        *(PaymentOutcome(status="settled", **about(each)) for each in (fraud, honest, retried, cleared)),
        *(PaymentOutcome(status="declined", **about(each)) for each in (refused, retried)),
        FraudLabel(source="chargeback", is_fraud=True, effective_at=NOW, **about(fraud) | later),
        FraudLabel(source="early_warning", is_fraud=True, effective_at=NOW, **about(cleared)),
        FraudLabel(source="reversal", is_fraud=False, effective_at=NOW, **about(cleared) | later),
    ])  # fmt: skip
    assert [kinds(each.transaction_id) for each in (fraud, honest, refused, retried, open_, cleared)] == [
        "fraud", "honest", "nothing", "honest", None, "honest",
    ]  # fmt: skip
    assert sorted(kinds.delays_days) == [0.0, 3.0]
