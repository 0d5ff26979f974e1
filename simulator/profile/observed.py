"""What a profile looks at: a past with its hidden truth, read once, and each purchase's window features."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ibook.clock import to_us
from ibook.messages import EventListed, FraudLabel, Message, PaymentOutcome, PurchaseRequested
from ibook.replay import SOURCE_NAMES, Recorded, replay
from simulator.sinks import Record
from simulator.truth import DemandTruth, TransactionTruth

Features = NDArray[np.float32]
"""One row per purchase, shape ``(n, len(FEATURE_NAMES))``, in the order of event time; NaN is missing."""


@dataclass
class Observed:
    """The messages of a past that figures are made of, in the order of event time, and who was who."""

    truth: Mapping[str, TransactionTruth]
    demand: Sequence[DemandTruth] = ()
    label_day_seconds: float = 86_400.0
    """How long a day of label delay took."""
    rushed: frozenset[str] = frozenset()
    """Events that sell out in a rush (hidden)."""
    purchases: list[PurchaseRequested] = field(default_factory=list)
    outcomes: list[PaymentOutcome] = field(default_factory=list)
    labels: list[FraudLabel] = field(default_factory=list)
    listings: dict[str, EventListed] = field(default_factory=dict)
    """Event -> what the shop announced of it first."""

    def see(self, message: Message) -> None:
        """Keep a message that a figure needs."""
        match message:
            case PurchaseRequested():
                self.purchases.append(message)
            case PaymentOutcome():
                self.outcomes.append(message)
            case FraudLabel():
                self.labels.append(message)
            case EventListed():
                self.listings.setdefault(message.event_id, message)
            case _:
                pass

    def truth_of(self, order: PurchaseRequested | PaymentOutcome | FraudLabel) -> TransactionTruth:
        """What the purchase behind a message really was."""
        return self.truth[order.transaction_id]

    def with_status(self, *statuses: str) -> set[str]:
        """Transactions with an outcome of one of these."""
        return {outcome.transaction_id for outcome in self.outcomes if outcome.status in statuses}

    @property
    def occurred_us(self) -> NDArray[np.int64]:
        """When each purchase was made, shape ``(n,)``."""
        return np.array([to_us(purchase.occurred_at) for purchase in self.purchases], dtype=np.int64)


def observe(records: Iterable[Record], observed: Observed) -> Features:
    """Read a past to its end into `observed`, and give the features of its purchases as a live worker sees them."""

    def passing() -> Iterator[Recorded]:
        for topic, _, message in records:
            observed.see(message)
            if topic in SOURCE_NAMES:
                yield Recorded(topic, message)  # type: ignore[arg-type]  # a feature source holds what features read

    return np.stack([row for _, row in replay(passing())])
