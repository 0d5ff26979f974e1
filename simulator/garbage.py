"""Python's garbage collector, kept from stopping the shop."""

import gc

RARELY = 1000
"""Full collections once in so many of the middle generation's, instead of ten."""


class Garbage:
    """Keeps full collections away for a while.

    With 20,000 visitors on their way a full collection takes half a second on one core, several times a minute, and
    all threads wait: what is measured then is the collector. Young garbage is collected as ever.
    """

    def __init__(self) -> None:
        self._before: tuple[int, int, int] | None = None

    def hold_back(self) -> None:
        """Collect once more, then leave what is there alone."""
        gc.collect()
        gc.freeze()
        if self._before is None:
            self._before = gc.get_threshold()
            gc.set_threshold(*self._before[:2], RARELY)

    def let_go(self) -> None:
        """As before."""
        if self._before is not None:
            gc.set_threshold(*self._before)
            gc.unfreeze()
            self._before = None
