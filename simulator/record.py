"""What one run was, kept for whoever judges it: purchases with their truth and verdict, prices, changes, counts.

Everything in it is plain, so a run can be written down, read again and judged by other thresholds.
"""

import os
import platform
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ibook.errors import ConfigurationError
from ibook.messages import Action, Posture
from simulator.revenue import Market

Mode = Literal["live", "history"]
"""On Kafka at the wall clock's pace, or in virtual time."""
DecidedBy = Literal["platform", "stand-in"]
"""Whose verdicts the shop obeyed."""
Outcome = Literal["open", "settled", "refunded", "declined", "refused"]
"""What became of a purchase by the end of the run: undecided, paid, paid back, turned down by the issuer, by us."""
Minor = int
"""Money in minor units of the shop's one currency."""


class PurchaseRecord(Struct, frozen=True, kw_only=True, gc=False):
    """A purchase, what it really was, and what was decided."""

    transaction_id: str
    occurred_us: int
    """Event time, in microseconds since the epoch."""
    user_id: str
    card_id: str
    event_id: str
    ticket_type: str
    amount_minor: Minor
    """What all its tickets cost together."""
    list_price_minor: Minor
    """List price of one ticket."""
    n_tickets: Annotated[int, Meta(ge=1)]
    pattern: str
    """`honest`, `friendly`, or the name of an attack pattern."""
    is_fraud: bool
    """Payment fraud: its card holder would dispute it."""
    is_abuse: bool = False
    """Scalping, hoarding, refund abuse: harmful to the shop, and never a chargeback."""
    look_alike: str = ""
    """The attack-like circumstance of an honest purchase; empty for most."""
    attack: int | None = None
    """Number of the campaign it belongs to."""
    action: Action | None = None
    """The first verdict; None when none came."""
    score: Annotated[float, Meta(ge=0, le=1)] | None = None
    posture: Posture | None = None
    latency_ms: Annotated[float, Meta(ge=0)] | None = None
    """From just before it was produced until its verdict was readable; None without a live platform."""
    outcome: Outcome = "open"


class TicketRecord(Struct, frozen=True, kw_only=True):
    """A ticket type and the bounds of its price."""

    name: str
    list_price_minor: Minor
    floor_minor: Minor
    cap_minor: Minor


class EventRecord(Struct, frozen=True, kw_only=True):
    """An event on sale and its seats."""

    event_id: str
    name: str
    category: str
    capacity: int
    remaining_before: int
    """Seats unsold when the run began …"""
    remaining_after: int
    """… and when it ended."""
    tickets: tuple[TicketRecord, ...]


class PriceShown(Struct, frozen=True, kw_only=True):
    """How often a price of a ticket type was shown, and what came of it."""

    event_id: str
    ticket_type: str
    price_minor: Minor
    shown: int
    """Times it was shown to a visitor."""
    bought: int = 0
    """Settled purchases at this price, less refunded ones …"""
    tickets: int = 0
    """… and their tickets."""


class Change(Struct, frozen=True, kw_only=True):
    """Something the scenario did to the world while it ran."""

    what: str
    """In words, for the report."""
    at_us: int
    is_drift: bool = False
    """Whether the platform should notice it as drift: what it learned before holds no longer."""


class Noticed(Struct, frozen=True, kw_only=True):
    """A drift the platform reported."""

    what: str
    at_us: int


class Degradation(Struct, frozen=True, kw_only=True):
    """What was done to the messages on their way, and what of it was answered."""

    counts: dict[str, int]
    """Messages per kind of harm: `delayed`, `duplicated`, `reordered`, `late`, `malformed`, `held_back`, …"""
    identifiable: int = 0
    """Malformed purchases whose transaction id could still be read …"""
    answered: int = 0
    """… and those of them that got a verdict."""


class Machine(Struct, frozen=True, kw_only=True):
    """Where a run happened: figures mean little without it."""

    cores: int
    """Cores this process may use."""
    processor: str
    system: str
    python: str


class RunRecord(Struct, frozen=True, kw_only=True):
    """One run of one scenario."""

    scenario: str
    description: str = ""
    """One sentence about the scenario."""
    parts: tuple[str, ...] = ()
    """Names of the scenarios it is mixed of; empty for one that is no mix."""
    seed: int
    mode: Mode
    decided_by: DecidedBy
    started_us: int
    """When its load began, in event time."""
    seconds: float
    """Length of its load, in event time."""
    compress: float = 1.0
    """How many times faster than in life labels and refunds came."""
    machine: Machine
    # ------------------------------------------------------------------------------------------------------ load
    rate_asked: float
    """Purchases per second on average."""
    rate_reached: float
    holds_rate: bool | None = None
    """Whether the machine kept up; None in virtual time, which has no pace to keep."""
    worst_lag_seconds: float | None = None
    """How late the latest step was against the wall clock."""
    pacing_error_ms: dict[str, float] = {}
    """p50, p95, p99 of how late messages of the schedule were published; one that follows an answer at once is of none.
    Empty in virtual time."""
    messages: dict[str, int] = {}
    """Per topic."""
    undelivered: int = 0
    """Messages Kafka did not take."""
    # -------------------------------------------------------------------------------------------------- verdicts
    missing: int = 0
    """Purchases that Kafka took and nobody answered."""
    conflicting: int = 0
    """Purchases with two verdicts that differ."""
    duplicated: int = 0
    """Purchases answered twice with the same verdict."""
    purchases: tuple[PurchaseRecord, ...] = ()
    # ---------------------------------------------------------------------------------------------------- prices
    events: tuple[EventRecord, ...] = ()
    prices: tuple[PriceShown, ...] = ()
    unquoted: int = 0
    """Prices shown at list price because no quote could be had."""
    markets: tuple[Market, ...] = ()
    """The hidden demand: everybody who was shown a price, by ticket type and day. Empty when nobody noted it."""
    # --------------------------------------------------------------------------------------------------- changes
    changes: tuple[Change, ...] = ()
    noticed: tuple[Noticed, ...] | None = None
    """What the platform reported of drift; None when it reports none at all, which is not the same as silence."""
    degradation: Degradation | None = None
    """None when nothing was done to the messages."""


def this_machine() -> Machine:
    """The machine this process runs on."""
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=platform.machine(), system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )  # fmt: skip


def write_records(path: Path, records: tuple[RunRecord, ...]) -> None:
    """One JSON line per run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.Encoder().encode_lines(records))


def read_records(path: Path) -> tuple[RunRecord, ...]:
    """What `write_records` wrote. Raises ConfigurationError when the file is none of its."""
    try:
        return tuple(msgspec.json.Decoder(RunRecord).decode_lines(path.read_bytes()))
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"{path} holds no records of runs: {error}.") from error
