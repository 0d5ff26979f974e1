"""What scores alone can do, whatever the threshold: average precision, its curve, and how scores are spread."""

from collections import defaultdict
from collections.abc import Sequence

from msgspec import Struct

from simulator.record import PurchaseRecord
from simulator.visits import HONEST

POINTS = 200
"""Points of a curve that is kept: more nobody sees."""
BINS = 20


class Curve(Struct, frozen=True, kw_only=True):
    """Precision at each recall, from strict to lenient; empty without scores of both kinds."""

    recall: tuple[float, ...] = ()
    precision: tuple[float, ...] = ()


class Histogram(Struct, frozen=True, kw_only=True):
    """Purchases per score, in bins of equal width over [0, 1]."""

    counts: tuple[int, ...]


def average_precision(purchases: Sequence[PurchaseRecord]) -> float | None:
    """Of the scored ones: sum of (recall step * precision); None unless both kinds were scored."""
    from sklearn.metrics import average_precision_score

    is_fraud, scores = _scored(purchases)
    return float(average_precision_score(is_fraud, scores)) if 0 < sum(is_fraud) < len(is_fraud) else None


def curve_of(purchases: Sequence[PurchaseRecord]) -> Curve:
    """The precision-recall curve of the scored ones, thinned out evenly."""
    import numpy as np
    from sklearn.metrics import precision_recall_curve

    is_fraud, scores = _scored(purchases)
    if not 0 < sum(is_fraud) < len(is_fraud):
        return Curve()
    precision, recall, _ = precision_recall_curve(is_fraud, scores)
    kept = np.unique(np.linspace(0, len(recall) - 1, POINTS).round().astype(int))[::-1]
    return Curve(recall=tuple(recall[kept].tolist()), precision=tuple(precision[kept].tolist()))


def histograms(purchases: Sequence[PurchaseRecord]) -> dict[str, Histogram]:
    """How the scores of each pattern are spread; whatever is neither fraud nor abuse is `honest`."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * BINS)
    for each in purchases:
        if each.score is not None:
            counts[each.pattern if each.is_fraud or each.is_abuse else HONEST][
                min(BINS - 1, int(each.score * BINS))
            ] += 1
    return {pattern: Histogram(counts=tuple(counts[pattern])) for pattern in sorted(counts)}


def _scored(purchases: Sequence[PurchaseRecord]) -> tuple[list[bool], list[float]]:
    """What is wanted, and the score; a pattern of abuse counts as what is wanted where it is handed in."""
    scored = [each for each in purchases if each.score is not None]
    return [each.is_fraud or each.is_abuse for each in scored], [each.score or 0.0 for each in scored]
