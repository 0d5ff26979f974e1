"""Records of runs for tests: a run on which nothing is wrong, to be spoiled in one way at a time."""

from functools import cache
from random import Random
from typing import Any

import msgspec

from ibook.messages import Action
from simulator.demand import Demand
from simulator.record import EventRecord, Machine, Outcome, PriceShown, PurchaseRecord, RunRecord, TicketRecord
from simulator.revenue import Look, Market

START_US = 1_772_000_000_000_000
MACHINE = Machine(cores=2, processor="x86_64", system="Linux", python="3.11")
FRAUD = {"card-testing": 0.05, "stolen-card": 0.03}
"""Share of the purchases."""


def at(seconds: float) -> int:
    """So many seconds after the load began."""
    return START_US + int(seconds * 1_000_000)


def purchase(number: int = 0, **changes: Any) -> PurchaseRecord:
    """An honest purchase, approved and settled."""
    usual: dict[str, Any] = {
        "transaction_id": f"t{number}", "occurred_us": START_US + number * 20_000, "user_id": f"u{number}",
        "card_id": f"c{number}", "event_id": f"e{number % 2}", "ticket_type": "standard", "amount_minor": 4_000,
        "list_price_minor": 2_000, "n_tickets": 2, "pattern": "honest", "is_fraud": False, "action": "approve",
        "score": 0.1, "posture": "normal", "latency_ms": 20.0, "outcome": "settled",
    }  # fmt: skip
    return PurchaseRecord(**{**usual, **changes})


def fraud(number: int = 0, pattern: str = "card-testing", **changes: Any) -> PurchaseRecord:
    """Payment fraud, declined."""
    usual = {"is_fraud": True, "pattern": pattern, "action": "decline", "score": 0.9, "outcome": "refused"}
    return purchase(number, **{**usual, **changes})


def abuse(number: int = 0, pattern: str = "scalper-ring", **changes: Any) -> PurchaseRecord:
    """Abuse, approved."""
    return purchase(number, **{"is_abuse": True, "pattern": pattern, "score": 0.4, **changes})


@cache
def purchases(n: int = 3_000, seed: int = 1) -> tuple[PurchaseRecord, ...]:
    """A minute's mix: four of five frauds caught, one honest purchase in a hundred declined, some abuse."""
    rng = Random(f"{seed}/purchases")
    return tuple(_drawn(number, rng) for number in range(n))


def _drawn(number: int, rng: Random) -> PurchaseRecord:
    latency, amount = rng.lognormvariate(3.2, 0.4), rng.randrange(1_000, 20_000)
    luck = rng.random()
    if luck < sum(FRAUD.values()):
        pattern = "card-testing" if luck < FRAUD["card-testing"] else "stolen-card"
        caught = rng.random() < (0.9 if pattern == "card-testing" else 0.6)
        action: Action = "decline" if caught else "approve"
        outcome: Outcome = "refused" if caught else "settled"
        score = min(1.0, max(0.0, rng.gauss(0.85 if caught else 0.4, 0.1)))
        return fraud(number, pattern, action=action, outcome=outcome, score=score, latency_ms=latency,
                     card_id=f"stolen{number % 60}", amount_minor=amount)  # fmt: skip
    if luck < 0.1:
        return abuse(number, rng.choice(("scalper-ring", "seat-hoarding")), latency_ms=latency, amount_minor=amount)
    wrong = rng.random() < 0.01
    return purchase(
        number, look_alike=rng.choice(("", "", "", "traveller", "office_ip", "new_device")), latency_ms=latency,
        action="decline" if wrong else "approve", outcome="refused" if wrong else "settled", amount_minor=amount,
        score=min(1.0, max(0.0, rng.gauss(0.7 if wrong else 0.15, 0.08))),
    )  # fmt: skip


def event(number: int, *, before: int = 5_000, after: int = 3_000) -> EventRecord:
    """An event with one ticket type."""
    ticket = TicketRecord(name="standard", list_price_minor=2_000, floor_minor=1_200, cap_minor=3_200)
    return EventRecord(
        event_id=f"e{number}", name=f"Event {number}", category="concerts", capacity=6_000, remaining_before=before,
        remaining_after=after, tickets=(ticket,),
    )  # fmt: skip


def market(number: int, *, visitors: int = 2_000, elasticity: float = -0.6, day: int = 0) -> Market:
    """Who looked at an event's one ticket type: at list price half of them buy."""
    demand = Demand.at_list(2_000, probability=0.5, elasticity=elasticity)
    return Market(
        event_id=f"e{number}", ticket_type="standard", day=day, list_price_minor=2_000, floor_minor=1_200,
        cap_minor=3_200, looks=(Look(demand, visitors, 2 * visitors),),
    )  # fmt: skip


def shown(number: int, price_minor: int, times: int = 2_000) -> PriceShown:
    """A price and how often it was shown."""
    return PriceShown(event_id=f"e{number}", ticket_type="standard", price_minor=price_minor, shown=times,
                      bought=times // 2, tickets=times)  # fmt: skip


def run(**changes: Any) -> RunRecord:
    """A live run on which nothing is wrong: the best price is above the list price, and close to it prices are."""
    usual: dict[str, Any] = {
        "scenario": "normal", "description": "An ordinary hour.", "seed": 7, "mode": "live", "decided_by": "platform",
        "started_us": START_US, "seconds": 60.0, "machine": MACHINE, "rate_asked": 50.0, "rate_reached": 50.0,
        "holds_rate": True, "worst_lag_seconds": 0.02, "pacing_error_ms": {"p50": 0.2, "p95": 1.0, "p99": 2.0},
        "messages": {"ticket-activity": 12_000, "ticket-purchases": 3_000}, "purchases": purchases(),
        "events": (event(0), event(1)), "prices": (shown(0, 2_600), shown(1, 2_400)),
        "markets": (market(0), market(1)),
    }  # fmt: skip
    return RunRecord(**{**usual, **changes})


def spoiled(record: RunRecord, **changes: Any) -> RunRecord:
    """The same run with something else."""
    return msgspec.structs.replace(record, **changes)
