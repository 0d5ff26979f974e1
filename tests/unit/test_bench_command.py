"""`python -m bench` says under which conditions it measures, and ends in order."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_measurement_leaves_nothing_and_ends_with_130(tmp_path: Path, stop: signal.Signals) -> None:
    environment = {**os.environ, "IBOOK_DATA_DIR": str(tmp_path), "IBOOK_KAFKA_BOOTSTRAP": "nobody.invalid:9092"}
    argv = [sys.executable, "-m", "bench", "simulator", "--purchases", "400000", "--json", str(tmp_path / "bench.json")]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as bench:
        assert bench.stdout is not None
        conditions = bench.stdout.readline()
        bench.send_signal(stop)
        rest, _ = bench.communicate(timeout=300)
    assert "cores, " in conditions and "load " in conditions
    assert rest == "Stopped before its end; nothing is left running.\n"
    assert bench.returncode == 130
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
