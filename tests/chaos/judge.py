"""What the topics must hold after a scenario, worked out from the messages alone: nothing here asks a worker.

Loss is a set difference: transactions that asked for a verdict, minus transactions that have one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple

from ibook import codec
from ibook import messages as m
from ibook.errors import InvalidMessage
from ibook.topics import BY_NAME, DEAD_LETTERS, FRAUD_EVIDENCE, FRAUD_VERDICTS, TICKET_ACTIVITY, TICKET_PURCHASES

FUTURE_SECONDS = 300
"""docs/publishing.md: how far ahead of the broker's clock a message may be."""
JUDGED = tuple(
    topic.name for topic in (TICKET_PURCHASES, TICKET_ACTIVITY, FRAUD_VERDICTS, FRAUD_EVIDENCE, DEAD_LETTERS)
)
Place = tuple[str, int, int]
"""Topic, partition, offset."""


class Lying(NamedTuple):
    """A message as it lies in its topic."""

    partition: int
    offset: int
    broker_ms: int
    value: bytes | None
    headers: Mapping[str, bytes] = {}


Logs = Mapping[str, Sequence[Lying]]


class Sample(NamedTuple):
    """The verdict group's committed offsets by partition, and where verdicts and dead letters ended just after."""

    committed: Mapping[int, int]
    verdict_ends: Mapping[int, int]
    dead_end: int


@dataclass
class Expected:
    """What the source topics ask for."""

    answers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Partition and offset of the message that is due a verdict, by transaction."""
    explained: set[str] = field(default_factory=set)
    """Transactions that could be read, so that evidence is due as well."""
    letters: set[Place] = field(default_factory=set)


@dataclass
class Findings:
    """What was found; every list is empty when all is well."""

    purchases: int = 0
    """Transactions that are due a verdict."""
    verdicts: int = 0
    """Those of them that have one."""
    missing: list[str] = field(default_factory=list)
    conflicting: list[str] = field(default_factory=list)
    """Transactions whose verdicts differ in their action; under `first_wins` those of which two could be the first."""
    repeated: int = 0
    """Verdicts beyond the first of their transaction."""
    invented: list[str] = field(default_factory=list)
    """Transactions with a verdict that nobody asked for."""
    unexplained: list[str] = field(default_factory=list)
    """Verdicts without evidence that the broker had before them and that says the same."""
    dead_letters: int = 0
    letters_missing: list[Place] = field(default_factory=list)
    letters_beyond: list[Place] = field(default_factory=list)
    ungiven: list[str] = field(default_factory=list)
    """Transactions of which the shop's reader was given no verdict."""
    misgiven: list[str] = field(default_factory=list)
    """Those of which it was given another than the first; the first may come again, when it could not be committed."""
    overtaken: list[Place] = field(default_factory=list)
    """Purchases that a committed offset had passed before they were answered."""

    def faults(self) -> list[str]:
        """One sentence for each kind of fault, with the first few examples."""
        found: Mapping[str, Sequence[object]] = {
            "purchases have no verdict": self.missing,
            "transactions have verdicts that differ": self.conflicting,
            "verdicts were never asked for": self.invented,
            "verdicts have no evidence": self.unexplained,
            "unreadable messages have no dead letter": self.letters_missing,
            "dead letters are of messages that can be read": self.letters_beyond,
            "transactions were not given to the shop": self.ungiven,
            "transactions were given to the shop with another verdict than their first": self.misgiven,
            "purchases were committed before they were answered": self.overtaken,
        }
        return [f"{len(which)} {what}: {list(which)[:3]}" for what, which in found.items() if which]


def judge(
    logs: Logs,
    samples: Sequence[Sample] = (),
    *,
    given_to_shop: Mapping[str, Sequence[str]] | None = None,
    first_wins: bool = False,
) -> Findings:
    """Compare what was asked for with what was answered. `logs` are in order within each partition.

    `given_to_shop` are the actions that a reader with our helper was given, by transaction. `first_wins`: a frozen
    worker may have woken, so only what differs for a reader who takes the first is a conflict.
    """
    expected = expect(logs)
    given, where = _verdicts(logs[FRAUD_VERDICTS.name])
    letters = _letters(logs[DEAD_LETTERS.name])
    return Findings(
        purchases=len(expected.answers),
        verdicts=len(expected.answers.keys() & given.keys()),
        missing=sorted(expected.answers.keys() - given.keys()),
        conflicting=_conflicting(given, expected, first_wins=first_wins),
        repeated=sum(len(each) - 1 for each in given.values()),
        invented=sorted(given.keys() - expected.answers.keys()),
        unexplained=_unexplained(logs, expected.explained),
        dead_letters=len(letters),
        letters_missing=sorted(expected.letters - letters.keys()),
        letters_beyond=sorted(letters.keys() - expected.letters),
        ungiven=[] if given_to_shop is None else sorted(given.keys() - given_to_shop.keys()),
        misgiven=[] if given_to_shop is None else _misgiven(given, given_to_shop),
        overtaken=_overtaken(expected, where, letters, samples),
    )


def waits(logs: Logs) -> list[float]:
    """Seconds from each purchase to its first verdict by the broker's times, shortest first.

    Purchases without a verdict are not among them: they are missing, not late.
    """
    bought = {(each.partition, each.offset): each.broker_ms for each in logs[TICKET_PURCHASES.name]}
    told = {(each.partition, each.offset): each.broker_ms for each in logs[FRAUD_VERDICTS.name]}
    _, first = _verdicts(logs[FRAUD_VERDICTS.name])
    answers = expect(logs).answers
    return sorted((told[first[name]] - bought[place]) / 1000 for name, place in answers.items() if name in first)


def within(waited: Sequence[float], share: float) -> float:
    """Within which so large a share had its answer. Raises IndexError when nobody had.

    >>> within([0.1, 0.2, 0.3, 9.0], 0.75)
    0.3
    """
    return waited[ceil(share * len(waited)) - 1]


# ------------------------------------------------------------------------------------------------- what is asked for
def expect(logs: Logs) -> Expected:
    """The verdicts and dead letters that the sources ask for."""
    expected = Expected()
    for lying in logs[TICKET_ACTIVITY.name]:
        if _read(TICKET_ACTIVITY.name, lying) is None:
            expected.letters.add((TICKET_ACTIVITY.name, lying.partition, lying.offset))
    known: dict[int, dict[str, object]] = defaultdict(dict)
    for lying in logs[TICKET_PURCHASES.name]:
        _expect_answer(lying, known[lying.partition], expected)
    return expected


def _expect_answer(lying: Lying, known: dict[str, object], expected: Expected) -> None:
    """`known` is what the partition's transactions asked for; None is what could not be read."""
    purchase: m.PurchaseRequested | None = _read(TICKET_PURCHASES.name, lying)
    transaction = purchase.transaction_id if purchase else lying.headers.get("transaction_id", b"").decode()
    asks = _asks(purchase) if purchase and not _is_future(purchase, lying) else None
    before = known.get(transaction)
    if asks is None or (before is not None and before != asks):
        expected.letters.add((TICKET_PURCHASES.name, lying.partition, lying.offset))
    if transaction and transaction not in known:
        known[transaction] = asks
        expected.answers[transaction] = (lying.partition, lying.offset)
        if asks is not None:
            expected.explained.add(transaction)


def _read(topic: str, lying: Lying) -> Any:
    """The message; None when it can't be read, or (of activity) claims to come from the future."""
    try:
        message: m.Message = codec.decode(lying.value, BY_NAME[topic].message)
    except InvalidMessage:
        return None
    return None if topic == TICKET_ACTIVITY.name and _is_future(message, lying) else message


def _is_future(message: m.Message, lying: Lying) -> bool:
    return message.occurred_at.timestamp() > lying.broker_ms / 1000 + FUTURE_SECONDS


def _asks(of: m.PurchaseRequested) -> tuple[object, ...]:
    """docs/publishing.md: what a repeat has to ask for again."""
    return of.user_id, of.card_id, of.event_id, of.ticket_type, of.n_tickets, of.amount_minor, of.currency


# -------------------------------------------------------------------------------------------------- what was answered
class _Given(NamedTuple):
    """A verdict and its partition."""

    partition: int
    action: str


def _verdicts(lying: Iterable[Lying]) -> tuple[dict[str, list[_Given]], dict[str, tuple[int, int]]]:
    """All verdicts by transaction, and the place of each one's first."""
    given, first = defaultdict[str, list[_Given]](list), dict[str, tuple[int, int]]()
    for each in lying:
        verdict: m.FraudVerdict = codec.decode(each.value, m.FraudVerdict)
        given[verdict.transaction_id].append(_Given(each.partition, verdict.action))
        first.setdefault(verdict.transaction_id, (each.partition, each.offset))
    return dict(given), first


def _conflicting(given: Mapping[str, Sequence[_Given]], expected: Expected, *, first_wins: bool) -> list[str]:
    """A verdict in another partition than its purchase's is always one: nobody knows which of them was the first."""

    def differs(transaction: str, each: Sequence[_Given]) -> bool:
        home = expected.answers.get(transaction, (each[0].partition, 0))[0]
        elsewhere = any(one.partition != home for one in each)
        return elsewhere or (not first_wins and len({one.action for one in each}) > 1)

    return sorted(transaction for transaction, each in given.items() if differs(transaction, each))


def _misgiven(given: Mapping[str, Sequence[_Given]], to_shop: Mapping[str, Sequence[str]]) -> list[str]:
    return sorted(name for name, each in given.items() if set(to_shop.get(name, ())) - {each[0].action})


def _unexplained(logs: Logs, explained: set[str]) -> list[str]:
    evidence: dict[str, tuple[str, int]] = {}
    for each in logs[FRAUD_EVIDENCE.name]:
        proof: m.VerdictEvidence = codec.decode(each.value, m.VerdictEvidence, max_bytes=codec.MAX_OWN_BYTES)
        evidence[proof.decision_id] = (proof.action, each.broker_ms)
    found = []
    for each in logs[FRAUD_VERDICTS.name]:
        verdict: m.FraudVerdict = codec.decode(each.value, m.FraudVerdict)
        action, broker_ms = evidence.get(verdict.message_id.removeprefix("verdict-"), ("", 0))
        if verdict.transaction_id in explained and (action != verdict.action or broker_ms > each.broker_ms):
            found.append(verdict.message_id)
    return found


def _letters(lying: Iterable[Lying]) -> dict[Place, int]:
    """Offset of the first letter of each position: a redelivery repeats the letter and its id."""
    letters: dict[Place, int] = {}
    for each in lying:
        letter = codec.decode_dead_letter(each.value)
        letters.setdefault((letter.topic, letter.partition, letter.offset), each.offset)
    return letters


def _overtaken(
    expected: Expected, where: Mapping[str, tuple[int, int]], letters: Mapping[Place, int], samples: Sequence[Sample]
) -> list[Place]:
    """Messages below a committed offset whose verdict or dead letter was not there when that offset was read."""
    topic, never, found = TICKET_PURCHASES.name, 1 << 62, set[Place]()
    answers = [(place, where.get(name, (place[0], never))) for name, place in expected.answers.items()]
    dead = [place for place in expected.letters if place[0] == topic]
    for sample in _apart(samples):
        for (partition, offset), (home, at) in answers:
            if offset < sample.committed.get(partition, 0) and at >= sample.verdict_ends.get(home, 0):
                found.add((topic, partition, offset))
        for place in dead:
            if place[2] < sample.committed.get(place[1], 0) and letters.get(place, never) >= sample.dead_end:
                found.add(place)
    return sorted(found)


def _apart(samples: Sequence[Sample]) -> list[Sample]:
    """The samples whose committed offsets moved: the earliest of equals says the most."""
    kept: list[Sample] = []
    for sample in samples:
        if not kept or kept[-1].committed != sample.committed:
            kept.append(sample)
    return kept
