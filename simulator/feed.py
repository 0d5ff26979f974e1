"""Where messages leave the simulation: stamped with event time and an id, and counted."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import TypedDict

from ibook.clock import from_us
from ibook.messages import Message
from ibook.topics import Topic
from simulator.engine import Engine
from simulator.ids import Ids

Write = Callable[[Topic, str, Message], None]
"""Takes a topic, a key and a message."""


class Stamp(TypedDict):
    """What every message starts with."""

    message_id: str
    occurred_at: datetime


class Feed:
    """Hands messages to `write` while `is_open`; a closed feed swallows them."""

    def __init__(self, engine: Engine, ids: Ids, write: Write) -> None:
        self._engine = engine
        self.ids = ids
        self._write = write
        self._stamped_us, self._now = 0, from_us(0)
        self.is_open = True
        self.muted: set[str] = set()
        """Names of topics that get nothing any more."""
        self.sent: Counter[str] = Counter()
        """Messages per topic."""

    @property
    def now_us(self) -> int:
        """The time of the running step, in microseconds since the epoch."""
        return self._engine.now_us

    def stamp(self) -> Stamp:
        """A fresh message id and the time of the running step."""
        now_us = self._engine.now_us
        if now_us != self._stamped_us:  # a step publishes several messages as often as one
            self._stamped_us, self._now = now_us, from_us(now_us)
        return {"message_id": self.ids.next(), "occurred_at": self._now}

    def send(self, topic: Topic, key: str, message: Message) -> None:
        """Let a message go."""
        if self.is_open and topic.name not in self.muted:
            self.sent[topic.name] += 1
            self._write(topic, key, message)
