"""What Python does beside running the shop, kept from stopping it."""

import gc
import sys

SWITCH_SECONDS = 0.0005
"""Longest one thread holds up the others, instead of 5 ms: the shop's own must not wait for one that reads verdicts."""


class Undisturbed:
    """Does without the garbage collector for a while, and lets threads take turns more quickly.

    With 20,000 visitors on their way a full collection takes half a second on one core, one of the middle generation
    5 to 15 ms, dozens of times a second, and all threads wait: what is measured then is the collector. Nothing piles
    up meanwhile: what a shop no longer needs it frees at once, as no cycle of references is made in it.
    """

    def __init__(self) -> None:
        self._switch_before: float | None = None
        self._collected_before = False

    def begin(self) -> None:
        """Collect once more, then no longer."""
        if self._switch_before is not None:
            return
        self._switch_before, self._collected_before = sys.getswitchinterval(), gc.isenabled()
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.collect()
        gc.disable()

    def end(self) -> None:
        """As before."""
        if self._switch_before is None:
            return
        sys.setswitchinterval(self._switch_before)
        if self._collected_before:
            gc.enable()
        self._switch_before = None
