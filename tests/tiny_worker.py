"""A real worker process for tests of those who look after one: `python -m tests.tiny_worker [MANNER]`.

`obedient` is ready at once and ends on SIGTERM, `stubborn` ignores SIGTERM, `broken` ends before it is ready, `frozen`
finds soon after its first start that it stood still, and is obedient after its second.
"""

import os
import signal
import sys
from pathlib import Path

from ibook.settings import load_settings
from tests.workers import STOOD_STILL


def main(manner: str) -> int:
    settings = load_settings()
    print(f"{manner} worker uses {settings.kafka_bootstrap}", flush=True)
    if manner == "broken":
        print("the reason it broke", flush=True)
        return 3
    if manner == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready = Path(os.environ["IBOOK_READY_FILE"])
    if manner == "frozen" and not ready.exists():
        ready.touch()
        print(STOOD_STILL, flush=True)
        return 1
    ready.touch()
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "obedient"))
