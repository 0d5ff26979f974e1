"""Card precision at k: what investigators find who look at the k most suspicious cards of every period."""

from collections import defaultdict

from msgspec import Struct

from simulator.record import PurchaseRecord, RunRecord

K = 10
"""Cards looked at in a period. Assumed; it keeps about as busy as the fraud of a small shop needs."""
DAY_SECONDS = 86_400.0
PERIODS = 6
"""Periods of a run of less than two days, which has no days to count."""


class CardPrecision(Struct, frozen=True, kw_only=True):
    """Means over all periods; shares of k."""

    k: int
    period_seconds: float
    periods: int
    value: float
    """Share of the k cards looked at that are compromised."""
    best: float
    """What it would be if all that could be found were found."""


def card_precision(record: RunRecord, *, k: int = K) -> CardPrecision | None:
    """Cards ranked by their highest score of a period; None without scores.

    A compromised card that was found is blocked, and left out of later periods. Le Borgne, Siblini, Lebichot &
    Bontempi (2022), Reproducible Machine Learning for Credit Card Fraud Detection, chapter 4.3.2, whose period is a
    day.
    """
    seconds = DAY_SECONDS if record.seconds >= 2 * DAY_SECONDS else record.seconds / PERIODS
    periods = _periods(record, max(seconds, 1e-6))
    if not periods:
        return None
    found: set[str] = set()
    hits, possible = [], []
    for purchases in periods:
        scores, compromised = _cards([each for each in purchases if each.card_id not in found])
        ranked = sorted(scores, key=lambda card: (-scores[card], card))[:k]
        caught = {card for card in ranked if card in compromised}
        hits.append(len(caught) / k)
        possible.append(min(k, len(compromised)) / k)
        found |= caught
    return CardPrecision(
        k=k, period_seconds=seconds, periods=len(periods), value=sum(hits) / len(hits),
        best=sum(possible) / len(possible),
    )  # fmt: skip


def _periods(record: RunRecord, seconds: float) -> list[list[PurchaseRecord]]:
    """Scored purchases by period, periods without any left out; what comes after the load counts to the last one."""
    last = max(1, round(record.seconds / seconds)) - 1
    periods: defaultdict[int, list[PurchaseRecord]] = defaultdict(list)
    for each in record.purchases:
        if each.score is not None:
            number = int((each.occurred_us - record.started_us) / (seconds * 1e6))
            periods[min(last, max(0, number))].append(each)
    return [periods[number] for number in sorted(periods)]


def _cards(purchases: list[PurchaseRecord]) -> tuple[dict[str, float], set[str]]:
    """The highest score of every card, and the cards that are compromised."""
    scores: dict[str, float] = {}
    for each in purchases:
        scores[each.card_id] = max(scores.get(each.card_id, 0.0), each.score or 0.0)
    return scores, {each.card_id for each in purchases if each.is_fraud}
