"""What the events of the partitions held here teach others: noted as policies are made, published to `price-priors`."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import faust

from ibook.codec import encode
from ibook.edges.price_snapshots import Snapshots
from ibook.ids import message_id
from ibook.messages import CurveMoments, EventListed, PricePrior
from ibook.pricing_demand import CurveFit, DemandPrior
from ibook.pricing_priors import Experience, Name, key_of, moments_of, prior_of
from ibook.topics import PRICE_PRIORS
from streams.publish import Record, publish

PUBLISH_SECONDS = 30.0
"""How often what changed is published: one event more changes little."""


class Lessons:
    """The experience of the partitions held here, beside what the topic says of all others."""

    def __init__(self, app: faust.App, snapshots: Snapshots) -> None:
        self._app = app
        self._snapshots = snapshots
        self._own: dict[int, Experience] = {}
        self._whole: set[int] = set()
        """Partitions whose experience was published whole: until then the topic knows more of them."""
        self._published: dict[tuple[int, Name], CurveMoments] = {}
        self._last: datetime | None = None

    def start_anew(self) -> None:
        """Partitions moved: their events will be noted again."""
        self._own, self._whole, self._published, self._last = {}, set(), {}, None

    def prior(self, partition: int, listing: EventListed) -> DemandPrior:
        """Where an event's curves start from."""
        if partition not in self._whole:
            return prior_of(listing, self._snapshots.experience())
        others = [own.totals() for held, own in self._own.items() if held in self._whole and held != partition]
        return prior_of(
            listing, [self._own[partition].for_others(listing), *others, *self._snapshots.experience(self._whole)]
        )

    def note(self, partition: int, listing: EventListed, curves: Sequence[CurveFit], now: datetime) -> None:
        """What an event's curves are like by now; once it has begun they stay as they were."""
        own = self._own.setdefault(partition, Experience())
        if now < listing.starts_at or listing.event_id not in own:
            own.note(listing, moments_of(curves))

    async def publish(self, complete: Iterable[int], now: datetime) -> None:
        """What changed of these partitions; all of them have noted every event."""
        if self._last is not None and (now - self._last).total_seconds() < PUBLISH_SECONDS:
            return
        changed = [
            (partition, name, moments)
            for partition in complete for name, moments in self._own.get(partition, Experience()).totals().items()
            if self._published.get((partition, name)) != moments
        ]  # fmt: skip
        await publish(self._app, PRICE_PRIORS.name, 0, [_record(*one, now) for one in changed])
        self._published.update({(partition, name): moments for partition, name, moments in changed})
        self._whole.update(set(complete) & set(self._own))
        self._last = now


def _record(partition: int, name: Name, moments: CurveMoments, now: datetime) -> Record:
    scope, value = name
    prior = PricePrior(
        message_id=message_id("prior", scope, value, str(partition), now.isoformat()), occurred_at=now, scope=scope,
        name=value, partition=partition, moments=moments,
    )  # fmt: skip
    return Record(key_of(prior).encode(), encode(prior))
