"""Ground truth, kept apart: it is written to a file for whoever judges, and never to Kafka."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

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


class DemandTruth(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="demand"):
    """What a ticket type's buyers really answer: P(buy | price) = 1 / (1 + exp(-(intercept + slope * price)))."""

    event_id: str
    ticket_type: str
    list_price_minor: int
    intercept: float
    slope: float
    elasticity_at_list: float


@dataclass(frozen=True, slots=True)
class Attack:
    """A campaign: when it began and the purchases it tried so far."""

    number: int
    pattern: str
    started_us: int
    transaction_ids: list[str]


class Truth:
    """Everything a judge needs: one record per purchase, the campaigns, and the demand curves."""

    def __init__(self, world: World) -> None:
        self.transactions: dict[str, TransactionTruth] = {}
        self.attacks: dict[int, Attack] = {}
        self.demand = [
            DemandTruth(
                event_id=event.event_id, ticket_type=ticket.name, list_price_minor=ticket.list_price_minor,
                intercept=ticket.demand.intercept, slope=ticket.demand.slope,
                elasticity_at_list=ticket.demand.elasticity(ticket.list_price_minor),
            )
            for event in world.events for ticket in event.tickets
        ]  # fmt: skip

    def begin_attack(self, pattern: str, at_us: int) -> int:
        """A new campaign; returns its number."""
        number = len(self.attacks) + 1
        self.attacks[number] = Attack(number, pattern, at_us, [])
        return number

    def record(self, transaction_id: str, at_us: int, nature: Nature) -> None:
        """Remember what a purchase is."""
        self.transactions[transaction_id] = TransactionTruth(
            transaction_id=transaction_id, occurred_us=at_us, is_fraud=nature.is_fraud, pattern=nature.pattern,
            look_alike=nature.look_alike, attack=nature.attack,
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
        """One JSON line per demand curve and purchase."""
        path.parent.mkdir(parents=True, exist_ok=True)
        records: list[Any] = [*self.demand, *self.transactions.values()]
        path.write_bytes(msgspec.json.Encoder().encode_lines(records))


def read_truth(path: Path) -> tuple[dict[str, TransactionTruth], list[DemandTruth]]:
    """What `Truth.write` wrote: purchases by transaction id, and the demand curves."""
    lines = msgspec.json.Decoder(TransactionTruth | DemandTruth).decode_lines(path.read_bytes())
    transactions = {line.transaction_id: line for line in lines if isinstance(line, TransactionTruth)}
    return transactions, [line for line in lines if isinstance(line, DemandTruth)]
