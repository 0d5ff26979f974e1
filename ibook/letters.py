"""Dead letters: what is kept of a message nobody could read, which of them may go back, and what became of each."""

import sys
from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from ibook.messages import DeadLetter, DeadLetterRedriven
from ibook.topics import BY_NAME, TICKET_PURCHASES

TRANSACTION_HEADER = "transaction_id"
ATTEMPT_HEADER = "redrive-attempt"
"""On a message that was published again from its dead letter: how often by now."""
MAX_HEADER_BYTES = 8 * 1024
"""Names and values of the headers a letter keeps."""

Headers = Sequence[tuple[str, bytes]]
Fate = Literal["redriven", "answered", "attempts", "reason", "compacted", "lost"]
UNHANDLED = "unhandled"
"""Reason of a message that can be read, and that one worker's own code failed on."""
READ_BY_OTHERS = ("conflict", "forged", "unknown", "other_event", "other_price")
"""Reasons of what can be read: whoever else reads the topic has counted the message, and would count a second one."""


def letter_id(topic: str, partition: int, offset: int, worker: str = "") -> str:
    """What names a dead letter: where its message lies, and the worker when it is that one's alone."""
    return f"{topic}:{partition}:{offset}{f':{worker}' if worker else ''}"


def attempt_of(headers: Headers) -> int:
    """How often the message with these headers was published again; 0 for what came from its publisher."""
    told = dict(headers).get(ATTEMPT_HEADER, b"")
    return int(told) if told.isdigit() and len(told) < 4 else 0


def headers_for(headers: Headers, attempt: int) -> tuple[tuple[str, bytes], ...]:
    """The headers of a message that is published again."""
    return (*(each for each in headers if each[0] != ATTEMPT_HEADER), (ATTEMPT_HEADER, str(attempt).encode()))


class _Named(Struct):
    transaction_id: str


_named = msgspec.json.Decoder(_Named)


def transaction_of(letter: DeadLetter) -> str:
    """The transaction a letter's message is about, by its header or its payload; empty when neither says."""
    told = dict(letter.headers or ()).get(TRANSACTION_HEADER, b"").decode(errors="replace")
    if told:
        return told[:128]
    try:
        return _named.decode(letter.payload).transaction_id[:128]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


class Entry(NamedTuple):
    """What the book keeps of a letter: all but its payload."""

    id: str
    topic: str
    partition: int
    offset: int
    reason: str
    occurred_at: datetime
    attempt: int
    transaction: str
    at: int
    """Its offset in `dead-letters`."""

    @property
    def position(self) -> str:
        """Where its message lies."""
        return letter_id(self.topic, self.partition, self.offset)

    @classmethod
    def of(cls, letter: DeadLetter, at: int) -> "Entry":
        """The entry of a letter at this offset."""
        topic, reason = sys.intern(letter.topic), sys.intern(letter.reason)
        return cls(letter.message_id, topic, letter.partition, letter.offset, reason, letter.occurred_at,
                   letter.attempt, transaction_of(letter), at)  # fmt: skip


class LetterBook:
    """Letters in the order of their topic, each once, and which of them went back."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._redriven: set[str] = set()

    def take(self, message: DeadLetter | DeadLetterRedriven, at: int) -> None:
        """Read the message at this offset of `dead-letters`; a letter that is written again is the same letter."""
        if isinstance(message, DeadLetterRedriven):
            self._redriven.add(message.letter)
        elif message.message_id not in self._entries:
            self._entries[message.message_id] = Entry.of(message, at)

    def letters(self, *, topic: str = "", reason: str = "", redriven: bool = False) -> list[Entry]:
        """Entries in order; those that went back only with `redriven`. Empty words match everything."""
        return [
            each for each in self._entries.values()
            if (redriven or each.id not in self._redriven)
            and topic in ("", each.topic) and reason in ("", each.reason)
        ]  # fmt: skip

    def went_back(self, entry: Entry) -> bool:
        """Whether its message was published again."""
        return entry.id in self._redriven

    def named(self, name: str) -> list[Entry]:
        """The letters of a position or a transaction, those that went back too."""
        return [each for each in self._entries.values() if name in (each.id, each.position, each.transaction)]


class Summary(Struct, frozen=True, kw_only=True):
    """Letters of one topic and reason."""

    topic: str
    reason: str
    count: int
    redriven: int
    """Of them, published again."""
    oldest: datetime
    newest: datetime
    attempts: int
    """Of the one that came back most often."""


def summarise(book: LetterBook, entries: Iterable[Entry]) -> list[Summary]:
    """Entries by topic and reason, the most frequent first."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for each in entries:
        groups.setdefault((each.topic, each.reason), []).append(each)
    found = [
        Summary(
            topic=topic, reason=reason, count=len(group), redriven=sum(map(book.went_back, group)),
            oldest=min(each.occurred_at for each in group), newest=max(each.occurred_at for each in group),
            attempts=max(each.attempt for each in group),
        )
        for (topic, reason), group in groups.items()
    ]  # fmt: skip
    return sorted(found, key=lambda each: (-each.count, each.topic, each.reason))


def fate_of(entry: Entry, answered: Container[tuple[int, str]], max_attempts: int, *, forced: bool) -> Fate:
    """What redriving would do with a letter.

    `answered` holds (partition, transaction) of the purchases that have a verdict: those never go back, forced or not.
    `forced` redrives what can be read (`READ_BY_OTHERS`), and what lies on a compacted topic, where an old message
    would take the place of a newer one.
    """
    if entry.topic == TICKET_PURCHASES.name and (entry.partition, entry.transaction) in answered:
        return "answered"
    if entry.attempt >= max_attempts:
        return "attempts"
    topic = BY_NAME.get(entry.topic)
    was_counted = entry.reason in READ_BY_OTHERS or (entry.reason == UNHANDLED and topic and "," in topic.read_by)
    if was_counted and not forced:
        return "reason"
    if (topic is None or topic.compacted) and not forced:
        return "compacted"
    return "redriven"
