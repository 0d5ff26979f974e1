"""What people see of the simulator: its lines, its refusals, its files."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ibook.errors import ConfigurationError
from simulator.__main__ import app, parse_end
from simulator.console import progress, summary
from simulator.sinks import read_parquet
from simulator.stats import ShopStats
from simulator.truth import read_truth

QUIET = ShopStats(
    seconds=10.0, rate_asked=50.0, rate_reached=49.9, lag_seconds=0.003, worst_lag_seconds=0.02, owed=0, purchases=499,
    verdicts=498, missing=1, conflicting=0, duplicated=0, unknown_verdicts=0, unreadable_verdicts=0, undelivered=0,
    actions={"approve": 490, "review": 8}, latency_ms={"p50": 12.0, "p95": 20.0, "p99": 31.0}, recent_latency_ms={},
    recall=0.5, precision=None, approved_without_verdict=0, held_without_verdict=1, quotes=1000, unquoted=0, sales=400,
    revenue_minor=1, messages={}, outcomes={}, events=(), attacks=(),
)  # fmt: skip


def test_the_progress_line_names_rate_lag_and_counts() -> None:
    line = progress(QUIET)
    for part in ("49.9/s of 50/s", "lag 3 ms", "purchases 499", "missing 1", "approve 490", "review 8", "quotes 1000"):
        assert part in line
    assert "CAN'T" not in line


@pytest.mark.parametrize("late", [replace(QUIET, lag_seconds=0.7), replace(QUIET, owed=80)])
def test_a_machine_that_cannot_hold_the_rate_says_so(late: ShopStats) -> None:
    assert "CAN'T HOLD THE RATE" in progress(late)


def test_the_summary_names_what_is_missing() -> None:
    text = "\n".join(summary(replace(QUIET, undelivered=3)))
    for part in ("missing 1", "conflicting 0", "held 1", "p99 31 ms", "recall 0.50", "did not take 3 messages"):
        assert part in text


@pytest.mark.parametrize("text", ["yesterday", "2026-03-01T12:00:00"])
def test_an_end_that_is_no_instant_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        parse_end(text)


def test_history_writes_messages_and_truth(tmp_path: Path) -> None:
    truth = tmp_path / "truth" / "truth.jsonl"
    arguments = ["history", "--hours", "2", "--purchases", "200", "--seed", "3", "--output", str(tmp_path / "past"),
                 "--truth", str(truth), "--end", "2026-03-01T12:00:00Z"]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    records = list(read_parquet(tmp_path / "past"))
    transactions, demand = read_truth(truth)
    assert sum(topic == "ticket-purchases" for topic, _, _ in records) == len(transactions)
    assert len(demand) == 120
    assert f"{len(records)} messages with {len(transactions)} purchases" in result.output
