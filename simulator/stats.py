"""A snapshot of the shop at work, for whoever watches."""

from dataclasses import dataclass, field

from simulator.catalogue import Event
from simulator.lateness import Lateness
from simulator.loop import Loop
from simulator.scoreboard import AttackReport, Scoreboard
from simulator.shop import Book
from simulator.simulation import Simulation

RECENT = 1000
MOST_SECONDS_LATE = 0.5
"""A machine that is later than this does not keep up …"""


def most_owed(rate: float) -> float:
    """… nor one that owes more purchases than this: a second's, at a rate per second."""
    return max(5.0, rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSales:
    """How an event sells. Prices are in minor units, per ticket type; sales are settled purchases, less refunds."""

    event_id: str
    name: str
    category: str
    list_prices: dict[str, int]
    last_prices: dict[str, int]
    """Last price shown; list price where none was shown yet."""
    quotes: int
    sales: int
    tickets: int
    revenue_minor: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopStats:
    """A snapshot. Counts are since the start; times are in seconds where the name does not say otherwise."""

    seconds: float
    """Length of the load so far."""
    rate_asked: float
    rate_reached: float
    """Purchases per second on average, attacks included."""
    lag_seconds: float
    """How late the latest step was, against the wall clock."""
    worst_lag_seconds: float
    owed: int
    """Purchases behind the schedule because no buyer was ready."""
    purchases: int
    verdicts: int
    """First verdicts of our purchases."""
    missing: int
    """Purchases without a verdict so far, less those that Kafka did not take."""
    conflicting: int
    duplicated: int
    unknown_verdicts: int
    unreadable_verdicts: int
    undelivered: int
    """Messages, of any kind, that Kafka did not take."""
    actions: dict[str, int]
    latency_ms: dict[str, float]
    """p50, p95, p99 from just before a purchase was produced until its verdict was readable."""
    recent_latency_ms: dict[str, float]
    """The same over the last 1,000 verdicts."""
    recall: float | None
    precision: float | None
    approved_without_verdict: int
    held_without_verdict: int
    quotes: int
    """Prices shown, with a quote or without."""
    unquoted: int
    """Prices shown at list price because no quote could be had."""
    sales: int
    revenue_minor: int
    messages: dict[str, int]
    """Per topic."""
    outcomes: dict[str, int]
    """What became of purchases: settled, refunded, declined, refused, …"""
    events: tuple[EventSales, ...]
    attacks: tuple[AttackReport, ...]
    rate_due: float | None = None
    """Purchases per second that are due now, where a scenario changes the rate; otherwise the rate asked."""
    seconds_behind: float = 0.0
    """How many of the seconds so far the machine could not hold the rate."""
    pacing_error_ms: dict[str, float] = field(default_factory=dict)
    """p50, p95, p99 of how late each message was published, against the instant it was due."""

    @property
    def holds_the_rate(self) -> bool:
        """Whether the machine keeps up now: hardly late, and owing less than a second of purchases."""
        rate = self.rate_asked if self.rate_due is None else self.rate_due
        return self.lag_seconds < MOST_SECONDS_LATE and self.owed <= most_owed(rate)

    @property
    def held_the_rate(self) -> bool:
        """Whether it kept up all the time: nothing was ever left out, but nothing was ever long overdue either."""
        return self.holds_the_rate and not self.seconds_behind


def snapshot(
    simulation: Simulation, board: Scoreboard, loop: Loop, *, rate: float, rate_due: float, seconds: float,
    seconds_behind: float, pacing_error: Lateness, unquoted: int | None, unreadable: int, undelivered: int,
) -> ShopStats:  # fmt: skip
    """What happened so far; call it while nothing changes. `unquoted` is None when no quotes are asked for."""
    counts = simulation.shop.ledger.counts
    events = tuple(_sales(simulation, event) for event in simulation.world.events)
    quotes = simulation.storefront.shown.total()
    return ShopStats(
        seconds=seconds, rate_asked=rate, rate_reached=len(board.sent) / seconds if seconds > 0 else 0.0,
        lag_seconds=loop.lag_seconds, worst_lag_seconds=loop.worst_lag_seconds, owed=max(0, simulation.crowd.owed),
        purchases=len(board.sent), verdicts=board.answered, missing=board.missing, conflicting=board.conflicting,
        duplicated=board.duplicated, unknown_verdicts=board.unknown, unreadable_verdicts=unreadable,
        undelivered=undelivered, actions=dict(board.actions), latency_ms=board.latency_ms(),
        recent_latency_ms=board.latency_ms(last=RECENT), recall=board.recall, precision=board.precision,
        approved_without_verdict=counts["approved_without_verdict"],
        held_without_verdict=counts["held_without_verdict"], quotes=quotes,
        unquoted=quotes if unquoted is None else unquoted, sales=sum(event.sales for event in events),
        revenue_minor=sum(event.revenue_minor for event in events), messages=dict(simulation.feed.sent),
        outcomes=dict(counts), events=events, attacks=board.attacks(),
        rate_due=rate_due, seconds_behind=seconds_behind, pacing_error_ms=pacing_error.percentiles_ms(),
    )  # fmt: skip


def _sales(simulation: Simulation, event: Event) -> EventSales:
    front = simulation.storefront
    book = simulation.shop.ledger.books.get(event.event_id, Book())
    list_prices = {ticket.name: ticket.list_price_minor for ticket in event.tickets}
    last = front.last_price_minor
    return EventSales(
        event_id=event.event_id, name=event.name, category=event.category, list_prices=list_prices,
        last_prices={name: last.get((event.event_id, name), price) for name, price in list_prices.items()},
        quotes=front.shown[event.event_id], sales=book.sales, tickets=book.tickets,
        revenue_minor=book.revenue_minor, remaining=simulation.inventory.remaining[event.event_id],
    )  # fmt: skip
