"""Seats left to sell, and their announcement: at most one message per event and interval."""

from collections.abc import Callable

from ibook import messages as m
from ibook import topics
from simulator.catalogue import Event
from simulator.engine import SECOND_US, Engine
from simulator.feed import Feed

ENOUGH = 0.005
"""Share of the seats that must be back before an event that was sold out is looked at again."""


class Inventory:
    """Finite seats. `remaining` is never negative: what is not there can't be taken."""

    def __init__(
        self, events: tuple[Event, ...], engine: Engine, feed: Feed, *, interval_seconds: float,
        sold_out: Callable[[str, bool], None] = lambda _event_id, _is: None,
    ) -> None:  # fmt: skip
        """`sold_out` is told when an event has no seats left, and when there are enough again to speak of."""
        self.remaining = {event.event_id: event.remaining for event in events}
        self._capacity = {event.event_id: event.capacity for event in events}
        self._promoter = {event.event_id: event.promoter_id for event in events}
        self._engine = engine
        self._feed = feed
        self._interval_us = int(interval_seconds * SECOND_US)
        self._announced_us = dict.fromkeys(self.remaining, -self._interval_us)
        self._waiting: set[str] = set()
        self._tell, self._sold_out = sold_out, set[str]()
        for event in events:
            self._notice(event.event_id)

    def take(self, event_id: str, n_seats: int) -> bool:
        """Take seats out of sale; False, and none taken, when there are not enough."""
        if self.remaining[event_id] < n_seats:
            return False
        self._change(event_id, -n_seats)
        return True

    def put_back(self, event_id: str, n_seats: int) -> None:
        """Offer seats again."""
        self._change(event_id, n_seats)

    def announce(self, event_id: str) -> None:
        """Publish what is left now."""
        self._waiting.discard(event_id)
        self._announced_us[event_id] = self._engine.now_us
        message = m.InventoryChanged(
            **self._feed.stamp(), event_id=event_id, capacity=self._capacity[event_id],
            remaining=self.remaining[event_id], promoter_id=self._promoter[event_id],
        )  # fmt: skip
        self._feed.send(topics.EVENT_INVENTORY, event_id, message)

    def _change(self, event_id: str, by: int) -> None:
        self.remaining[event_id] += by
        self._notice(event_id)
        if event_id in self._waiting:
            return
        allowed_us = self._announced_us[event_id] + self._interval_us
        if self._engine.now_us >= allowed_us:
            self.announce(event_id)
        else:
            self._waiting.add(event_id)
            self._engine.at(allowed_us, lambda: self.announce(event_id))

    def _notice(self, event_id: str) -> None:
        left = self.remaining[event_id]
        if left <= 0 and event_id not in self._sold_out:
            self._sold_out.add(event_id)
            self._tell(event_id, True)
        elif left and event_id in self._sold_out and left >= ENOUGH * self._capacity[event_id]:
            self._sold_out.discard(event_id)
            self._tell(event_id, False)
