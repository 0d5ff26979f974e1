"""`docs/simulator.md` does what it says: its snippets judge a run, and its thresholds are read."""

import json
import subprocess
import sys
from pathlib import Path

from simulator.judgement import load_thresholds
from simulator.record import write_records
from tests.docs.generated import ROOT
from tests.docs.snippets import named_blocks
from tests.simulated_runs import run

BLOCKS = named_blocks(ROOT / "docs" / "simulator.md")


def test_the_snippet_judges_records_and_writes_both_reports(tmp_path: Path) -> None:
    write_records(tmp_path / "runs.jsonl", (run(), run(missing=1, seed=8)))
    (tmp_path / "judge_a_run.py").write_text(BLOCKS["judge_a_run.py"])
    argv = [sys.executable, "judge_a_run.py"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["failed", "normal: latency.missing is 1, at most 0 was asked"]
    assert json.loads((tmp_path / "run.json").read_text())["verdict"] == "failed"
    assert (tmp_path / "run.html").read_text().startswith("<!DOCTYPE html>")


def test_the_bounds_shown_are_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(BLOCKS["mine.toml"])
    bounds = load_thresholds(tmp_path / "mine.toml")
    assert bounds.of("normal")["latency.p99_ms"].at_most == 100
    assert bounds.of("flash-sale")["latency.p99_ms"].at_most == 500
