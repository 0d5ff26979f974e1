"""One purchase's story: what each log says of it, as chapters in the order they were written, and what is missing."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ibook.features import FEATURE_NAMES, FEATURE_NAMES_HASH
from ibook.fraud import REASONS
from ibook.messages import (
    DeadLetter,
    DeadLetterRedriven,
    FraudLabel,
    FraudVerdict,
    PaymentOutcome,
    PurchaseRequested,
    QuoteIssued,
    QuoteSold,
    QuoteTakenBack,
    ReasonCode,
    VerdictEvidence,
)
from ibook.money import money


class Place(NamedTuple):
    """Where a message lies, and when the broker took it."""

    topic: str
    partition: int
    offset: int
    broker_at: datetime | None
    """None when only the archive tells of it."""

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


class Chapter(Struct, frozen=True, kw_only=True):
    """Something that happened to the purchase."""

    at: datetime
    """When the broker took the message; what the message says where that is not known."""
    what: str
    where: str
    sentence: str
    message: Mapping[str, Any] = {}
    """As it was written, or what it holds beside the sentence."""


class Moved(Struct, frozen=True, kw_only=True):
    """A feature of the decision."""

    feature: str
    value: float | None
    contribution: float | None
    """Log-odds that it added to the score; None when the model is not here to be asked."""


class Why(Struct, frozen=True, kw_only=True):
    """All that went into the decision, from its evidence."""

    action: str
    posture: str
    score: float | None
    threshold: float | None
    model_version: str
    policy_version: str
    challenger: str
    """The model that scored beside it, and what it or the champion said; empty when there was none."""
    rules: list[str]
    reasons: list[Mapping[str, Any]]
    """Code, what it means, contribution."""
    explored: bool
    propensity: float
    staleness_seconds: float | None
    features: list[Moved]
    """Those that moved the score most come first."""
    states: list[Mapping[str, Any]]
    """Entity, key, position of its state, and the purchases folded on top."""
    decision_id: str


class Missing(Struct, frozen=True, kw_only=True):
    """What no log tells of."""

    what: str
    looked: str
    """Where, and how far."""


class Story(Struct, frozen=True, kw_only=True):
    """All that is known of a transaction."""

    transaction_id: str
    chapters: list[Chapter]
    why: Why | None
    model: Mapping[str, Any]
    """The release of the model that decided; empty when none did, or it is not known."""
    policy: Mapping[str, Any]
    """The release of its policy; empty before any was released."""
    missing: list[Missing]


# ------------------------------------------------------------------------------------------------------------- chapters
def chapter_of_purchase(place: Place, purchase: PurchaseRequested | None, *, again: bool) -> Chapter:
    """The purchase as it was published; None when nobody can read it."""
    if purchase is None:
        return _chapter(place, "purchase", "A purchase that nobody can read.", None)
    amount = money(purchase.amount_minor, purchase.currency)
    sentence = (
        f"{'The same transaction, published again' if again else 'Purchase'}: {purchase.n_tickets} × "
        f"{purchase.ticket_type} of {purchase.event_id} for {amount}, by {purchase.user_id} with {purchase.card_id}."
    )
    return _chapter(place, "purchase again" if again else "purchase", sentence, purchase)


def chapter_of_verdict(place: Place, verdict: FraudVerdict, first: FraudVerdict, asked_at: datetime | None) -> Chapter:
    """A verdict; `first` is the one that counts, `asked_at` when the broker took the purchase."""
    if verdict is first:
        took = _milliseconds(asked_at, place.broker_at)
        sentence = f"Verdict: {verdict.action} ({verdict.score_band}), posture {verdict.posture}{took}."
        return _chapter(place, "verdict", sentence, verdict)
    same = verdict.action == first.action
    says = "says the same" if same else "CONTRADICTS the first"
    sentence = f"A second verdict, {verdict.action}: it {says}, and does not count."
    return _chapter(place, "verdict again" if same else "verdict conflict", sentence, verdict)


def chapter_of_evidence(place: Place, evidence: VerdictEvidence) -> Chapter:
    """The decision, told to us."""
    against = "" if evidence.threshold is None else f" against {evidence.threshold:.4f}"
    score = "no score" if evidence.score is None else f"score {evidence.score:.4f}{against}"
    rules = f", rules {', '.join(evidence.rules)}" if evidence.rules else ""
    explored = ", approved by the exploration slice" if evidence.explored else ""
    sentence = (
        f"Decided {evidence.action}: {score} by model {evidence.model_version}{rules}{explored}, "
        f"posture {evidence.posture}, policy {evidence.policy_version}."
    )
    return _chapter(place, "evidence", sentence, None, fallback=evidence.occurred_at)


def chapter_of_outcome(place: Place, outcome: PaymentOutcome) -> Chapter:
    """What the payment provider said."""
    because = f" ({outcome.reason})" if outcome.reason else ""
    what = "refund" if outcome.status == "refunded" else "payment"
    sentence = f"Payment {outcome.status}: {money(outcome.amount_minor, outcome.currency)}{because}."
    return _chapter(place, what, sentence, outcome)


def chapter_of_label(place: Place, label: FraudLabel) -> Chapter:
    """What was learned long after."""
    sentence = f"Label by {label.source}: {'fraud' if label.is_fraud else 'no fraud'}."
    return _chapter(place, "label", sentence, label)


def chapter_of_letter(place: Place, letter: DeadLetter | DeadLetterRedriven) -> Chapter:
    """A refusal, or the way back."""
    if isinstance(letter, DeadLetterRedriven):
        return _chapter(place, "redriven", f"Published again from its dead letter, attempt {letter.attempt}.", letter)
    lies = f"{letter.topic}:{letter.partition}:{letter.offset}"
    sentence = f"Dead letter about {lies}, by {letter.worker}: {letter.reason}, {letter.detail}."
    return Chapter(at=place.broker_at or letter.occurred_at, what="dead letter", where=str(place), sentence=sentence)


def chapter_of_quote(place: Place, entry: QuoteIssued | QuoteSold | QuoteTakenBack) -> Chapter:
    """A step in the life of the quote it was bought at."""
    if isinstance(entry, QuoteIssued):
        price = money(entry.price_minor, entry.currency)
        sentence = (
            f"Quote issued: {price} for {entry.ticket_type}, arm {entry.arm} with propensity {entry.propensity:.3f}, "
            f"policy {entry.policy_version}, until {entry.expires_at.isoformat()}."
        )
    elif isinstance(entry, QuoteSold):
        sentence = f"Quote sold by transaction {entry.transaction_id}."
    else:
        sentence = f"Quote taken back ({entry.reason}) by transaction {entry.transaction_id}."
    return _chapter(place, "quote", sentence, entry)


def _chapter(
    place: Place, what: str, sentence: str, message: Struct | None, *, fallback: datetime | None = None
) -> Chapter:
    told: datetime = getattr(message, "occurred_at", datetime.fromtimestamp(0, UTC))
    at = place.broker_at or fallback or told
    held = {} if message is None else msgspec.to_builtins(message)
    return Chapter(at=at, what=what, where=str(place), sentence=sentence, message=held)


def _milliseconds(asked_at: datetime | None, told_at: datetime | None) -> str:
    if asked_at is None or told_at is None:
        return ""
    return f", {(told_at - asked_at).total_seconds() * 1000:,.0f} ms after the purchase"


# ------------------------------------------------------------------------------------------------------------------ why
def why_of(evidence: VerdictEvidence, contributions: NDArray[np.float64] | None) -> Why:
    """The decision taken apart.

    `contributions` are log-odds of shape ``(len(FEATURE_NAMES),)``; None where the model can't be asked.
    """
    return Why(
        action=evidence.action, posture=evidence.posture, score=evidence.score, threshold=evidence.threshold,
        model_version=evidence.model_version, policy_version=evidence.policy_version,
        challenger=_beside(evidence), rules=evidence.rules,
        reasons=[_reason(each) for each in evidence.reasons],
        explored=evidence.explored, propensity=evidence.propensity, staleness_seconds=evidence.staleness_seconds,
        features=_moved(evidence, contributions), decision_id=evidence.decision_id,
        states=[
            {"entity": state.entity, "key": state.key,
             "position": f"entity-updates:{state.updates_partition}:{state.updates_offset}",
             "folded": [_folded(*each) for each in state.folded]}
            for state in evidence.states
        ],
    )  # fmt: skip


def _beside(evidence: VerdictEvidence) -> str:
    if not evidence.challenger_version:
        return ""
    said = evidence.challenger_score
    told = f"{evidence.challenger_version} said {'nothing' if said is None else f'{said:.4f}'}"
    champion = evidence.champion_score
    return told if champion is None else f"{told}, and decided; the champion said {champion:.4f}"


def _reason(reason: ReasonCode) -> Mapping[str, Any]:
    meaning = REASONS.get(reason.code, "A rule of the policy.")
    return {"code": reason.code, "meaning": meaning, "contribution": reason.contribution, "rule": reason.rule}


def _folded(topic: str, partition: int, first: int, last: int, count: int) -> str:
    return f"{topic}:{partition}:{first}–{last} ({count})"


def _moved(evidence: VerdictEvidence, contributions: NDArray[np.float64] | None) -> list[Moved]:
    """Names and values; without contributions those that have a value come first, in the order of their declaration."""
    names: Sequence[str] = FEATURE_NAMES
    if evidence.feature_names_hash != FEATURE_NAMES_HASH or len(evidence.features) != len(names):
        names, contributions = [f"#{number}" for number in range(len(evidence.features))], None
    weights = [None] * len(names) if contributions is None else contributions.tolist()
    moved = [
        Moved(feature=name, value=value, contribution=weight)
        for name, value, weight in zip(names, evidence.features, weights, strict=True)
    ]
    return sorted(moved, key=lambda each: (-abs(each.contribution or 0.0), each.value is None))
