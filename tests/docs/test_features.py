"""The engine can be used on any table as `docs/features.md` says."""

import subprocess
import sys
from pathlib import Path

from tests.docs.generated import ROOT
from tests.docs.snippets import named_blocks

BLOCKS = named_blocks(ROOT / "docs" / "features.md")


def test_the_worked_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    for name in ("withdrawals.csv", "table_features.py"):
        (tmp_path / name).write_text(BLOCKS[name])
    argv = [sys.executable, "table_features.py"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", BLOCKS["table_features.txt"])


def test_the_worked_example_needs_none_of_the_platforms_parts(tmp_path: Path) -> None:
    heavy = "{'faust', 'confluent_kafka', 'redis', 'feast', 'pandas', 'pyarrow'}"
    code = f"import sys, ibook.tables; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=240)
