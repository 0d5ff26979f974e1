"""Accuracy: verdicts against the truth, per attack pattern and per innocent look-alike, in purchases and in money.

Flagged is what was answered with review, challenge or decline. Payment fraud is what counts for recall, precision and
average precision; abuse (scalping, hoarding, refund abuse) never becomes a chargeback and is counted apart: it is
neither a hit nor a false alarm.
"""

from collections import Counter

from msgspec import Struct

from simulator.record import RunRecord
from simulator.validators.cards import CardPrecision, card_precision
from simulator.validators.curves import Curve, Histogram, average_precision, curve_of, histograms
from simulator.validators.groups import (
    LookAlike,
    Money,
    Pattern,
    is_flagged,
    is_honest,
    is_turned_down,
    look_alikes_of,
    money_of,
    patterns_of,
)
from simulator.validators.measure import Meaning, Measure, Share, known, not_taken, share, unknown

RECALL_OF, FALSE_DECLINES_OF = "accuracy.recall_", "accuracy.false_declines_"
"""What the names of measures about one pattern or one look-alike begin with."""
MEASURES = {
    "accuracy.recall": Meaning("share", "share of the payment fraud that was flagged"),
    "accuracy.precision": Meaning("share", "share of what was flagged that is payment fraud, abuse left out"),
    "accuracy.average_precision": Meaning("score", "average precision of the scores, abuse left out"),
    "accuracy.false_declines": Meaning("share", "share of the honest purchases that were turned down in the end"),
    "accuracy.worst_look_alike": Meaning("share", "the same share of the look-alike that suffers most"),
    "accuracy.card_precision": Meaning("share", "compromised cards among the top k of a period, of those to be found"),
    "accuracy.money_saved": Meaning("share", "share of the money at stake in payment fraud that was not lost"),
    "accuracy.abuse_flagged": Meaning("share", "share of the abuse that was flagged"),
    f"{RECALL_OF}<pattern>": Meaning("share", "recall of one pattern"),
    f"{FALSE_DECLINES_OF}<look-alike>": Meaning(
        "share", "false declines of one look-alike; `none` is who looks like nothing"
    ),
}
FEW = 30
"""A look-alike with fewer purchases does not count as the worst: one unlucky family would."""


class Accuracy(Struct, frozen=True, kw_only=True):
    """How well verdicts agree with the truth, over the purchases that were answered."""

    answered: int
    honest: int
    fraud: int
    abuse: int
    actions: dict[str, int]
    recall: Share
    precision: Share
    false_declines: Share
    abuse_flagged: Share
    plain_accuracy: Share
    """Share of purchases judged rightly …"""
    plain_accuracy_of_nothing: Share
    """… and the share that approving everything judges rightly."""
    scored: int
    average_precision: float | None
    curve: Curve
    scores: dict[str, Histogram]
    """How scores are spread, per pattern."""
    patterns: dict[str, Pattern]
    look_alikes: dict[str, LookAlike]
    cards: CardPrecision | None
    money: Money


def figures(record: RunRecord) -> Accuracy:
    """Everything, over the purchases with a verdict."""
    judged = [each for each in record.purchases if each.action is not None]
    honest = [each for each in judged if is_honest(each)]
    fraud = [each for each in judged if each.is_fraud]
    abuse = [each for each in judged if each.is_abuse]
    right = sum(is_flagged(each) == each.is_fraud for each in (*honest, *fraud))
    hits = sum(map(is_flagged, fraud))
    return Accuracy(
        answered=len(judged), honest=len(honest), fraud=len(fraud), abuse=len(abuse),
        actions=dict(sorted(Counter(str(each.action) for each in judged).items())),
        recall=share(hits, len(fraud)), precision=share(hits, hits + sum(map(is_flagged, honest))),
        false_declines=share(sum(map(is_turned_down, honest)), len(honest)),
        abuse_flagged=share(sum(map(is_flagged, abuse)), len(abuse)),
        plain_accuracy=share(right, len(honest) + len(fraud)),
        plain_accuracy_of_nothing=share(len(honest), len(honest) + len(fraud)),
        scored=sum(each.score is not None for each in judged),
        average_precision=average_precision((*honest, *fraud)), curve=curve_of((*honest, *fraud)),
        scores=histograms(judged), patterns=patterns_of(fraud, abuse, honest), look_alikes=look_alikes_of(honest),
        cards=card_precision(record), money=money_of(fraud, honest),
    )  # fmt: skip


def measures(record: RunRecord, found: Accuracy) -> tuple[Measure, ...]:
    """What thresholds may bound."""
    names = tuple(name for name in MEASURES if "<" not in name)
    if record.decided_by != "platform":
        return not_taken(names, "A stand-in decided; what it caught says nothing about the platform.")
    return (
        _of_share("accuracy.recall", found.recall, "payment frauds were flagged"),
        _of_share("accuracy.precision", found.precision, "flagged purchases are payment fraud"),
        _average_precision(found),
        _of_share("accuracy.false_declines", found.false_declines, "honest purchases were turned down"),
        _worst_look_alike(found), _card_precision(found), _money_saved(found),
        _of_share("accuracy.abuse_flagged", found.abuse_flagged, "abusive purchases were flagged"),
        *(_of_share(f"{RECALL_OF}{name}", each.flagged, f"{name} purchases were flagged")
          for name, each in found.patterns.items()),
        *(_of_share(f"{FALSE_DECLINES_OF}{name}", each.turned_down, f"honest {name} purchases were turned down")
          for name, each in found.look_alikes.items()),
    )  # fmt: skip


def why_plain_accuracy_flatters(found: Accuracy) -> str:
    """One sentence beside the figure, or nothing without one."""
    plain, nothing = found.plain_accuracy.value, found.plain_accuracy_of_nothing.value
    if plain is None or nothing is None:
        return ""
    return (
        f"{plain:.1%} of the purchases were judged rightly, which flatters: whoever approves everything and catches "
        f"nobody judges {nothing:.1%} rightly, because fraud is rare."
    )


# ---------------------------------------------------------------------------------------------------------- measures
def _of_share(name: str, found: Share, what: str) -> Measure:
    if found.value is None:
        return unknown(name, f"There were no purchases to ask whether {what}.")
    return known(
        name, found.value, found.of, f"{found} {what}: {found.value:.1%} ({found.low:.1%} to {found.high:.1%})."
    )


def _average_precision(found: Accuracy) -> Measure:
    name = "accuracy.average_precision"
    if found.average_precision is None:
        why = "No scores were heard." if not found.scored else "Not both fraud and honest purchases were scored."
        return unknown(name, why)
    base = found.fraud / (found.fraud + found.honest)
    sentence = f"Average precision is {found.average_precision:.2f}; scores drawn by lot would reach {base:.3f}."
    return known(name, found.average_precision, found.fraud, sentence)


def _worst_look_alike(found: Accuracy) -> Measure:
    shares = {name: each.turned_down for name, each in found.look_alikes.items()}
    enough = [(each.value, name) for name, each in shares.items() if each.of >= FEW and each.value is not None]
    if not enough:
        return unknown("accuracy.worst_look_alike", f"No look-alike bought {FEW} times.")
    value, name = max(enough)
    sentence = f"Of the look-alikes {name} suffers most: {shares[name]} were turned down."
    return known("accuracy.worst_look_alike", value, shares[name].of, sentence)


def _card_precision(found: Accuracy) -> Measure:
    cards = found.cards
    if cards is None or not cards.best:
        why = "No scores were heard." if cards is None else "No compromised card was there to be found."
        return unknown("accuracy.card_precision", why)
    sentence = (
        f"Of the {cards.k} cards of the highest scores in each {cards.period_seconds:.3g} s, {cards.value:.1%} were "
        f"compromised; {cards.best:.1%} could have been."
    )
    return known("accuracy.card_precision", cards.value / cards.best, found.fraud, sentence)


def _money_saved(found: Accuracy) -> Measure:
    money = found.money
    at_stake = money.saved_minor + money.lost_minor
    if not at_stake:
        return unknown("accuracy.money_saved", "No payment fraud was settled or turned down.")
    sentence = (
        f"{money.saved_minor / 100:,.2f} of payment fraud were turned down and {money.lost_minor / 100:,.2f} lost, at "
        f"the price of {money.honest_turned_down_minor / 100:,.2f} of honest purchases turned down."
    )
    return known("accuracy.money_saved", money.saved_minor / at_stake, found.fraud, sentence)
