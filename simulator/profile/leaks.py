"""Whether ids, order or formatting give away who is who: a model on nothing else must find nothing.

What a field says (an address, an amount) is left out: the shop knows that. What is looked at is how it is written.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ibook import codec
from ibook.messages import (
    AccountChanged,
    EventViewed,
    LoginAttempted,
    Message,
    PaymentOutcome,
    PurchaseRequested,
    SeatsHeld,
    SeatsReleased,
    TicketsTransferred,
)
from simulator.sinks import Record
from simulator.truth import TransactionTruth

HONEST = ""
LEAST = 30
"""Rows of each side that a place to look must hold, or it is left out."""
DEVIATIONS = 4.0
"""Half the width of the interval that chance gives, in standard deviations: one in 16,000 lies outside."""
PERMUTATIONS = 300
N_TREES = 40
PARAMETERS = {"objective": "binary:logistic", "tree_method": "hist", "max_depth": 3, "eta": 0.2, "nthread": 1}
KINDS: tuple[type[Message], ...] = (
    PurchaseRequested, PaymentOutcome, EventViewed, SeatsHeld, SeatsReleased, LoginAttempted, AccountChanged,
    TicketsTransferred,
)  # fmt: skip
"""Messages that visitors cause."""
OPAQUE = ("message_id", "transaction_id", "user_id", "card_id", "device_id", "hold_id")
"""Identifiers that must say nothing."""


@dataclass
class Place:
    """Where a leak could be: rows of plain numbers, and the pattern behind each (empty: honest)."""

    rows: list[list[float]] = field(default_factory=list)
    patterns: list[str] = field(default_factory=list)

    def add(self, row: list[float], pattern: str) -> None:
        """One more."""
        self.rows.append(row)
        self.patterns.append(pattern)


@dataclass(frozen=True)
class Finding:
    """How well a model told a pattern from honest rows by one place; `pattern` is `all` for every pattern at once."""

    place: str
    pattern: str
    n: int
    auc: float
    """On rows held out."""
    interval: tuple[float, float]
    """Of the AUC when the held-out rows' patterns are shuffled."""

    @property
    def is_leak(self) -> bool:
        """Whether the model found more than chance gives."""
        return self.auc > self.interval[1]


def findings(records: Iterable[Record], truth: dict[str, TransactionTruth], *, seed: int) -> list[Finding]:
    """Look at every place that holds enough of both sides."""
    return [finding for name, place in places(list(records), truth).items() for finding in _judged(name, place, seed)]


# ---------------------------------------------------------------------------------------------------- where to look
def places(records: Sequence[Record], truth: dict[str, TransactionTruth]) -> dict[str, Place]:
    """The identifiers, each once, and how every kind of message is written and ordered."""
    who = _Who(records, truth)
    found: dict[str, Place] = {}
    seen: set[tuple[str, str]] = set()
    for message, order in _ordered(records):
        pattern = who.of(message)
        written = found.setdefault(f"writing of {_said(message)}", Place())
        written.add([*order, *writing(message)], pattern)
        for name, value, extra in _ids(message):
            if (name, value) not in seen:
                seen.add((name, value))
                found.setdefault(name, Place()).add([*digits(value), *extra], who.of_id(name, value, pattern))
    return found


class _Who:
    """The pattern behind a message or an identifier."""

    def __init__(self, records: Sequence[Record], truth: dict[str, TransactionTruth]) -> None:
        self._transactions = {
            one.transaction_id: one.pattern if one.is_fraud or one.is_abuse else HONEST for one in truth.values()
        }
        self._ids: dict[tuple[str, str], str] = {}
        for _, _, message in records:
            if isinstance(message, PurchaseRequested) and (pattern := self.of(message)):
                self._ids |= {(name, getattr(message, name)): pattern for name in ("user_id", "card_id", "device_id")}

    def of(self, message: Message) -> str:
        """A purchase's own, and for what a visitor does besides, that of the device."""
        transaction_id = getattr(message, "transaction_id", None)
        if transaction_id is not None:
            return self._transactions[transaction_id]
        return self._ids.get(("device_id", getattr(message, "device_id", "")), HONEST)

    def of_id(self, name: str, value: str, pattern: str) -> str:
        """Of an identifier that lasts: of any of its purchases."""
        return self._ids.get((name, value), HONEST) if name in ("user_id", "card_id", "device_id") else pattern


def _ordered(records: Sequence[Record]) -> Iterator[tuple[Message, list[float]]]:
    """Visitors' messages with their place among all visitors' of their instant, and how many those are."""
    caused = (message for _, _, message in records if isinstance(message, KINDS))
    for _, group in groupby(caused, key=lambda message: message.occurred_at):
        instant = list(group)
        for place, message in enumerate(instant):
            yield message, [float(place), float(len(instant))]


def _said(message: Message) -> str:
    """The kind of message, and what it says that changes what comes with it: declines, and takeovers, are no secret."""
    said = [getattr(message, name) for name in ("status", "change", "succeeded") if hasattr(message, name)]
    return " ".join([type(message).__name__, *(str(word).lower() for word in said)])


def _ids(message: Message) -> Iterator[tuple[str, str, list[float]]]:
    for name in OPAQUE:
        value = getattr(message, name, None)
        if value is not None:
            opened = getattr(message, "account_opened_at", None) if name == "user_id" else None
            yield name, value, [] if name != "user_id" else instant_digits(opened)


# ------------------------------------------------------------------------------------------------ how it is written
def digits(value: str) -> list[float]:
    """An identifier as numbers: its length, its characters, and hashes of its beginning.

    >>> digits("a1")[:3]
    [2.0, 97.0, 49.0]
    """
    characters = [float(ord(character)) for character in value[:20]]
    beginnings = [float(blake2b(value[:n].encode(), digest_size=2).digest()[0]) for n in (1, 2, 3, 4)]
    return [float(len(value)), *characters, *[-1.0] * (20 - len(characters)), *beginnings]


def instant_digits(instant: datetime | None) -> list[float]:
    """The microseconds of a time, and what they leave in tens, hundreds and thousands; -1 where there is no time."""
    if instant is None:
        return [-1.0] * 5
    us = instant.microsecond
    return [float(us), float(us % 10), float(us % 100), float(us % 1000), float(us // 1000 % 10)]


def writing(message: Message) -> list[float]:
    """How a message is written, whatever it says: fields and their order, length without values, kinds of numbers."""
    payload = codec.encode(message)
    fields: dict[str, Any] = msgspec.json.decode(payload)
    empty = {name: _emptied(value) for name, value in fields.items()}
    names = blake2b("/".join(fields).encode(), digest_size=2).digest()
    return [
        *instant_digits(message.occurred_at),
        float(len(msgspec.json.encode(empty))), float(len(fields)), float(names[0]),
        float(sum(value is None for value in fields.values())), float(len(fields["occurred_at"])),
        float(sum(isinstance(value, float) for value in fields.values())),
        float(len(payload) - len(msgspec.json.encode(fields))),
    ]  # fmt: skip


def _emptied(value: Any) -> Any:
    match value:
        case None | bool():
            return None
        case str():
            return ""
        case int() | float():
            return type(value)(0)
        case _:
            return []


# ------------------------------------------------------------------------------------------------------ what is found
def _judged(name: str, place: Place, seed: int) -> Iterator[Finding]:
    rows, patterns = np.array(place.rows, np.float32), np.array(place.patterns)
    is_harm = patterns != HONEST
    if min(int(is_harm.sum()), int((~is_harm).sum())) < LEAST:
        return
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(rows))
    training, test = shuffled[::2], shuffled[1::2]
    scores = _scores(rows, is_harm, training, test, seed)
    for pattern in ("all", *sorted(set(patterns[is_harm].tolist()))):
        chosen = (patterns[test] == pattern) if pattern != "all" else is_harm[test]
        if int(chosen.sum()) >= LEAST // 2:
            among = chosen | ~is_harm[test]
            yield Finding(name, pattern, int(chosen.sum()), *_auc(scores[among], chosen[among], rng))


def _scores(
    rows: NDArray[np.float32], is_harm: NDArray[np.bool_], training: NDArray[np.int64], test: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float64]:  # fmt: skip
    import xgboost

    matrix = xgboost.DMatrix(rows[training], is_harm[training].astype(np.float32), nthread=1)
    booster = xgboost.train(PARAMETERS | {"seed": seed}, matrix, num_boost_round=N_TREES)
    return np.asarray(booster.predict(xgboost.DMatrix(rows[test], nthread=1)), dtype=np.float64)


def _auc(
    scores: NDArray[np.float64], chosen: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float, tuple[float, float]]:
    """Area under the ROC curve (Mann and Whitney's statistic) and the interval that shuffling gives."""
    from scipy.stats import rankdata

    ranks, n = np.asarray(rankdata(scores), np.float64), int(chosen.sum())

    def area(sum_of_ranks: float) -> float:
        return (sum_of_ranks - n * (n + 1) / 2) / (n * (len(ranks) - n))

    by_chance = [area(float(rng.choice(ranks, n, replace=False, shuffle=False).sum())) for _ in range(PERMUTATIONS)]
    half = DEVIATIONS * float(np.std(by_chance))
    return area(float(ranks[chosen].sum())), (0.5 - half, 0.5 + half)
