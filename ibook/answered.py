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
    """The latest transactions answered in one partition: what each asked for, and at which offset."""

    def __init__(self, limit: int = MAX_TRANSACTIONS) -> None:
        self._limit = limit
        self._first: OrderedDict[str, tuple[bytes, int]] = OrderedDict()

    def add(self, transaction_id: str, digest: bytes, offset: int) -> None:
        """A verdict was given to the purchase at this offset; the first one stays."""
        self._first.setdefault(transaction_id, (digest, offset))
        if len(self._first) > self._limit:
            self._first.popitem(last=False)

    def known(self, transaction_id: str, digest: bytes) -> Known:
        """Whether it was answered, and if so whether it asks for the same. An unreadable one matches anything."""
        if transaction_id not in self._first:
            return "new"
        first, _ = self._first[transaction_id]
        return "answered" if first == digest or not (first and digest) else "conflict"

    def is_redelivery(self, transaction_id: str, offset: int) -> bool:
        """Whether the purchase at this offset is the very one that was answered, rather than the shop's repeat."""
        return transaction_id in self._first and self._first[transaction_id][1] == offset

    def __len__(self) -> int:
        return len(self._first)
