"""Features, score and rules to a decision: pure, and fast enough for every purchase.

Rules come first, the harshest first; then the thresholds over the calibrated score. The harsher of the two stands: a
rule that asks for a challenge never softens a decline by score.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ibook.features import FEATURE_NAMES, FEATURES
from ibook.messages import Action, Posture, ReasonCode
from ibook.rules import SCORED_POSTURES, Thresholds, VerdictPolicy, load_policy, parse_policy

__all__ = ["REASONS", "Decision", "VerdictPolicy", "decide", "draw_of", "load_policy", "parse_policy", "reasons"]

ScoreBand = Literal["low", "elevated", "high", "highest", "not_scored"]
MAX_REASONS = 3
_SEVERITY: dict[Action, int] = {"approve": 0, "review": 1, "challenge": 2, "decline": 3}
_AMOUNT = FEATURE_NAMES.index("amount_minor")


class Decision(Struct, frozen=True, gc=False):
    """What to do with a purchase, and what led to it."""

    action: Action
    score_band: ScoreBand
    """By the thresholds of posture `normal`, so that a band means the same in every posture."""
    threshold: float | None
    """The highest threshold the score reached, or the lowest when it reached none; None without a score."""
    rules: tuple[str, ...]
    """Ids of the rules that were hit, the harshest first."""
    propensity: float
    """P(approve) where a would-be decline could be approved at random; 1 everywhere else."""
    explored: bool
    """Approved at random against the score."""


def decide(
    score: float | None, features: NDArray[np.float32], policy: VerdictPolicy, posture: Posture, draw: float
) -> Decision:
    """Decide one purchase.

    `score` is the calibrated P(fraud), None in the postures `rules_only` and `no_features`; `features` has shape
    ``(len(FEATURE_NAMES),)``; `draw` in [0, 1) is the exploration draw, see `draw_of`.
    Raises ValueError when score and posture do not belong together.
    """
    if (score is None) != (posture not in SCORED_POSTURES):
        raise ValueError(f"posture {posture} {'needs a score' if score is None else 'has no score'}")
    values = features.tolist()
    hit, ruled = _rules_hit(values, policy, posture)
    if score is None:
        return Decision(ruled, "not_scored", None, hit, 1.0, False)
    action, threshold = _by_score(score, policy.thresholds[posture])
    band = _band(score, policy.thresholds["normal"])
    if action == "decline" and not hit and values[_AMOUNT] <= policy.exploration.max_amount_minor:
        share = policy.exploration.share
        if draw < share:
            return Decision("approve", band, threshold, hit, share, True)
        return Decision("decline", band, threshold, hit, share or 1.0, False)
    harsher = ruled if _SEVERITY[ruled] > _SEVERITY[action] else action
    return Decision(harsher, band, threshold, hit, 1.0, False)


def _rules_hit(values: Sequence[float], policy: VerdictPolicy, posture: Posture) -> tuple[tuple[str, ...], Action]:
    """Ids of the rules whose clauses all hold, and the action of the harshest."""
    hit: list[str] = []
    action: Action = "approve"
    for rule in policy.compiled[posture]:
        for index, compare, value in rule.clauses:
            if not compare(values[index], value):
                break
        else:
            if not hit:
                action = rule.action
            hit.append(rule.id)
    return tuple(hit), action


def _by_score(score: float, thresholds: Thresholds) -> tuple[Action, float]:
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


_OF_REQUEST = {
    "amount_minor": "amount", "n_tickets": "n_tickets", "amount_per_ticket_minor": "amount",
    "account_age_seconds": "account_age", "country_mismatch": "country_mismatch", "hour_of_day": "hour_of_day",
    "days_to_event": "days_to_event", "price_over_list": "price_over_list",
}  # fmt: skip
REASONS: Mapping[str, str] = {feature.name: feature.why for feature in FEATURES if feature.for_model} | {
    "amount": "The amount, in all or per ticket, is unlike an honest order's.",
    "n_tickets": "The number of tickets is unlike an honest order's.",
    "account_age": "New accounts carry more risk.",
    "country_mismatch": "Card and address are of different countries.",
    "hour_of_day": "The hour is unusual.",
    "days_to_event": "Most fraud is for tonight.",
    "price_over_list": "The price paid is unlike the list price.",
}
"""The catalogue: reason code -> why it counts. A declared feature is its own code, all its windows together."""
_CODES = tuple(REASONS)
_CODE_OF = {name: feature.name for feature in FEATURES if feature.for_model for name in feature.names()} | _OF_REQUEST
_CODE_INDEX = np.array([_CODES.index(_CODE_OF.get(name, name)) for name in FEATURE_NAMES])


def reasons(rules: Sequence[str], contributions: NDArray[np.float64] | None) -> list[ReasonCode]:
    """Why a purchase was not approved: the rules that were hit, then the three codes that weighed most for fraud.

    `contributions` are log-odds of shape ``(len(FEATURE_NAMES),)``, the features of one code are added up; None
    without a score. Only codes that speak for fraud are named.
    """
    named = [ReasonCode(code=rule, contribution=0.0) for rule in rules]
    if contributions is None:
        return named
    weights = np.bincount(_CODE_INDEX, weights=contributions, minlength=len(_CODES))
    top = [int(index) for index in np.argsort(-weights, kind="stable")[:MAX_REASONS]]
    return named + [ReasonCode(code=_CODES[i], contribution=float(weights[i])) for i in top if weights[i] > 0]
