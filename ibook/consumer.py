"""Each transaction once: the rule of the verdict topic, for whoever consumes it."""

from collections import OrderedDict
from typing import Literal

from ibook.messages import Action

MAX_REMEMBERED = 100_000
"""Verdicts of a partition behind which a second one is recognised."""

Told = Literal["first", "repeat", "conflict"]


class FirstWins:
    """The verdicts of one partition, in its order: only the first of a transaction counts. Bounded memory."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._first: OrderedDict[str, Action] = OrderedDict()

    def tell(self, transaction_id: str, action: Action) -> Told:
        """Whether this verdict is the transaction's first, a repeat of it, or a later one that says something else."""
        first = self._first.get(transaction_id)
        if first is None:
            self._first[transaction_id] = action
            if len(self._first) > self._limit:
                self._first.popitem(last=False)
            return "first"
        return "repeat" if first == action else "conflict"

    def __len__(self) -> int:
        return len(self._first)
