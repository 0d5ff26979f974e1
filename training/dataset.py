"""A history of messages to labelled rows: what the verdict worker would have seen, and what became known since."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from ibook.clock import to_us
from ibook.features import FEATURE_NAMES
from ibook.labels import labels_as_of, settled_as_of, target_of
from ibook.messages import FraudLabel, PaymentOutcome, PurchaseRequested
from ibook.replay import Recorded, replay


@dataclass(frozen=True)
class Frame:
    """Rows in the order of their event time. Arrays share their first dimension, the number of rows."""

    transaction_ids: list[str]
    occurred_us: NDArray[np.int64]
    features: NDArray[np.float32]
    """Shape ``(n, len(FEATURE_NAMES))``, NaN is missing."""
    is_fraud: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.transaction_ids)

    @property
    def amounts(self) -> NDArray[np.float64]:
        """Amount of each purchase in minor units, shape ``(n,)``."""
        return self.features[:, FEATURE_NAMES.index("amount_minor")].astype(np.float64)

    def part(self, start: int, stop: int) -> "Frame":
        """The rows `[start, stop)`."""
        rows = slice(start, stop)
        return Frame(self.transaction_ids[rows], self.occurred_us[rows], self.features[rows], self.is_fraud[rows])


def frame_of(history: Sequence[Recorded], *, from_us: int, until_us: int, as_of_us: int) -> Frame:
    """The labelled purchases with `from_us <= occurred_at < until_us`, labels as known at `as_of_us`.

    `history` must be in the order of `occurred_at`. What lies before is replayed too: windows need their past. Raises
    ValueError when no purchase is left.
    """
    messages = [recorded.message for recorded in history]
    labels = labels_as_of((m for m in messages if isinstance(m, FraudLabel)), as_of_us)
    settled = settled_as_of((m for m in messages if isinstance(m, PaymentOutcome)), as_of_us)

    def target(purchase: PurchaseRequested) -> bool | None:
        return target_of(purchase.transaction_id, labels, settled)

    def wanted(purchase: PurchaseRequested) -> bool:
        return to_us(purchase.occurred_at) >= from_us and target(purchase) is not None

    until = takewhile(lambda recorded: to_us(recorded.message.occurred_at) < until_us, history)
    rows = list(replay(until, wanted=wanted))
    if not rows:
        raise ValueError("no labelled purchase in this time")
    return Frame(
        transaction_ids=[purchase.transaction_id for purchase, _ in rows],
        occurred_us=np.array([to_us(purchase.occurred_at) for purchase, _ in rows], dtype=np.int64),
        features=np.stack([values for _, values in rows]),
        is_fraud=np.array([target(purchase) for purchase, _ in rows], dtype=np.bool_),
    )


def split_in_time(frame: Frame, shares: tuple[float, float] = (0.6, 0.2)) -> tuple[Frame, Frame, Frame]:
    """Train, validation and test, one after the other in time; `shares` are the first two's.

    Purchases of one instant stay together, so nothing that is trained on happened after what is tested.
    """
    cuts = []
    for share in (shares[0], shares[0] + shares[1]):
        instant = frame.occurred_us[min(len(frame) - 1, int(len(frame) * share))]
        cuts.append(int(np.searchsorted(frame.occurred_us, instant, side="left")))
    return frame.part(0, cuts[0]), frame.part(cuts[0], cuts[1]), frame.part(cuts[1], len(frame))


def joined(earlier: Frame, later: Frame) -> Frame:
    """Both frames' rows, one after the other."""
    return Frame(
        earlier.transaction_ids + later.transaction_ids,
        np.concatenate([earlier.occurred_us, later.occurred_us]),
        np.concatenate([earlier.features, later.features]),
        np.concatenate([earlier.is_fraud, later.is_fraud]),
    )
