"""What is on sale while the price API is measured: a few events, and a catalogue of ten thousand."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psutil
from msgspec.structs import replace

from ibook.bandit import next_policy
from ibook.codec import encode
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.messages import EventListed, TicketType
from ibook.partitioning import partition_of
from ibook.pricing import PricingRules
from ibook.settings import Settings
from ibook.topics import EVENT_LISTINGS, PRICE_POLICIES

EVENTS, LARGE = 40, 10_000
TICKET_TYPES = tuple(
    TicketType(name=name, list_price_minor=price, floor_minor=price // 2, cap_minor=2 * price)
    for name, price in (("standing", 4500), ("stalls", 6000), ("circle", 9000))
)


def listing(number: int) -> EventListed:
    """One of the events."""
    now = datetime.now(UTC)
    return EventListed(
        message_id=f"listing-{number}", occurred_at=now, event_id=f"bench-{number}", name=f"Bench {number}",
        category="concerts", promoter_id=f"promoter-{number % 10}", venue="Hall", capacity=20_000, on_sale_at=now,
        starts_at=now + timedelta(days=60), currency="EUR", ticket_types=list(TICKET_TYPES),
    )  # fmt: skip


def publish_listings(settings: Settings, numbers: range = range(EVENTS)) -> None:
    """Put events on sale."""
    listings = [listing(number) for number in numbers]
    publish(
        producer(settings),
        [Outgoing(topic=EVENT_LISTINGS.name, key=one.event_id.encode(), value=encode(one)) for one in listings],
    )


def publish_large_catalogue(settings: Settings) -> None:
    """LARGE events in all, each with a policy as the learner makes them; the learner is not waited for."""
    some = listing(EVENTS)
    policy = next_policy(some, {}, None, now=datetime.now(UTC), rules=PricingRules.of(settings))
    policy = replace(policy, current=policy.upcoming)
    publish_listings(settings, range(EVENTS, LARGE))
    client = producer(settings)
    for number in range(EVENTS, LARGE):
        event_id = f"bench-{number}"
        client.produce(
            PRICE_POLICIES.name, encode(replace(policy, event_id=event_id, message_id=f"policy-{number}")),
            event_id.encode(), partition_of(event_id, settings.partitions),
        )  # fmt: skip
        client.poll(0)
    client.flush(60)


def where_lines() -> Iterator[str]:
    """What to ask prices of: every event, and its single ticket types."""
    for number in range(EVENTS):
        yield f"bench-{number}/price\t"
        for ticket in TICKET_TYPES:
            yield f"bench-{number}/price?ticket_type={ticket.name}\t"


def quote_lines(run: str, n: int) -> Iterator[str]:
    """Quotes to ask for, each of another buyer with a key of its own."""
    for number in range(n):
        ticket = TICKET_TYPES[number % len(TICKET_TYPES)]
        body = {
            "event_id": f"bench-{number % EVENTS}", "ticket_type": ticket.name, "idempotency_key": f"{run}-{number}",
            "buyer": f"user-{run}-{number}",
        }  # fmt: skip
        yield "\t" + json.dumps(body, separators=(",", ":"))


def resident_mb(pid: int | None) -> float:
    """Resident memory of a process, in MB; 0 when it is down."""
    return round(psutil.Process(pid).memory_info().rss / 1e6, 1) if pid is not None else 0.0
