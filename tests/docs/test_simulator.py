"""`docs/simulator.md` does what it says: its snippets judge a run, and its thresholds are read."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from typer.testing import CliRunner

from simulator.__main__ import app
from simulator.judgement import load_thresholds
from simulator.record import write_records
from simulator.truth import read_truth
from tests.docs.generated import ROOT
from tests.docs.snippets import named_blocks
from tests.simulated_runs import run

PAGE = (ROOT / "docs" / "simulator.md").read_text()
BLOCKS = named_blocks(ROOT / "docs" / "simulator.md")


def test_the_snippet_judges_records_and_writes_both_reports(tmp_path: Path) -> None:
    write_records(tmp_path / "runs.jsonl", (run(), run(missing=1, seed=8)))
    (tmp_path / "judge_a_run.py").write_text(BLOCKS["judge_a_run.py"])
    argv = [sys.executable, "judge_a_run.py"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.splitlines() == ["failed", "normal: latency.missing is 1, at most 0 was asked"]
    assert json.loads((tmp_path / "run.json").read_text())["verdict"] == "failed"
    assert (tmp_path / "run.html").read_text().startswith("<!DOCTYPE html>")


def test_the_bounds_shown_are_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(BLOCKS["mine.toml"])
    bounds = load_thresholds(tmp_path / "mine.toml")
    assert bounds.of("normal")["latency.p99_ms"].at_most == 100
    assert bounds.of("flash-sale")["latency.p99_ms"].at_most == 500


def test_seed_data_ends_at_the_same_time_every_day_so_that_everyone_has_the_same_bytes(tmp_path: Path) -> None:
    """What `make seed-data` runs, with fewer days and purchases."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    [recipe] = re.findall(r"^\t\$\(BIN\)/python -m simulator (history .*) \$\(ARGS\)$", makefile, re.MULTILINE)
    arguments = [*recipe.replace("$(OUTPUT)", str(tmp_path)).split(), "--days", "5", "--purchases", "60"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    rows = pq.read_table(tmp_path / "ticket-purchases.parquet", columns=["occurred_at"]).column(0)
    end, last = datetime(2026, 3, 1, tzinfo=UTC), pc.max(rows).as_py()
    assert end - timedelta(days=1) < last < end
    assert "up to 1 March 2026" in PAGE


def test_an_ordinary_minute_holds_as_much_fraud_as_the_page_says(tmp_path: Path) -> None:
    [said] = re.findall(r"holds (\d+) to (\d+) frauds of four to six kinds", PAGE)
    for seed in (0, 2):
        [command] = re.findall(r"`python -m simulator (run normal .*?) --seed 0 --to jsonl --truth truth.jsonl`", PAGE)
        files = ["--output", str(tmp_path / "run.jsonl"), "--truth", str(tmp_path / "truth.jsonl")]
        done = CliRunner().invoke(app, [*command.split(), "--seed", str(seed), "--to", "jsonl", *files])
        assert done.exit_code == 0, done.output
        frauds = [one.pattern for one in read_truth(tmp_path / "truth.jsonl")[0].values() if one.is_fraud]
        assert int(said[0]) <= len(frauds) <= int(said[1]) and 4 <= len(set(frauds)) <= 6
