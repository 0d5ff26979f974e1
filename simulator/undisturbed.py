"""What Python does beside running the shop, kept from stopping it."""

import gc
import sys

RARELY = 1000
"""Full collections once in so many of the middle generation's, instead of ten."""
SWITCH_SECONDS = 0.0005
"""Longest one thread holds up the others, instead of 5 ms: the shop's own must not wait for one that reads verdicts."""


class Undisturbed:
    """Keeps full collections away for a while, and lets threads take turns more quickly.

    With 20,000 visitors on their way a full collection takes half a second on one core, several times a minute, and
    all threads wait: what is measured then is the collector. Young garbage is collected as ever.
    """

    def __init__(self) -> None:
        self._before: tuple[tuple[int, int, int], float] | None = None

    def begin(self) -> None:
        """Collect once more, then leave what is there alone."""
        gc.collect()
        gc.freeze()
        if self._before is None:
            self._before = gc.get_threshold(), sys.getswitchinterval()
            gc.set_threshold(*self._before[0][:2], RARELY)
            sys.setswitchinterval(SWITCH_SECONDS)

    def end(self) -> None:
        """As before."""
        if self._before is not None:
            thresholds, switch_seconds = self._before
            gc.set_threshold(*thresholds)
            sys.setswitchinterval(switch_seconds)
            gc.unfreeze()
            self._before = None
