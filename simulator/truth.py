"""Ground truth, kept apart: it is written to a file for whoever judges, and never to Kafka."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from simulator.catalogue import Event, Ticket
from simulator.demand import Demand
from simulator.visits import Nature
from simulator.world import World


class TransactionTruth(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="transaction"):
    """What a purchase really was."""

    transaction_id: str
    occurred_us: int
    is_fraud: bool
    pattern: str
    look_alike: str
    attack: int | None
    is_abuse: bool = False


class TasteTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What one segment answers at list price long before the event, and (`late_`) at its start."""

    segment: str
    probability: float
    elasticity: float
    late_probability: float
    late_elasticity: float


class DemandTruth(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="demand"):
    """What a ticket type's buyers really answer when the run begins: P(buy | price), segment by segment.

    `intercept` and `slope` are those of the logit curve 1 / (1 + exp(-(intercept + slope * price))) that has the mean
    visitor's probability and elasticity at list price, where no competitor is cheaper.
    """

    event_id: str
    ticket_type: str
    list_price_minor: int
    intercept: float
    slope: float
    elasticity_at_list: float
    floor_minor: int = 0
    cap_minor: int = 0
    tastes: tuple[TasteTruth, ...] = ()


class ReactionTruth(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="reaction"):
    """What a ring did when too much went wrong: the number of its campaign, and what it changed."""

    attack: int
    occurred_us: int
    what: str


class ChangeTruth(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="change"):
    """What was changed in the world while the run went on."""

    occurred_us: int
    what: str


@dataclass(frozen=True, slots=True)
class Attack:
    """A campaign: when it began, the purchases it tried so far, and how it reacted to what went wrong."""

    number: int
    pattern: str
    started_us: int
    transaction_ids: list[str] = field(default_factory=list)
    reactions: list[ReactionTruth] = field(default_factory=list)


class Truth:
    """Everything a judge needs: one record per purchase, the campaigns, and the demand curves."""

    def __init__(self, world: World) -> None:
        self.transactions: dict[str, TransactionTruth] = {}
        self.attacks: dict[int, Attack] = {}
        self.changes: list[ChangeTruth] = []
        self.demand = [
            _demand_truth(event, ticket, world.mean_demand(event, ticket))
            for event in world.events for ticket in event.tickets
        ]  # fmt: skip

    def begin_attack(self, pattern: str, at_us: int) -> int:
        """A new campaign; returns its number."""
        number = len(self.attacks) + 1
        self.attacks[number] = Attack(number, pattern, at_us)
        return number

    def reacted(self, attack: int, at_us: int, what: str) -> None:
        """Remember that a ring changed something, or gave up."""
        self.attacks[attack].reactions.append(ReactionTruth(attack=attack, occurred_us=at_us, what=what))

    def changed(self, at_us: int, what: str) -> None:
        """Remember that the world was changed."""
        self.changes.append(ChangeTruth(occurred_us=at_us, what=what))

    def record(self, transaction_id: str, at_us: int, nature: Nature) -> None:
        """Remember what a purchase is."""
        self.transactions[transaction_id] = TransactionTruth(
            transaction_id=transaction_id, occurred_us=at_us, is_fraud=nature.is_fraud, pattern=nature.pattern,
            look_alike=nature.look_alike, attack=nature.attack, is_abuse=nature.is_abuse,
        )  # fmt: skip
        if nature.attack is not None:
            self.attacks[nature.attack].transaction_ids.append(transaction_id)

    def shares(self) -> dict[str, float]:
        """Share of purchases per pattern."""
        counts: defaultdict[str, int] = defaultdict(int)
        for record in self.transactions.values():
            counts[record.pattern] += 1
        return {pattern: n / len(self.transactions) for pattern, n in sorted(counts.items())}

    def write(self, path: Path) -> None:
        """One JSON line per demand curve, change of the world, purchase, and reaction of a ring."""
        path.parent.mkdir(parents=True, exist_ok=True)
        reactions = [reaction for attack in self.attacks.values() for reaction in attack.reactions]
        records: list[Any] = [*self.demand, *self.changes, *self.transactions.values(), *reactions]
        path.write_bytes(msgspec.json.Encoder().encode_lines(records))


def _demand_truth(event: Event, ticket: Ticket, mean: Demand) -> DemandTruth:
    tastes = tuple(
        TasteTruth(
            segment=segment, probability=taste.early[0], elasticity=taste.early[1], late_probability=taste.late[0],
            late_elasticity=taste.late[1],
        )
        for segment, taste in ticket.tastes.items()
    )  # fmt: skip
    return DemandTruth(
        event_id=event.event_id, ticket_type=ticket.name, list_price_minor=ticket.list_price_minor,
        floor_minor=ticket.floor_minor, cap_minor=ticket.cap_minor, intercept=mean.intercept, slope=mean.slope,
        elasticity_at_list=mean.elasticity(ticket.list_price_minor), tastes=tastes,
    )  # fmt: skip


def read_truth(path: Path) -> tuple[dict[str, TransactionTruth], list[DemandTruth]]:
    """What `Truth.write` wrote: purchases by transaction id, and the demand curves."""
    lines = msgspec.json.Decoder(TransactionTruth | DemandTruth | ReactionTruth | ChangeTruth).decode_lines(
        path.read_bytes()
    )
    transactions = {line.transaction_id: line for line in lines if isinstance(line, TransactionTruth)}
    return transactions, [line for line in lines if isinstance(line, DemandTruth)]
