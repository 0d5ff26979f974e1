"""Degradation: what was done to the messages on their way, and that nobody who could be answered went unanswered."""

from msgspec import Struct

from simulator.record import RunRecord
from simulator.validators.measure import Meaning, Measure, known, not_taken

MEASURES = {
    "degradation.injected": Meaning("count", "messages that were harmed"),
    "degradation.unanswered": Meaning("count", "identifiable purchases, harmed or not, without an answer"),
}


class Harm(Struct, frozen=True, kw_only=True):
    """What was injected, and what came of it."""

    counts: dict[str, int]
    """Messages per kind of harm; empty when nothing was done to them."""
    identifiable: int
    """Malformed purchases whose transaction id could still be read …"""
    answered: int
    """… and those of them that got a verdict."""


def figures(record: RunRecord) -> Harm:
    """As recorded."""
    done = record.degradation
    if done is None:
        return Harm(counts={}, identifiable=0, answered=0)
    return Harm(counts=dict(sorted(done.counts.items())), identifiable=done.identifiable, answered=done.answered)


def measures(record: RunRecord, found: Harm) -> tuple[Measure, ...]:
    """What thresholds may bound."""
    if record.degradation is None:
        return not_taken(tuple(MEASURES), "Nothing was done to the messages of this run.")
    total = sum(found.counts.values())
    injected = known("degradation.injected", total, total, f"{total} messages were harmed on their way.")
    if record.decided_by != "platform":
        return injected, *not_taken(("degradation.unanswered",), "A stand-in decided, no platform was asked.")
    asked = len(record.purchases) + found.identifiable
    unanswered = record.missing + found.identifiable - found.answered
    sentence = f"{unanswered} of {asked} purchases that could be identified went unanswered."
    return injected, known("degradation.unanswered", unanswered, asked, sentence)
