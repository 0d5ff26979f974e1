"""What the verdict worker knows of the partitions of one assignment."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ibook.answered import Answered, digest_of
from ibook.codec import decode
from ibook.entities import is_future
from ibook.errors import InvalidMessage
from ibook.exploration import Spent
from ibook.messages import PurchaseRequested
from ibook.own_purchases import OwnPurchases, update_of_purchase
from streams.holding import Holding
from streams.verdict_log import Purchased


@dataclass
class Knowledge:
    """Replaced as a whole when partitions move; whoever is at work goes on with the one begun with."""

    answered: dict[int, Answered] = field(default_factory=dict)
    own: OwnPurchases = field(default_factory=OwnPurchases)
    holding: Holding = field(default_factory=Holding)
    spent: dict[int, Spent] = field(default_factory=dict)
    """What chance has approved, by partition."""

    def remember_before(self, before: Sequence[Purchased], partition: int) -> None:
        """What was answered counts as this worker's own; what was refused or repeated then is left out again."""
        seen = Answered()
        for offset, broker_ms, payload in before:
            try:
                purchase: PurchaseRequested = decode(payload, PurchaseRequested)
            except InvalidMessage:
                continue  # it was dead-lettered when it was first read
            digest = digest_of(purchase)
            if not is_future(purchase, broker_ms * 1000) and seen.known(purchase.transaction_id, digest) == "new":
                seen.add(purchase.transaction_id, digest, offset)
                self.own.remember(update_of_purchase(purchase, partition, offset))
