"""Freezes and rollbacks of prices in Kafka: what was ordered, which policies there were, and a new order."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from ibook.codec import MAX_OWN_BYTES, decode, encode
from ibook.edges.kafka import BroadcastReader, Outgoing, producer, publish
from ibook.edges.price_snapshots import Snapshots
from ibook.errors import ConfigurationError, InvalidMessage
from ibook.messages import PriceControlled, PricePolicy
from ibook.settings import Settings
from ibook.topics import EVENT_LISTINGS, PRICE_CONTROLS, PRICE_POLICIES


class PriceState(Struct, frozen=True, kw_only=True):
    """What Kafka knows of prices now."""

    known: Snapshots
    history: dict[str, list[PricePolicy]]
    """Event -> the policies that are still there, ascending by version."""


def read_prices(settings: Settings) -> PriceState:
    """Listings, policies with their earlier versions, and controls. Raises BrokerUnavailable, ConfigurationError."""
    known, history = Snapshots(), dict[str, dict[int, PricePolicy]]()
    topics = (EVENT_LISTINGS.name, PRICE_POLICIES.name, PRICE_CONTROLS.name)
    with BroadcastReader(settings, *topics) as reader:
        records = reader.load()
    known.take(records)
    for record in records:
        if record.topic == PRICE_POLICIES.name and record.value is not None:
            try:
                policy: PricePolicy = decode(record.value, PricePolicy, max_bytes=MAX_OWN_BYTES)
            except InvalidMessage:
                continue  # Snapshots said so
            history.setdefault(policy.event_id, {})[policy.version] = policy
    return PriceState(known=known, history={key: [each[n] for n in sorted(each)] for key, each in history.items()})


def control(
    event_id: str, *, now: datetime, by: str, why: str, frozen: bool = False, policy: PricePolicy | None = None,
    until: datetime | None = None,
) -> PriceControlled:  # fmt: skip
    """A new order; `event_id` is empty for all events."""
    return PriceControlled(
        message_id=uuid.uuid4().hex, occurred_at=now, event_id=event_id, frozen=frozen, policy=policy, until=until,
        by=by, why=why,
    )  # fmt: skip


def publish_controls(settings: Settings, controls: Iterable[PriceControlled]) -> int:
    """Publish orders; every price API follows them within a second. Returns how many. Raises BrokerUnavailable."""
    messages = [
        Outgoing(topic=PRICE_CONTROLS.name, key=each.event_id.encode(), value=encode(each), partition=0)
        for each in controls
    ]
    return publish(producer(settings), messages)


def earlier(policies: Sequence[PricePolicy], *, version: int | None, before: datetime | None) -> PricePolicy | None:
    """The policy to go back to: that version, the last one from before a moment, or the one before the newest.

    None when it is not there (any more).
    """
    if version is not None:
        return next((policy for policy in policies if policy.version == version), None)
    if before is not None:
        return next((policy for policy in reversed(policies) if policy.occurred_at < before), None)
    return policies[-2] if len(policies) > 1 else None


def check_listed(state: PriceState, event_id: str) -> None:
    """Raises ConfigurationError for an event that is not listed: a slip of the finger would order nothing."""
    if event_id and event_id not in state.known.listings:
        raise ConfigurationError(f"Event {event_id!r} is not listed.")
