"""Which transactions were answered: what makes a purchase that arrives twice be answered once."""

from collections import OrderedDict
from hashlib import blake2b
from typing import Literal

from ibook.messages import PurchaseRequested

MAX_TRANSACTIONS = 100_000
"""Remembered per partition."""

Known = Literal["new", "answered", "conflict"]


def digest_of(purchase: PurchaseRequested) -> bytes:
    """What a purchase asks for, as 8 bytes: equal for a repeat, whatever its message id and time."""
    asked = (purchase.user_id, purchase.card_id, purchase.event_id, purchase.ticket_type, purchase.n_tickets,
             purchase.amount_minor, purchase.currency)  # fmt: skip
    return blake2b(repr(asked).encode(), digest_size=8).digest()


class Answered:
    """The latest transactions answered in one partition, with the digest of what they asked for."""

    def __init__(self, limit: int = MAX_TRANSACTIONS) -> None:
        self._limit = limit
        self._digests: OrderedDict[str, bytes] = OrderedDict()

    def add(self, transaction_id: str, digest: bytes) -> None:
        """A verdict was given; the first one stays."""
        self._digests.setdefault(transaction_id, digest)
        if len(self._digests) > self._limit:
            self._digests.popitem(last=False)

    def known(self, transaction_id: str, digest: bytes) -> Known:
        """Whether it was answered, and if so whether it asks for the same. An unreadable one matches anything."""
        first = self._digests.get(transaction_id)
        if first is None:
            return "new"
        return "answered" if first == digest or not (first and digest) else "conflict"

    def __len__(self) -> int:
        return len(self._digests)
