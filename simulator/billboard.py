"""What the shop announces, when it does: listings a week before sales open, seats, and what a competitor asks."""

from functools import partial

from ibook import messages as m
from ibook import topics
from simulator.attention import DAY_US
from simulator.catalogue import CURRENCY, Event
from simulator.engine import SECOND_US, Engine
from simulator.feed import Feed
from simulator.shop import Shop

SPREAD_US = 40 * 60 * SECOND_US
"""A competitor's price changes at midnight (UTC) and is seen within so long."""


class Billboard:
    """Announces the events of a catalogue, at the latest when they are due."""

    def __init__(self, events: tuple[Event, ...], engine: Engine, feed: Feed, shop: Shop) -> None:
        self._events, self._engine, self._feed, self._shop = events, engine, feed, shop

    def open(self) -> None:
        """Announce what is listed by now and not over, and everything else when its day comes."""
        now_us = self._engine.now_us
        for event in self._events:
            if event.announced_us <= now_us < event.starts_us:
                self._announce(event)
            elif now_us < event.announced_us:
                self._engine.at(event.announced_us, partial(self._announce, event))

    def _announce(self, event: Event) -> None:
        self._shop.announce((event,))
        self._look_around(event)

    def _look_around(self, event: Event) -> None:
        """See what the competitor asks today, and look again tomorrow."""
        now_us = self._engine.now_us
        if now_us >= event.starts_us:
            return
        day = now_us // DAY_US
        prices = [
            m.CompetitorPrice(
                ticket_type=ticket.name, price_minor=event.rival.price_minor(ticket.list_price_minor, day)
            )
            for ticket in event.tickets
        ]
        message = m.CompetitorPrices(
            **self._feed.stamp(), event_id=event.event_id, currency=CURRENCY, prices=prices
        )  # fmt: skip
        self._feed.send(topics.COMPETITOR_PRICES, event.event_id, message)
        tomorrow_us = (day + 1) * DAY_US + int(event.rival.level * 1e9) % SPREAD_US
        self._engine.at(tomorrow_us, partial(self._look_around, event))
