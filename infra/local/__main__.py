"""`python -m infra.local`: run Kafka and Redis until Ctrl-C, and print how to reach them.

`… fetch` only downloads Kafka; `… prepare` makes topics, Feast's registry and a first model where the settings say.
"""

import argparse
import contextlib
import signal
import sys
from pathlib import Path

from ibook.errors import IbookError
from ibook.settings import load_settings
from infra.local.backends import local_parts
from infra.local.jars import kafka_jars
from infra.local.jobs import prepare
from infra.local.processes import interrupt_on_signals


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("run", "fetch", "prepare"), default="run")
    parser.add_argument("--data-dir", type=Path, help="where data and logs go (default: IBOOK_DATA_DIR/parts)")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "fetch":
            kafka_jars()
        elif arguments.command == "prepare":
            prepare(load_settings(), print)
        else:
            run(arguments.data_dir)
    except IbookError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(data_dir: Path | None) -> None:
    """Start the parts, say where they are, wait for Ctrl-C or SIGTERM."""
    settings = load_settings()
    interrupt_on_signals()
    with (
        contextlib.suppress(KeyboardInterrupt),
        local_parts(settings, data_dir or settings.data_dir / "parts") as parts,
    ):
        print(f"export IBOOK_KAFKA_BOOTSTRAP={parts.kafka_bootstrap} IBOOK_REDIS_URL={parts.redis_url}", flush=True)
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
