"""Labels as they were known at an instant: from `fraud-labels` alone, and never earlier than they arrived."""

from collections.abc import Iterable, Mapping

from ibook.clock import to_us
from ibook.messages import FraudLabel, PaymentOutcome


def labels_as_of(labels: Iterable[FraudLabel], as_of_us: int) -> dict[str, bool]:
    """Transaction id -> fraud or not, as known at an instant: the last word counts, a reversal takes back.

    Ties break by message id, so the order of the input plays no part.
    """
    latest: dict[str, tuple[int, str, bool]] = {}
    for label in labels:
        word = (to_us(label.occurred_at), label.message_id, label.is_fraud)
        if word[0] <= as_of_us:
            latest[label.transaction_id] = max(word, latest.get(label.transaction_id, word))
    return {transaction_id: word[2] for transaction_id, word in latest.items()}


def settled_as_of(outcomes: Iterable[PaymentOutcome], as_of_us: int) -> set[str]:
    """Transactions whose payment had settled at an instant; only these can still be disputed."""
    return {
        outcome.transaction_id
        for outcome in outcomes
        if outcome.status == "settled" and to_us(outcome.occurred_at) <= as_of_us
    }


def target_of(transaction_id: str, labels: Mapping[str, bool], settled: set[str]) -> bool | None:
    """What a model should learn of a purchase that is old enough: its label, or honest when it settled undisputed.

    None for what was blocked or declined without a label: nobody knows what it was, so it must teach nothing.
    """
    known = labels.get(transaction_id)
    if known is not None:
        return known
    return False if transaction_id in settled else None
