"""What is counted while the shop is open: verdicts against purchases, and against the hidden truth."""

from array import array
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ibook.messages import Action
from simulator.lateness import Lateness
from simulator.truth import Truth

FLAGGED: frozenset[Action] = frozenset({"review", "challenge", "decline"})


@dataclass(slots=True)
class Sent:
    """A purchase on the topic, and the first verdict that came for it."""

    at: float
    """`time.perf_counter` just before it was handed to the producer."""
    action: Action | None = None
    latency: float | None = None
    """Seconds from `at` until the first verdict was readable."""
    repeated: bool = False
    contradicted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackReport:
    """A campaign so far. Caught is what was answered with review, challenge or decline."""

    number: int
    pattern: str
    started_us: int
    purchases: int
    caught: tuple[str, ...]
    """Transaction ids."""
    missed: tuple[str, ...]
    """Transaction ids that were approved."""


@dataclass(slots=True)
class Scoreboard:
    """Counts verdicts. Only what was sent through here counts; others' verdicts are `unknown`."""

    truth: Truth
    sent: dict[str, Sent] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Purchases that Kafka did not take."""
    lost_unanswered: int = 0
    """Those of them without a verdict."""
    answered: int = 0
    conflicting: int = 0
    duplicated: int = 0
    unknown: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    hits: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    """(is fraud, was flagged) -> purchases; without abuse, which is neither fraud nor a false alarm."""
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    """Seconds from just before a purchase was produced until its verdict was readable, in the order of verdicts."""
    latency: Lateness = field(default_factory=Lateness)
    """The same in bins: asking for its percentiles takes no longer the longer a run goes on."""

    def purchase_sent(self, transaction_id: str, at: float) -> None:
        """A purchase is about to be produced; when it is sent twice, the first time counts."""
        self.sent.setdefault(transaction_id, Sent(at))

    def purchase_lost(self, transaction_id: str) -> None:
        """Kafka did not take a purchase; nobody will answer it."""
        sent = self.sent.get(transaction_id)
        if sent is not None and transaction_id not in self.lost:
            self.lost.add(transaction_id)
            self.lost_unanswered += sent.action is None

    def verdict_read(self, transaction_id: str, action: Action, at: float) -> bool:
        """A verdict is readable; whether it is the first one of a purchase of ours."""
        sent = self.sent.get(transaction_id)
        if sent is None:
            self.unknown += 1
            return False
        if sent.action is not None:
            self._count_repetition(sent, action)
            return False
        self._count_first(transaction_id, sent, action, at)
        return True

    def _count_first(self, transaction_id: str, sent: Sent, action: Action, at: float) -> None:
        sent.action, sent.latency = action, at - sent.at
        self.answered += 1
        self.lost_unanswered -= transaction_id in self.lost
        self.actions[action] += 1
        self.latencies.append(sent.latency)
        self.latency.note(round(sent.latency * 1e6))
        truth = self.truth.transactions[transaction_id]
        if not truth.is_abuse:
            self.hits[truth.is_fraud, action in FLAGGED] += 1

    @property
    def missing(self) -> int:
        """Purchases Kafka took, or may have, that have no verdict yet."""
        return len(self.sent) - self.answered - self.lost_unanswered

    @property
    def recall(self) -> float | None:
        """Share of the answered fraud that was flagged; None without any."""
        return _share(self.hits[True, True], self.hits[True, False])

    @property
    def precision(self) -> float | None:
        """Share of what was flagged that is fraud, abuse left out; None when nothing was flagged."""
        return _share(self.hits[True, True], self.hits[False, True])

    def recent_latency_ms(self, last: int) -> dict[str, float]:
        """p50, p95 and p99 in milliseconds, of the last so many samples; empty without any."""
        samples = np.array(self.latencies[-last:])
        if not samples.size:
            return {}
        return {f"p{q}": float(np.percentile(samples, q)) * 1000 for q in (50, 95, 99)}

    def attacks(self) -> tuple[AttackReport, ...]:
        """Every campaign so far, oldest first."""
        return tuple(self._report(number) for number in sorted(self.truth.attacks))

    def _report(self, number: int) -> AttackReport:
        attack = self.truth.attacks[number]
        actions = [(one, self.sent[one].action) for one in attack.transaction_ids if one in self.sent]
        return AttackReport(
            number=number, pattern=attack.pattern, started_us=attack.started_us, purchases=len(actions),
            caught=tuple(one for one, action in actions if action in FLAGGED),
            missed=tuple(one for one, action in actions if action == "approve"),
        )  # fmt: skip

    def _count_repetition(self, sent: Sent, action: Action) -> None:
        """Each purchase counts once as conflicting or duplicated, however often it was answered."""
        if action != sent.action:
            self.conflicting += not sent.contradicted
            sent.contradicted = True
        else:
            self.duplicated += not sent.repeated
            sent.repeated = True


def _share(yes: int, no: int) -> float | None:
    return yes / (yes + no) if yes + no else None
