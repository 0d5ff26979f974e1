"""A snapshot of the shop at work, for whoever watches."""

from dataclasses import dataclass, field, fields

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
class Standing:
    """How it goes. Looking takes no longer after a day than after a second, so it may be done often.

    Counts are since the start; times are in seconds where the name does not say otherwise.
    """

    seconds: float
    """Length of the load so far."""
    rate_asked: float
    rate_reached: float
    """Purchases per second on average, attacks included."""
    rate_due: float | None = None
    """Purchases per second that are due now, where a scenario changes the rate; otherwise the rate asked."""
    lag_seconds: float
    """How late the latest step was, against the wall clock."""
    owed: int
    """Purchases behind the schedule because no buyer was ready."""
    purchases: int
    missing: int
    """Purchases without a verdict so far, less those that Kafka did not take."""
    actions: dict[str, int]
    quotes: int
    """Prices shown, with a quote or without."""
    sales: int
    """Settled purchases, less refunds."""
    messages: dict[str, int]
    """Per topic."""

    @property
    def holds_the_rate(self) -> bool:
        """Whether the machine keeps up now: hardly late, and owing less than a second of purchases."""
        rate = self.rate_asked if self.rate_due is None else self.rate_due
        return self.lag_seconds < MOST_SECONDS_LATE and self.owed <= most_owed(rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopStats(Standing):
    """Everything that is counted. Putting it together takes longer the more attacks there were."""

    worst_lag_seconds: float
    verdicts: int
    """First verdicts of our purchases."""
    conflicting: int
    duplicated: int
    unknown_verdicts: int
    unreadable_verdicts: int
    undelivered: int
    """Messages, of any kind, that Kafka did not take."""
    latency_ms: dict[str, float]
    """p50, p95, p99 from just before a purchase was produced until its verdict was readable, true to a 32nd."""
    recent_latency_ms: dict[str, float]
    """The same over the last 1,000 verdicts, exactly."""
    recall: float | None
    precision: float | None
    approved_without_verdict: int
    held_without_verdict: int
    unquoted: int
    """Prices shown at list price because no quote could be had."""
    revenue_minor: int
    outcomes: dict[str, int]
    """What became of purchases: settled, refunded, declined, refused, …"""
    events: tuple[EventSales, ...]
    attacks: tuple[AttackReport, ...]
    seconds_behind: float = 0.0
    """How many of the seconds so far the machine could not hold the rate."""
    pacing_error_ms: dict[str, float] = field(default_factory=dict)
    """p50, p95, p99 of how late messages of the schedule were published; one that follows an answer is of none."""

    @property
    def held_the_rate(self) -> bool:
        """Whether it kept up all the time: nothing was ever left out, but nothing was ever long overdue either."""
        return self.holds_the_rate and not self.seconds_behind


def standing(
    simulation: Simulation, board: Scoreboard, loop: Loop, *, rate: float, rate_due: float, seconds: float
) -> Standing:
    """How it goes; call it while nothing changes."""
    counts = simulation.shop.ledger.counts
    return Standing(
        seconds=seconds, rate_asked=rate, rate_reached=len(board.sent) / seconds if seconds > 0 else 0.0,
        rate_due=rate_due, lag_seconds=loop.lag_seconds, owed=max(0, simulation.crowd.owed),
        purchases=len(board.sent), missing=board.missing, actions=dict(board.actions),
        quotes=simulation.storefront.shown.total(), sales=counts["settled"] - counts["refunded"],
        messages=dict(simulation.feed.sent),
    )  # fmt: skip


def snapshot(
    now: Standing, simulation: Simulation, board: Scoreboard, loop: Loop, *, seconds_behind: float,
    pacing_error: Lateness, unquoted: int | None, unreadable: int, undelivered: int,
) -> ShopStats:  # fmt: skip
    """What happened so far; call it while nothing changes. `unquoted` is None when no quotes are asked for."""
    counts = simulation.shop.ledger.counts
    events = tuple(_sales(simulation, event) for event in simulation.world.events)
    return ShopStats(
        **{each.name: getattr(now, each.name) for each in fields(now)},
        worst_lag_seconds=loop.worst_lag_seconds, verdicts=board.answered, conflicting=board.conflicting,
        duplicated=board.duplicated, unknown_verdicts=board.unknown, unreadable_verdicts=unreadable,
        undelivered=undelivered, latency_ms=board.latency.percentiles_ms(),
        recent_latency_ms=board.recent_latency_ms(RECENT), recall=board.recall, precision=board.precision,
        approved_without_verdict=counts["approved_without_verdict"],
        held_without_verdict=counts["held_without_verdict"],
        unquoted=now.quotes if unquoted is None else unquoted,
        revenue_minor=sum(event.revenue_minor for event in events),
        outcomes=dict(counts), events=events, attacks=board.attacks(),
        seconds_behind=seconds_behind, pacing_error_ms=pacing_error.percentiles_ms(),
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
