"""How hard a past is: what a model learns from the labels known at a cut, and finds in the weeks after it.

Everybody is judged by the hidden truth. Abuse that no card holder disputes is neither fraud nor a false alarm.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES, REQUEST_FEATURES
from ibook.fraud import decide_all
from ibook.labels import labels_as_of, settled_as_of, target_of
from ibook.messages import Action, PurchaseRequested
from ibook.rules import VerdictPolicy
from simulator.profile.observed import Features, Observed

Scores = NDArray[np.float64]
DAY_US = 86_400_000_000
CUT = 0.7
"""Share of the past after which it is tested: the later pattern begins there, so no training row holds it."""
MATURE_DAYS = 60.0
"""Age from which silence counts as honest: four in five disputes have come by then. Assumed, as shops do."""
WARM_UP = 0.05
"""Share of the past left out at its beginning, where everybody looks new."""
ALARM_SHARE = 0.03
"""Share of the purchases that recall and precision are given at: what a shop can look at. Assumed."""
LEAST_FRAUDS = 20
RESAMPLES = 200
N_TREES = 300
N_THREADS = 1
"""On busy cores two threads wait for each other ten times as long."""
PARAMETERS = {
    "objective": "binary:logistic", "tree_method": "hist", "max_depth": 5, "eta": 0.05, "subsample": 0.7,
    "colsample_bytree": 0.5, "min_child_weight": 2.0, "gamma": 0.2, "nthread": N_THREADS,
}  # fmt: skip
_HARSHNESS: dict[Action, int] = {"approve": 0, "review": 1, "challenge": 2, "decline": 3}
_CATEGORIES = ("ticket_type", "category", "card_country", "ip_country", "email_domain", "bin", "promoter_id")


@dataclass(frozen=True)
class Split:
    """Places of the rows that teach, with what was known of them, and of the rows that judge."""

    training: NDArray[np.int64]
    targets: NDArray[np.bool_]
    """Of the training rows: fraud, as far as anybody knew at the cut."""
    test: NDArray[np.int64]


@dataclass(frozen=True)
class Difficulty:
    """Average precision per judge with its 95 % interval, and what the model finds at a share of alarms."""

    n_training: int
    n_training_frauds: int
    n_test: int
    n_test_frauds: int
    average_precision: dict[str, float]
    interval: dict[str, tuple[float, float]]
    precision_at_share: float
    recall_by_pattern: dict[str, float]
    """Of payment fraud; of the patterns that were there to be learned and of the later one."""
    recall_of_abuse: dict[str, float]
    """Share of purchases of each pattern of abuse among the alarms, which nobody taught the model."""

    @property
    def test_base_rate(self) -> float:
        """Average precision of a judge who knows nothing."""
        return self.n_test_frauds / self.n_test


def split_at(observed: Observed, cut_us: int, *, from_us: int = 0, mature_days: float = MATURE_DAYS) -> Split:
    """Rows with a label that had arrived at the cut, or settled, undisputed and `mature_days` old; and those after it.

    What was turned down and never labelled teaches nothing: nobody knows what it was. Days are days of label delay.
    """
    labels, settled = labels_as_of(observed.labels, cut_us), settled_as_of(observed.outcomes, cut_us)
    old_us = cut_us - int(mature_days * observed.label_day_seconds * 1e6)
    occurred_us, training, targets = observed.occurred_us, [], []
    for place in np.flatnonzero((occurred_us >= from_us) & (occurred_us < old_us)):
        target = target_of(observed.purchases[place].transaction_id, labels, settled)
        if target is not None:
            training.append(int(place))
            targets.append(target)
    return Split(np.array(training, np.int64), np.array(targets, np.bool_), np.flatnonzero(occurred_us >= cut_us))


def measure(observed: Observed, features: Features, policy: VerdictPolicy, split: Split, *, seed: int) -> Difficulty:
    """Train and judge. Raises ConfigurationError when a side of the split holds too few frauds to say anything."""
    is_fraud = np.array([observed.truth_of(observed.purchases[place]).is_fraud for place in split.test], np.bool_)
    _check(split, is_fraud)
    request = request_fields(observed.purchases, features)
    scores = {
        "model": _model_scores(features, split, seed),
        "rules": rule_scores(features[split.test], [observed.purchases[place] for place in split.test], policy),
        "request_fields_only": _model_scores(request, split, seed),
    }
    truths = [observed.truth_of(observed.purchases[place]) for place in split.test]
    judged = np.array([not truth.is_abuse for truth in truths], np.bool_)
    patterns = [truth.pattern for truth in truths]
    alarms = _alarms(scores["model"])
    return Difficulty(
        n_training=len(split.training), n_training_frauds=int(split.targets.sum()),
        n_test=int(judged.sum()), n_test_frauds=int(is_fraud.sum()),
        average_precision={name: average_precision(is_fraud[judged], each[judged]) for name, each in scores.items()},
        interval={name: _interval(is_fraud[judged], each[judged], seed) for name, each in scores.items()},
        precision_at_share=float(is_fraud[alarms & judged].mean()),
        recall_by_pattern=_shares(patterns, alarms, is_fraud), recall_of_abuse=_shares(patterns, alarms, ~judged),
    )  # fmt: skip


def _check(split: Split, is_fraud: NDArray[np.bool_]) -> None:
    for what, found in (("known when training began", split.targets), ("after it", is_fraud)):
        if int(found.sum()) < LEAST_FRAUDS:
            raise ConfigurationError(
                f"Only {int(found.sum())} frauds {what}, at least {LEAST_FRAUDS} are needed: ask for more --purchases."
            )


def rule_scores(features: Features, purchases: Sequence[PurchaseRequested], policy: VerdictPolicy) -> Scores:
    """The harshest rule that each row hits, shape ``(n,)``: 0 none, 1 review, 2 challenge, 3 decline.

    What expires is judged by when the last of them was made.
    """
    n, last = len(features), purchases[-1].occurred_at
    verdicts = decide_all([0.0] * n, features, purchases, policy, "normal", [1.0] * n, last)
    return np.array([_HARSHNESS[verdict.action] if verdict.rules else 0 for verdict in verdicts], np.float64)


def request_fields(purchases: Sequence[PurchaseRequested], features: Features) -> Features:
    """What the purchase itself says: the features that need no window, and its categories as numbers."""
    columns = [features[:, FEATURE_NAMES.index(name)] for name in REQUEST_FEATURES]
    for name in _CATEGORIES:
        numbers: dict[str, int] = {}
        values = [getattr(purchase, name) or "" for purchase in purchases]
        columns.append(np.array([numbers.setdefault(value, len(numbers)) for value in values], np.float32))
    return np.stack(columns, axis=1)


def _model_scores(features: Features, split: Split, seed: int) -> Scores:
    import xgboost

    training = xgboost.DMatrix(features[split.training], split.targets.astype(np.float32), nthread=N_THREADS)
    booster = xgboost.train(PARAMETERS | {"seed": seed}, training, num_boost_round=N_TREES)
    return np.asarray(booster.predict(xgboost.DMatrix(features[split.test], nthread=N_THREADS)), dtype=np.float64)


def average_precision(is_fraud: NDArray[np.bool_], scores: Scores) -> float:
    """Mean precision over the frauds, ties as one step; equals the base rate for scores that know nothing."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(is_fraud, scores))


def _interval(is_fraud: NDArray[np.bool_], scores: Scores, seed: int) -> tuple[float, float]:
    """95 % of the values that rows drawn again with replacement would have given."""
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(scores), len(scores)) for _ in range(RESAMPLES))
    found = [average_precision(is_fraud[rows], scores[rows]) for rows in draws]
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def _alarms(scores: Scores) -> NDArray[np.bool_]:
    """The rows of highest score, `ALARM_SHARE` of all; the earlier one among equals."""
    alarms = np.zeros(len(scores), np.bool_)
    alarms[np.argsort(-scores, kind="stable")[: max(1, round(ALARM_SHARE * len(scores)))]] = True
    return alarms


def _shares(patterns: Sequence[str], alarms: NDArray[np.bool_], among: NDArray[np.bool_]) -> dict[str, float]:
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for pattern, alarm, counts in zip(patterns, alarms.tolist(), among.tolist(), strict=True):
        if counts:
            found[pattern].append(alarm)
    return {pattern: sum(each) / len(each) for pattern, each in sorted(found.items())}
