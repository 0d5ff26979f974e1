"""What follows a topic of releases and speaks on it through its guard: the models that run, and the policy in force."""

from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar

import structlog

from ibook.codec import MAX_OWN_BYTES, decode, encode
from ibook.edges.follower import Follower
from ibook.edges.kafka import Outgoing, Record, producer, publish
from ibook.errors import InvalidMessage
from ibook.messages import (
    ModelReleased,
    PolicyConfirmed,
    PolicyReleased,
    PolicyTakenBack,
    ReleaseConfirmed,
    ReleaseTakenBack,
)
from ibook.settings import Settings
from ibook.topics import Topic

Word = TypeVar("Word", bound=ReleaseTakenBack | ReleaseConfirmed | PolicyTakenBack | PolicyConfirmed)

log = structlog.get_logger(__name__)


class FollowingReleases(Generic[Word]):
    """Reads the releases, counts those it refuses, and tells what its guard said. Also a context manager."""

    def __init__(self, topic: Topic, key: str) -> None:
        """`key` is that of the releases: all other ones are somebody else's."""
        self._topic, self._key = topic, key
        self._said: dict[str, Word] = {}
        """By the guard of this process, by message id of the release."""
        self._untold: list[Word] = []
        """What of it the others do not know yet."""
        self._follower: Follower | None = None
        self._has_lost = False
        """Something was kept, though its topic has no releases."""
        self.refused = 0
        """Releases that were not taken when they came; what counted before them goes on."""
        self.last_refusal = ""
        """Why, in a sentence."""

    def close(self) -> None:
        """Stop following. What decides stays."""
        if self._follower is not None:
            self._follower.close()

    def __enter__(self) -> Self:
        """What decides."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _refuse(self, version: str, why: str) -> None:
        """Count it, and say so where an operator looks."""
        self.refused += 1
        self.last_refusal = why

    def _is_lost(self, kept: ModelReleased | PolicyReleased | None, releases: Sequence[object]) -> bool:
        """Whether something was kept though the topic has no releases: made anew, or that of another cluster."""
        had_lost, self._has_lost = self._has_lost, kept is not None and not releases
        if kept and self._has_lost and not had_lost:
            log.error("releases_lost", topic=self._topic.name, kept=kept.version)
        return self._has_lost

    def _say(self, message: Word) -> None:
        self._said[message.release_id] = message
        self._untold.append(message)

    def _tell_others(self, settings: Settings) -> None:
        """Publish what the guard of this process found; what does not reach Kafka is tried again."""
        while self._untold:
            outgoing = Outgoing(topic=self._topic.name, key=self._key.encode(), value=encode(self._untold[0]))
            publish(producer(settings), [outgoing])
            self._untold.pop(0)

    def _decoded(self, records: Sequence[Record]) -> list[Any]:
        """Messages of the topic; what can't be read is refused."""
        messages: list[Any] = []
        for record in records:
            try:
                messages.append(decode(record.value, self._topic.message, max_bytes=MAX_OWN_BYTES))
            except InvalidMessage as error:
                self._refuse(f"at offset {record.offset}", str(error))
        return messages
