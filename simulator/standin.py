"""The verdicts of a past in which the platform did not run yet: a crude velocity rule that knows no truth."""

from collections import defaultdict, deque
from random import Random

from ibook.clock import to_us
from ibook.messages import Action, PurchaseRequested

WINDOW_US = 600_000_000


class StandInPolicy:
    """Turns down some of the purchases on a device that has seen many cards lately, and little else.

    It is lenient on purpose: what is turned down never gets a label, and a history needs labels.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._recent: defaultdict[str, deque[tuple[int, str]]] = defaultdict(deque)
        self._sweep_us = 0

    def decide(self, purchase: PurchaseRequested) -> Action:
        """The action for a purchase; purchases must come in order."""
        now_us = to_us(purchase.occurred_at)
        self._sweep(now_us)
        seen = self._recent[purchase.device_id]
        while seen and seen[0][0] < now_us - WINDOW_US:
            seen.popleft()
        seen.append((now_us, purchase.card_id))
        n_cards = len({card for _, card in seen})
        if n_cards >= 10 and self._rng.random() < 0.4:
            return "decline"
        if n_cards >= 5 and self._rng.random() < 0.3:
            return "challenge"
        return "review" if self._rng.random() < 0.006 else "approve"

    def _sweep(self, now_us: int) -> None:
        """Forget devices that have been quiet for a window: a long past has more of them than memory."""
        if now_us < self._sweep_us:
            return
        self._sweep_us = now_us + WINDOW_US
        quiet = [device for device, seen in self._recent.items() if seen[-1][0] < now_us - WINDOW_US]
        for device in quiet:
            del self._recent[device]
