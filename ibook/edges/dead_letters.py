"""Dead letters read from their topic, and published again to where they came from."""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from confluent_kafka import KafkaException, Message, TopicPartition

from ibook.answered import MAX_TRANSACTIONS
from ibook.clock import Clock, to_us
from ibook.codec import decode_dead_letter, decode_letters, encode
from ibook.edges.kafka import Outgoing, extent, headers_of, producer, publish
from ibook.edges.kafka_admin import list_topics
from ibook.edges.log import Stretch, log_reader, offset_at, read
from ibook.errors import BrokerUnavailable, InvalidMessage
from ibook.letters import Entry, Fate, LetterBook, fate_of, headers_for
from ibook.messages import DeadLetter, DeadLetterRedriven
from ibook.settings import Settings
from ibook.topics import DEAD_LETTERS, FRAUD_VERDICTS, TICKET_PURCHASES

AT_ONCE = 500
"""Messages published, then noted as redriven: so many go back twice at most when the command is killed."""


class DeadLetters:
    """The topic `dead-letters`, and the topics its letters came from. One thread at a time; a context manager.

    Every method raises BrokerUnavailable when Kafka does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = log_reader(settings.kafka_bootstrap)

    def __enter__(self) -> Self:
        """The reader itself, when Kafka answers."""
        list_topics(self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._consumer.close()

    def book(self, since: datetime | None = None) -> LetterBook:
        """All letters that the topic holds, or those written since, and which of them went back."""
        book = LetterBook()
        for message in self._read(self._stretch(DEAD_LETTERS.name, 0, since)):
            try:
                book.take(decode_letters(message.value()), message.offset() or 0)
            except InvalidMessage:
                continue  # somebody else's, on our topic
        return book

    def letters(self, entries: Sequence[Entry]) -> list[DeadLetter]:
        """The letters of entries, with their payloads, in the order of their topic."""
        wanted = {each.at for each in entries}
        if not wanted:
            return []
        stretch = Stretch(DEAD_LETTERS.name, 0, min(wanted), max(wanted) + 1)
        return [decode_dead_letter(each.value()) for each in self._read(stretch) if each.offset() in wanted]

    def original(self, letter: DeadLetter) -> Outgoing | None:
        """The message as it was: from its letter, or from its topic when the letter is shortened or an older one.

        Its partition is the one it lay in, where what was said of it before is known. None when it is gone.
        """
        if letter.headers is not None and not letter.truncated:
            return Outgoing(topic=letter.topic, partition=letter.partition, key=letter.key, value=letter.payload,
                            headers=tuple(letter.headers))  # fmt: skip
        found = self._at(letter.topic, letter.partition, letter.offset)
        return _outgoing(found[0]) if found else None

    def answered(self, entries: Sequence[Entry]) -> set[tuple[int, str]]:
        """Partition and transaction of those purchases among the entries that have a verdict.

        A verdict is looked for among the 100,000 before the partition's oldest entry, and all since.
        """
        asked: dict[int, dict[str, datetime]] = {}
        for each in entries:
            if each.topic == TICKET_PURCHASES.name and each.transaction:
                asked.setdefault(each.partition, {}).setdefault(each.transaction, each.occurred_at)
        found: set[tuple[int, str]] = set()
        for partition, wanted in asked.items():
            stretch = self._stretch(FRAUD_VERDICTS.name, partition, min(wanted.values()), MAX_TRANSACTIONS)
            keys = (_text(message.key()) for message in self._read(stretch))
            found.update((partition, key) for key in keys if key in wanted)
        return found

    # ----------------------------------------------------------------------------------------------------- reading
    def _stretch(self, topic: str, partition: int, since: datetime | None, before: int = 0) -> Stretch:
        """A partition from an instant on, and so many records before it."""
        try:
            low, high = extent(self._consumer, TopicPartition(topic, partition))
            if since is None:
                return Stretch(topic, partition, low, high)
            start = offset_at(self._consumer, topic, partition, to_us(since) // 1000, high)
            return Stretch(topic, partition, max(low, start - before), high)
        except KafkaException as error:
            raise BrokerUnavailable(f"{topic}:{partition} can't be read: {error}.") from error

    def _at(self, topic: str, partition: int, offset: int) -> list[Message]:
        """The message at an offset, if it is still there."""
        stretch = self._stretch(topic, partition, None)
        if not stretch.start <= offset < stretch.end:
            return []
        return list(self._read(Stretch(topic, partition, offset, offset + 1)))

    def _read(self, stretch: Stretch) -> Iterator[Message]:
        try:
            yield from read(self._consumer, [stretch])
        except KafkaException as error:
            raise BrokerUnavailable(f"{stretch.topic}:{stretch.partition} can't be read: {error}.") from error


def _outgoing(message: Message) -> Outgoing:
    return Outgoing(
        topic=str(message.topic()), partition=int(message.partition() or 0), key=message.key(), value=message.value(),
        headers=headers_of(message),
    )  # fmt: skip


def _text(key: bytes | str | None) -> str:
    return key if isinstance(key, str) else (key or b"").decode(errors="replace")


# ------------------------------------------------------------------------------------------------------------ redriving
@dataclass
class Redriven:
    """What became of the letters that were chosen."""

    fates: Counter[Fate] = field(default_factory=Counter)
    by_topic: Counter[str] = field(default_factory=Counter)
    """Of those that go back."""


def redrive(
    letters: DeadLetters, entries: Sequence[Entry], settings: Settings, clock: Clock, *, force: str = "",
    dry_run: bool = False,
) -> Redriven:  # fmt: skip
    """Publish the messages of letters again to where they came from, and note each as redriven.

    Under their key, into their partition, with their headers and how often it is by now. What must not or need not go
    back is left, and counted; `force` is the reason for redriving what else would be left, see `letters.fate_of`. A
    message is noted after the broker has it: killed in between, it goes back once more, with the same ids.
    Raises BrokerUnavailable.
    """
    done = Redriven()
    answered = letters.answered(entries)
    chosen = [entry for entry in entries if _counted(entry, answered, settings, done, forced=bool(force))]
    client = None if dry_run else producer(settings)
    for start in range(0, len(chosen), AT_ONCE):
        page = letters.letters(chosen[start : start + AT_ONCE])
        there = [(letter, original) for letter in page if (original := letters.original(letter)) is not None]
        if client is not None:
            publish(client, [_again(letter, original) for letter, original in there])
            publish(client, [_note(letter, force, clock) for letter, _ in there])
        done.fates["lost"] += len(page) - len(there)
        done.fates["redriven"] += len(there)
        done.by_topic.update(letter.topic for letter, _ in there)
    return done


def _counted(
    entry: Entry, answered: Container[tuple[int, str]], settings: Settings, done: Redriven, *, forced: bool
) -> bool:
    """Whether a letter goes back; one that does not is counted."""
    fate = fate_of(entry, answered, settings.redrive_attempts, forced=forced)
    if fate != "redriven":
        done.fates[fate] += 1
    return fate == "redriven"


def _again(letter: DeadLetter, original: Outgoing) -> Outgoing:
    return replace(original, headers=headers_for(original.headers, letter.attempt + 1))


def _note(letter: DeadLetter, force: str, clock: Clock) -> Outgoing:
    attempt, letter_id = letter.attempt + 1, letter.message_id
    note = DeadLetterRedriven(
        message_id=f"redriven-{letter_id}", occurred_at=clock.now(), letter=letter_id, attempt=attempt, why=force
    )
    return Outgoing(topic=DEAD_LETTERS.name, key=letter_id.encode(), partition=0, value=encode(note))
