"""Where a past comes from: a folder of Parquet files, written by the simulator or by an archive.

One file per topic, `<topic>.parquet`, with the columns `position` (order among messages of one instant),
`occurred_at` and `value` (the message as JSON).
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ibook.codec import decode
from ibook.errors import ConfigurationError, InvalidMessage
from ibook.replay import Recorded
from ibook.topics import FEATURE_SOURCES, TICKET_PURCHASES, Topic


def read_history(folder: Path) -> list[Recorded]:
    """Every message the features are made of, in the order of `occurred_at`; other topics are left out.

    Raises ConfigurationError when there are no purchases, or a file is not what it should be.
    """
    if not (folder / f"{TICKET_PURCHASES.name}.parquet").exists():
        raise ConfigurationError(f"History {folder} has no {TICKET_PURCHASES.name}.parquet.")
    rows = [row for topic in FEATURE_SOURCES for row in _rows(folder / f"{topic.name}.parquet", topic)]
    rows.sort(key=lambda row: row[:2])
    return [recorded for _, _, recorded in rows]


def _rows(path: Path, topic: Topic) -> Iterator[tuple[int, int, Recorded]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return
    try:
        table = pq.read_table(path, columns=["occurred_at", "position", "value"])
        instants = table["occurred_at"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
        for us, position, value in zip(
            instants, table["position"].to_pylist(), table["value"].to_pylist(), strict=True
        ):
            yield us, position, Recorded(topic.name, decode(value, topic.message))
    except (pa.ArrowException, OSError, InvalidMessage) as error:
        raise ConfigurationError(f"History file {path} can't be read: {error}.") from error


@contextmanager
def simulated(folder: Path, *, hours: float, purchases: int, seed: int, end: str) -> Iterator[None]:
    """Have the simulator write a past into `folder`; it runs beside the body and is done when the body is left.

    Raises ConfigurationError with its last words when it fails.
    """
    command = [
        sys.executable, "-m", "simulator", "history", "--to", "parquet", "--output", str(folder),
        "--hours", str(hours), "--purchases", str(purchases), "--seed", str(seed), "--end", end,
        "--truth", str(folder / "truth.jsonl"),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield
            output, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        last = output.strip().splitlines()[-1:] or ["no output"]
        raise ConfigurationError(f"The simulator wrote no history: {last[0]}")
