"""A real worker process for the supervisor's tests: `python -m tests.tiny_worker [obedient|stubborn|broken]`.

`obedient` is ready at once and ends on SIGTERM, `stubborn` ignores SIGTERM, `broken` ends before it is ready.
"""

import os
import signal
import sys
from pathlib import Path

from ibook.settings import load_settings


def main(manner: str) -> int:
    settings = load_settings()
    print(f"{manner} worker uses {settings.kafka_bootstrap}", flush=True)
    if manner == "broken":
        print("the reason it broke", flush=True)
        return 3
    if manner == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(os.environ["IBOOK_READY_FILE"]).touch()
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "obedient"))
