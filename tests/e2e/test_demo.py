"""The demo as a newcomer runs it, shortened: real parts, a trained model, an attack, an audit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], dict[str, object], Path]:
    folder = tmp_path_factory.mktemp("demo")
    report = folder / "demo.json"
    command = [sys.executable, "-m", "cli.main", "demo", "--seconds", "30", "--rate", "30"]
    done = subprocess.run(
        [*command, "--data-dir", str(folder), "--json", str(report)],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done, json.loads(report.read_text()), folder


Ran = tuple[subprocess.CompletedProcess[str], dict[str, object], Path]


def test_every_purchase_past_and_live_has_its_one_verdict(ran: Ran) -> None:
    _, report, _ = ran
    assert report["purchases"] == report["verdicts"]
    assert (report["missing"], report["conflicting"]) == (0, 0)
    assert isinstance(report["purchases"], int)
    assert report["purchases"] > 300
    assert isinstance(report["history_purchases"], int)
    assert report["history_purchases"] > 1000


def test_the_summary_has_every_figure(ran: Ran) -> None:
    _, report, _ = ran
    for name in ("purchases", "verdicts", "missing", "conflicting", "duplicated", "quotes", "sales", "dead_letters"):
        assert isinstance(report[name], int), name
    for name in ("recall", "precision"):
        assert isinstance(report[name], float), name
    assert {"p50", "p95", "p99"} <= set(report["latency_ms"])  # type: ignore[call-overload]
    assert "p95" in report["freshness_ms"]  # type: ignore[operator]
    assert report["freshness_ms"]["never_seen"] < 100, "of 300; a busy machine may be late with some"  # type: ignore[index]
    assert sum(report["actions"].values()) == report["verdicts"]  # type: ignore[attr-defined]


def test_every_value_served_is_what_the_log_gives(ran: Ran) -> None:
    _, report, _ = ran
    parity: dict[str, Any] = report["parity"]  # type: ignore[assignment]
    assert report["agrees"]
    assert (parity["mismatches"], parity["mismatches_by_feature"]) == (0, {}), parity["examples"]
    assert (parity["updates_missing"], parity["updates_extra"]) == (0, 0), parity["examples"]
    assert parity["verdicts"] > 1000
    assert parity["values_checked"] == parity["verdicts"] * parity["features"]
    assert {"p50", "p95", "p99"} <= set(parity["staleness_ms"])


def test_parity_can_be_asked_for_again_when_nothing_runs(ran: Ran) -> None:
    _, report, folder = ran
    out = folder / "parity.json"
    command = [sys.executable, "-m", "cli.main", "features", "parity", "--data-dir", str(folder), "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    again, after = json.loads(out.read_text()), report["parity"]
    assert [again[key] for key in ("mismatches", "updates_missing", "updates_extra")] == [0, 0, 0]
    assert again["values_checked"] == after["values_checked"]  # type: ignore[index]


def test_an_emptied_store_is_filled_from_the_kept_data_when_nothing_runs(ran: Ran) -> None:
    *_, folder = ran
    command = [sys.executable, "-m", "cli.main", "features", "rebuild", "--data-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("The online store is whole.\n")
    assert " states from the archive" in done.stdout


def test_prices_were_quoted_and_tickets_sold(ran: Ran) -> None:
    _, report, _ = ran
    assert report["quotes"] > report["sales"] > 0  # type: ignore[operator]


def test_broken_messages_are_dead_letters(ran: Ran) -> None:
    _, report, _ = ran
    assert report["dead_letters"] >= 7  # type: ignore[operator]


def test_an_attack_was_launched_and_some_of_it_caught(ran: Ran) -> None:
    done, report, _ = ran
    (attack,) = report["attacks"]  # type: ignore[misc]
    assert attack["caught"] > 0  # type: ignore[has-type]
    assert "because of" in done.stdout


def test_nothing_is_left_running(ran: Ran) -> None:
    _, _, folder = ran
    left = [
        p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])
    ]
    assert left == []
