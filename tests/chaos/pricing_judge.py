"""What the pricing topics must hold after a scenario, worked out from the messages alone: nothing here asks a worker.

Loss is a set difference of quotes: those that were answered over HTTP, minus those in the journal. What each quote must
have come to follows from payments and verdicts, whose repeats and order do not matter.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from ibook import messages as m
from ibook.codec import decode, unpack_state
from ibook.rewards import EventSums
from ibook.topics import FRAUD_VERDICTS, PAYMENT_OUTCOMES, PRICE_REWARDS, QUOTE_JOURNAL
from tests.chaos.judge import Logs, Lying

JUDGED = tuple(topic.name for topic in (PAYMENT_OUTCOMES, FRAUD_VERDICTS, QUOTE_JOURNAL, PRICE_REWARDS))
M = TypeVar("M", bound=m.Message)
Count = tuple[int, int]
"""Offers, sales."""
Cells = dict[tuple[str, str, int], Count]
"""Event, ticket type, price -> what was counted of it."""


class Step(NamedTuple):
    """A reward, and where it lies in `price-rewards`."""

    counted: Count
    place: str

    def __str__(self) -> str:
        return f"{self.counted} at {self.place}"


@dataclass
class PricingFindings:
    """What was found; every list is empty when all is well."""

    quotes: int = 0
    rewards: int = 0
    repeated: int = 0
    """Rewards that were published once more: readers skip them."""
    lost: list[str] = field(default_factory=list)
    """Quotes that were answered and are not in the journal."""
    wrong: list[str] = field(default_factory=list)
    """Quotes that did not come to what payments and verdicts say, or came to it in the wrong steps."""
    conflicting: list[str] = field(default_factory=list)
    """Rewards of one number that differ: which of them counts depends on who read what."""
    astray: list[str] = field(default_factory=list)
    """Cells of the learner that are not the sum of the rewards."""

    def since(self, earlier: "PricingFindings") -> "PricingFindings":
        """What is new since the same platform was looked at before."""
        return PricingFindings(
            self.quotes - earlier.quotes, self.rewards - earlier.rewards, self.repeated - earlier.repeated,
            *([one for one in mine if one not in theirs] for mine, theirs in (
                (self.lost, earlier.lost), (self.wrong, earlier.wrong), (self.conflicting, earlier.conflicting),
                (self.astray, earlier.astray),
            )),
        )  # fmt: skip

    def final(self) -> bool:
        """Whether something is wrong that no time will mend."""
        return bool(self.conflicting)

    def faults(self) -> list[str]:
        """Sentences."""
        said = {
            "answered quotes are not in the journal": self.lost, "quotes came to something else": self.wrong,
            "rewards of one number differ": self.conflicting, "cells are not the sum of the rewards": self.astray,
        }  # fmt: skip
        return [f"{len(found)} {what}: {found[:3]}" for what, found in said.items() if found]


def judge_pricing(
    answered: Iterable[str], logs: Logs, sums: Mapping[str, bytes], *, offers_of_a_buyer: int
) -> PricingFindings:
    """Judge whole topics and the learner's table (event -> its newest state in the changelog).

    Whole ones, since a worker that starts again publishes the newest rewards of its partitions once more, whichever
    night they are from: a window that begins later would hold rewards of quotes that are not in it.
    """
    journal = _placed(logs[QUOTE_JOURNAL.name], m.QuoteJournal, m.QuoteIssued)
    issued = {one.quote_id: one for one, _ in journal}
    places = {one.quote_id: place for one, place in journal}
    found = PricingFindings(quotes=len(issued), lost=sorted(set(answered) - issued.keys()))
    rewards = _each_once(logs, found)
    expected = _expected(logs, issued, offers_of_a_buyer)
    came_to: dict[str, list[Step]] = defaultdict(list)
    for reward, place in rewards:
        came_to[reward.quote_id].append(Step((reward.offers, reward.sales), place))
    for quote_id in sorted(issued.keys() | came_to.keys()):
        steps, due = came_to[quote_id], expected.get(quote_id, (0, 0))
        counts = [step.counted for step in steps]
        if _sum(counts) != due or not _plausible(counts):
            said = ", ".join(map(str, steps)) or "no reward"
            found.wrong.append(f"…{quote_id[-12:]}, journalled at {places.get(quote_id)}: {said}, instead of {due}")
    found.astray = _astray([reward for reward, _ in rewards], sums)
    return found


def _expected(logs: Logs, issued: Mapping[str, m.QuoteIssued], offers_of_a_buyer: int) -> dict[str, Count]:
    sold: dict[str, set[str]] = defaultdict(set)
    undone: dict[str, set[str]] = defaultdict(set)
    for outcome in _of(logs[PAYMENT_OUTCOMES.name], m.PaymentOutcome, m.PaymentOutcome):
        if outcome.status == "settled":
            sold[outcome.quote_id or ""].add(outcome.transaction_id)
        elif outcome.status in ("refunded", "declined"):
            undone[outcome.quote_id or ""].add(outcome.transaction_id)
    for verdict in _of(logs[FRAUD_VERDICTS.name], m.FraudVerdict, m.FraudVerdict):
        if verdict.action == "decline":
            undone[verdict.quote_id or ""].add(verdict.transaction_id)
    capped = _beyond_the_cap(issued.values(), offers_of_a_buyer)
    return {
        quote_id: (0, 0) if quote_id in capped or undone[quote_id] else (1, 1) if sold[quote_id] else (1, 0)
        for quote_id in issued
    }


def _beyond_the_cap(issued: Iterable[m.QuoteIssued], most: int) -> set[str]:
    """Quotes after the first few of a buyer's day; `issued` is in the order of the journal."""
    seen: Counter[tuple[str, str, str, str]] = Counter()
    beyond = set()
    for one in issued:
        who = (one.event_id, one.ticket_type, one.buyer, f"{one.occurred_at:%Y-%m-%d}")
        seen[who] += 1
        if seen[who] > most:
            beyond.add(one.quote_id)
    return beyond


def _each_once(logs: Logs, found: PricingFindings) -> list[tuple[m.PriceReward, str]]:
    """The first reward of each number."""
    numbered: dict[tuple[int, int], tuple[m.PriceReward, str]] = {}
    for reward, place in _placed(logs[PRICE_REWARDS.name], m.PriceReward, m.PriceReward):
        number = reward.source_partition, reward.sequence
        known, first = numbered.setdefault(number, (reward, place))
        found.repeated += known is not reward
        if known != reward:
            found.conflicting.append(f"number {number[0]}/{number[1]} at {first} and at {place}")
    found.rewards = len(numbered)
    return list(numbered.values())


def _plausible(steps: Sequence[Count]) -> bool:
    """One sale at most, one expiry at most, and nothing taken back twice."""
    return max(Counter(steps).values(), default=0) <= 1 and sum(sales > 0 for _, sales in steps) <= 1


def _astray(rewards: Iterable[m.PriceReward], sums: Mapping[str, bytes]) -> list[str]:
    expected: Cells = {}
    for reward in rewards:
        cell = reward.event_id, reward.ticket_type, reward.price_minor
        expected[cell] = _sum([expected.get(cell, (0, 0)), (reward.offers, reward.sales)])
    there = {
        (event_id, name, price): _sum(tiles.values())
        for event_id, packed in sums.items()
        for name, prices in unpack_state(packed, EventSums).prices.items()
        for price, tiles in prices.items()
    }
    cells = expected.keys() | there.keys()
    return [f"{cell}: {there.get(cell)} for {expected.get(cell)}" for cell in sorted(cells)
            if there.get(cell, (0, 0)) != expected.get(cell, (0, 0))]  # fmt: skip


def _sum(counts: Iterable[Count]) -> Count:
    offers, sales = 0, 0
    for more, sold in counts:
        offers, sales = offers + more, sales + sold
    return offers, sales


def _of(lying: Iterable[Lying], decoded_as: object, wanted: type[M]) -> list[M]:
    return [message for message, _ in _placed(lying, decoded_as, wanted)]


def _placed(lying: Iterable[Lying], decoded_as: object, wanted: type[M]) -> list[tuple[M, str]]:
    """The messages of a kind, each with its partition and offset."""
    read = ((decode(one.value, decoded_as), f"{one.partition}@{one.offset}") for one in lying)
    return [(message, place) for message, place in read if isinstance(message, wanted)]
