"""`ibook fraud backtest` on a simulated history: nothing has to run."""

import json
import subprocess
import sys
from pathlib import Path

from ibook.rules import DEFAULT_POLICY_PATH
from ibook.settings import Settings
from tests.workers import environment
from training.history import simulated


def backtest(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "cli.main", "fraud", "backtest", *arguments]
    return subprocess.run(argv, env=environment(settings), capture_output=True, text=True, timeout=300, check=False)


def test_on_a_simulated_history_what_was_let_through_is_known(tmp_path: Path) -> None:
    folder, out, settings = tmp_path / "history", tmp_path / "found.json", Settings(data_dir=tmp_path)
    with simulated(folder, hours=24.0, purchases=1_500, seed=4, end="2026-01-05T00:00:00+00:00"):
        pass
    tried = tmp_path / "tried.toml"
    rule = '[[rules]]\nid = "everything"\nwhy = "Why not."\naction = "review"\nseverity = "low"\nowner = "test"\n'
    tried.write_text(DEFAULT_POLICY_PATH.read_text() + rule + 'reason = "amount"\nwhen = "amount_minor >= 0"\n')
    done = backtest(settings, "--policy", str(tried), "--history", str(folder), "--json", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["moved"] == found["basis"]["known"] + found["basis"]["unknowable"] > 500
    assert found["decisions"]["approve"]["after"] == 0
    assert found["saved"]["reviews"]["value"] < 0 < found["saved"]["disputes"]["value"]
    rule_hits = found["rules"]["everything"]
    assert (rule_hits["hits"], rule_hits["hits_before"]) == (found["purchases"], 0)

    same = backtest(settings, "--history", str(folder), "--json", str(out))
    assert same.returncode == 0
    found = json.loads(out.read_text())
    assert found["moved"] == 0
    assert {value for saving in found["saved"].values() for value in saving.values()} == {0}
    assert "Every decision is the same" in same.stdout
