"""Features, score and rules to a decision: pure, and fast enough for every purchase.

An allow-list approves, whatever else was hit. Otherwise the rules count, the harshest first, and the calibrated score,
by thresholds or by what costs least for the amount. The harsher of the two stands: a rule that asks for a challenge
never softens a decline by score.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ibook.cheapest import cheapest, with_odds
from ibook.features import FEATURE_NAMES
from ibook.messages import Action, Posture, PurchaseRequested, ReasonCode
from ibook.reason_codes import REASONS, codes_of, codes_of_rules
from ibook.rules import NAMES, SCORED_POSTURES, CompiledRule, Thresholds, VerdictPolicy, load_policy, parse_policy

__all__ = [
    "REASONS", "Decision", "VerdictPolicy", "decide", "decide_all", "draw_of", "load_policy", "parse_policy", "reasons",
]  # fmt: skip

ScoreBand = Literal["low", "elevated", "high", "highest", "not_scored"]
_SEVERITY: dict[Action, int] = {"approve": 0, "review": 1, "challenge": 2, "decline": 3}
_INDEX = {name: index for index, name in enumerate(FEATURE_NAMES)}
_AMOUNT = _INDEX["amount_minor"]


class Decision(Struct, frozen=True, gc=False):
    """What to do with a purchase, and what led to it."""

    action: Action
    score_band: ScoreBand
    """By the thresholds of posture `normal`, so that a band means the same in every posture."""
    threshold: float | None
    """The highest threshold the score reached, or the lowest when it reached none; None without a score.

    By costs: the score from which the action is the cheapest for the amount.
    """
    rules: tuple[str, ...]
    """Ids of the rules that were hit, in the order in which they count."""
    propensity: float
    """P(approve) where a would-be decline could be approved at random; 1 everywhere else."""
    explored: bool
    """Approved at random against the score."""
    exploration_closed: bool = False
    """Would have had a chance, but the day's budget could not pay it: see `ibook.exploration`."""


def decide(
    score: float | None, features: NDArray[np.float32], purchase: PurchaseRequested, policy: VerdictPolicy,
    posture: Posture, draw: float, at: datetime,
) -> Decision:  # fmt: skip
    """Decide one purchase, as `decide_all` decides many."""
    return decide_all([score], features[np.newaxis], [purchase], policy, posture, [draw], at)[0]


def decide_all(
    scores: Sequence[float | None], matrix: NDArray[np.float32], purchases: Sequence[PurchaseRequested],
    policy: VerdictPolicy, posture: Posture, draws: Sequence[float], at: datetime,
) -> list[Decision]:  # fmt: skip
    """Decide a batch of n purchases.

    `scores` are the calibrated P(fraud), None in the postures `rules_only` and `no_features`; `matrix` has shape
    ``(n, len(FEATURE_NAMES))``; `draws` in [0, 1) are the exploration draws, whose budget is `ibook.exploration`'s
    matter; rules that have expired `at` the decision are off.
    Raises ValueError when scores and posture do not belong together.
    """
    for score in scores:
        if (score is None) != (posture not in SCORED_POSTURES):
            raise ValueError(f"posture {posture} {'needs a score' if score is None else 'has no score'}")
    hits = _rules_hit(matrix, purchases, policy, posture, at)
    amounts = matrix[:, _AMOUNT].tolist()
    return [
        _decide(score, amount, hit, policy, posture, draw)
        for score, amount, hit, draw in zip(scores, amounts, hits, draws, strict=True)
    ]


def _rules_hit(
    matrix: NDArray[np.float32], purchases: Sequence[PurchaseRequested], policy: VerdictPolicy, posture: Posture,
    at: datetime,
) -> list[list[CompiledRule]]:  # fmt: skip
    """Per purchase the rules whose condition holds, in the order in which they count."""
    rules = policy.in_force(posture, at)
    names = frozenset[str]().union(*(rule.condition.names for rule in rules))
    if len(purchases) == 1:  # plain numbers are several times as fast as arrays of one
        row = matrix[0].tolist()
        one: dict[str, Any] = {
            name: row[_INDEX[name]] if name in _INDEX else getattr(purchases[0], name) for name in names
        }
        return [[rule for rule in rules if rule.condition.holds(one)]]
    columns = {name: _column(name, matrix, purchases) for name in names}
    hits: list[list[CompiledRule]] = [[] for _ in purchases]
    for rule in rules:
        for place in np.flatnonzero(rule.condition.holds(columns)).tolist():
            hits[place].append(rule)
    return hits


def _column(name: str, matrix: NDArray[np.float32], purchases: Sequence[PurchaseRequested]) -> NDArray[Any]:
    if NAMES[name] == "number":
        return matrix[:, _INDEX[name]].astype(np.float64)
    return np.array([getattr(purchase, name) for purchase in purchases], dtype=object)


def _decide(
    score: float | None,
    amount: float,
    hit: Sequence[CompiledRule],
    policy: VerdictPolicy,
    posture: Posture,
    draw: float,
) -> Decision:
    rules = tuple(each.rule.id for each in hit)
    ruled: Action = hit[0].rule.action if hit else "approve"
    if score is None:
        return Decision(ruled, "not_scored", None, rules, 1.0, False)
    action, threshold = _by_score(score, amount, policy, posture)
    band = _band(score, policy.thresholds["normal"])
    if hit and ruled == "approve":
        return Decision("approve", band, threshold, rules, 1.0, False)
    if action == "decline" and not hit and amount <= policy.exploration.max_amount_minor:
        share = policy.exploration.share
        if draw < share:
            return Decision("approve", band, threshold, rules, share, True)
        return Decision("decline", band, threshold, rules, share or 1.0, False)
    harsher = ruled if _SEVERITY[ruled] > _SEVERITY[action] else action
    return Decision(harsher, band, threshold, rules, 1.0, False)


def _by_score(score: float, amount: float, policy: VerdictPolicy, posture: Posture) -> tuple[Action, float]:
    if policy.costs is None:
        return _by_thresholds(score, policy.thresholds[posture])
    odds = 1.0 if posture == "normal" else policy.costs.stale_odds
    action, threshold = cheapest(policy.costs, with_odds(score, odds), amount)
    return action, with_odds(threshold, 1.0 / odds)


def _by_thresholds(score: float, thresholds: Thresholds) -> tuple[Action, float]:
    if score >= thresholds.decline:
        return "decline", thresholds.decline
    if score >= thresholds.challenge:
        return "challenge", thresholds.challenge
    if score >= thresholds.review:
        return "review", thresholds.review
    return "approve", thresholds.review


def _band(score: float, thresholds: Thresholds) -> ScoreBand:
    if score < thresholds.review:
        return "low"
    if score < thresholds.challenge:
        return "elevated"
    return "high" if score < thresholds.decline else "highest"


def draw_of(key: str, seed: int) -> float:
    """A draw in [0, 1) that is the same whenever this key is decided again, so a redelivery changes nothing.

    >>> draw_of("t-1", 0) == draw_of("t-1", 0) != draw_of("t-1", 1)
    True
    """
    digest = blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def reasons(rules: Sequence[str], contributions: NDArray[np.float64] | None, policy: VerdictPolicy) -> list[ReasonCode]:
    """Why a purchase was not approved: the codes of the rules that were hit, then those that weighed most for fraud.

    `contributions` are log-odds of shape ``(len(FEATURE_NAMES),)``, None without a score.
    """
    named = codes_of_rules([(rule, policy.rule(rule).reason) for rule in rules])
    return named if contributions is None else named + codes_of(contributions)
