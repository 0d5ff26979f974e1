"""Purchases that were decided, decided once more: by other rules, other thresholds or another model.

`ibook.backtest_money` says what that is worth.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ibook.costs import ACTIONS
from ibook.exploration import closed, exploration_draw
from ibook.fraud import Decision, decide_all
from ibook.messages import Action, Posture, PurchaseRequested, VerdictEvidence
from ibook.rules import SCORED_POSTURES, VerdictPolicy

Kind = Literal["fraud", "honest", "nothing"]
"""What a purchase turned out to be. `nothing`: the bank refused it, so there was nothing to lose or to earn."""
KINDS: tuple[Kind, ...] = ("fraud", "honest", "nothing")
UNKNOWN = -1
BATCH = 2_000

Floats = NDArray[np.float64]


class Scores(Protocol):
    """A model."""

    def score(self, matrix: NDArray[np.float32]) -> Floats:
        """Calibrated P(fraud) of each row, shape ``(n,)``."""
        ...


class Past(NamedTuple):
    """A purchase as it was decided, and whether the log can say what it was."""

    purchase: PurchaseRequested
    features: NDArray[np.float32]
    posture: Posture
    score: float | None
    decided_at: datetime
    action: Action
    propensity: float
    rules: tuple[str, ...]
    seen_chance: float = 1.0
    """P(the log shows what became of it); below 1 only where chance let some of its like through."""
    is_seen: bool = True
    """Whether chance let it through, where chance played a part."""
    exploration_closed: bool = False
    """The budget of the exploration slice was spent."""


class Rules(NamedTuple):
    """By what the past is decided once more."""

    policy: VerdictPolicy
    model: Scores | None = None
    """None: the scores that were given."""
    seed: int = 0
    """Of the exploration slice."""


def past_of(evidence: VerdictEvidence) -> Past | None:
    """A decision from its evidence; None when its purchase could not be read."""
    if evidence.purchase is None:
        return None
    return Past(
        purchase=evidence.purchase, features=np.array(evidence.features, dtype=np.float32), posture=evidence.posture,
        score=evidence.score, decided_at=evidence.occurred_at, action=evidence.action, propensity=evidence.propensity,
        rules=tuple(evidence.rules), seen_chance=evidence.propensity,
        is_seen=evidence.explored or evidence.propensity >= 1, exploration_closed=evidence.exploration_closed,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------ deciding again
@dataclass
class RuleHits:
    """Purchases at which a rule was hit, and what they were as far as is known."""

    action: Action
    hits: int = 0
    amount_minor: int = 0
    fraud: int = 0
    honest: int = 0
    hits_before: int = 0


class Moved(NamedTuple):
    """Purchases whose decision differs; arrays of shape ``(n,)``, chances ``(n, 4)``."""

    cards: NDArray[np.int64]
    """A number for each card."""
    amounts: Floats
    """In minor units."""
    before: Floats
    """P(action) as it was decided, in the order of ACTIONS."""
    after: Floats
    kinds: NDArray[np.int64]
    """Places in KINDS, or UNKNOWN."""
    seen_chance: Floats
    is_seen: NDArray[np.bool_]


@dataclass
class Side:
    """Expected purchases per action and their amounts in minor units, shape ``(4,)`` each."""

    purchases: Floats = field(default_factory=lambda: np.zeros(len(ACTIONS)))
    amounts: Floats = field(default_factory=lambda: np.zeros(len(ACTIONS)))

    def add(self, chances: Floats, amounts: Floats) -> None:
        """Count purchases with these chances of each action."""
        self.purchases += chances.sum(axis=0)
        self.amounts += amounts @ chances


@dataclass
class Compared:
    """A past decided twice."""

    moved: Moved
    rules: dict[str, RuleHits]
    n: int = 0
    n_known: int = 0
    """Purchases of which is known what they were."""
    first: datetime | None = None
    last: datetime | None = None
    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)


def compare(pasts: Iterable[Past], rules: Rules, kind_of: Callable[[str], Kind | None]) -> Compared:
    """Decide a past once more. `kind_of` says what a transaction turned out to be, None where nobody knows.

    Memory grows with the purchases whose decision differs, and with the cards.
    """
    found = Compared(_moved([], np.zeros((0, 4)), np.zeros((0, 4)), [], {}), _no_hits(rules.policy))
    codes: dict[str, int] = {}
    parts = [found.moved]
    for batch in _batches(pasts):
        decisions = decide_again(batch, rules)
        kinds = [kind_of(past.purchase.transaction_id) for past in batch]
        before = _chances([(past.action, past.propensity) for past in batch])
        after = _chances([(decision.action, decision.propensity) for decision in decisions])
        _count(found, batch, before, after, kinds)
        _count_rules(found.rules, batch, decisions, kinds)
        differ = np.flatnonzero((before != after).any(axis=1)).tolist()
        parts.append(
            _moved([batch[i] for i in differ], before[differ], after[differ], [kinds[i] for i in differ], codes)
        )
    found.moved = Moved(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return found


def decide_again(batch: Sequence[Past], rules: Rules) -> list[Decision]:
    """The decisions of other rules on the same features, in the order of the batch.

    Where the day's budget of the exploration slice was spent, it is taken to be spent under the other rules, too.
    """
    groups: dict[tuple[Posture, date], list[int]] = {}
    for place, past in enumerate(batch):
        groups.setdefault((past.posture, past.decided_at.date()), []).append(place)
    decided: dict[int, Decision] = {}
    for (posture, _), places in groups.items():
        pasts = [batch[place] for place in places]
        matrix = np.stack([past.features for past in pasts])
        scores = [past.score for past in pasts]
        if rules.model is not None and posture in SCORED_POSTURES:
            scores = [float(score) for score in rules.model.score(matrix)]
        draws = [exploration_draw(past.purchase, rules.seed) for past in pasts]
        purchases, at = [past.purchase for past in pasts], pasts[0].decided_at
        decisions = decide_all(scores, matrix, purchases, rules.policy, posture, draws, at)
        for place, past, decision in zip(places, pasts, decisions, strict=True):
            decided[place] = closed(decision) if past.exploration_closed else decision
    return [decided[place] for place in range(len(batch))]


def _batches(pasts: Iterable[Past]) -> Iterator[list[Past]]:
    source = iter(pasts)
    while batch := list(islice(source, BATCH)):
        yield batch


def _chances(decided: Sequence[tuple[Action, float]]) -> Floats:
    """P(action) under the policy that decided, shape ``(n, 4)``: of would-be declines a share is approved."""
    chances = np.zeros((len(decided), len(ACTIONS)))
    for row, (action, propensity) in zip(chances, decided, strict=True):
        if propensity < 1:
            row[ACTIONS.index("approve")], row[ACTIONS.index("decline")] = propensity, 1 - propensity
        else:
            row[ACTIONS.index(action)] = 1.0
    return chances


def _moved(
    pasts: Sequence[Past], before: Floats, after: Floats, kinds: Sequence[Kind | None], codes: dict[str, int]
) -> Moved:
    return Moved(
        cards=np.array([codes.setdefault(past.purchase.card_id, len(codes)) for past in pasts], dtype=np.int64),
        amounts=_amounts(pasts), before=before, after=after,
        kinds=np.array([UNKNOWN if kind is None else KINDS.index(kind) for kind in kinds], dtype=np.int64),
        seen_chance=np.array([past.seen_chance for past in pasts], dtype=np.float64),
        is_seen=np.array([past.is_seen for past in pasts], dtype=np.bool_),
    )  # fmt: skip


def _amounts(pasts: Sequence[Past]) -> Floats:
    return np.array([past.purchase.amount_minor for past in pasts], dtype=np.float64)


def _count(found: Compared, batch: Sequence[Past], before: Floats, after: Floats, kinds: Sequence[Kind | None]) -> None:
    amounts = _amounts(batch)
    found.before.add(before, amounts)
    found.after.add(after, amounts)
    found.n += len(batch)
    found.n_known += sum(kind is not None for kind in kinds)
    instants = [past.purchase.occurred_at for past in batch]
    found.first = min([*instants, found.first] if found.first else instants)
    found.last = max([*instants, found.last] if found.last else instants)


def _no_hits(policy: VerdictPolicy) -> dict[str, RuleHits]:
    return {rule.id: RuleHits(rule.action) for rule in policy.rules}


def _count_rules(
    rules: dict[str, RuleHits], batch: Sequence[Past], decisions: Sequence[Decision], kinds: Sequence[Kind | None]
) -> None:
    for past, decision, kind in zip(batch, decisions, kinds, strict=True):
        for rule in decision.rules:
            hits = rules[rule]
            hits.hits += 1
            hits.amount_minor += past.purchase.amount_minor
            hits.fraud += kind == "fraud"
            hits.honest += kind == "honest"
        for rule in past.rules:
            if rule in rules:
                rules[rule].hits_before += 1
