"""A bad day of the network between the shop and Kafka: nothing gets lost, and nothing comes as it should."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from ibook.messages import Message, PurchaseRequested
from ibook.topics import COMPETITOR_PRICES, EVENT_INVENTORY, EVENT_LISTINGS, TICKET_PURCHASES, Topic
from simulator.broken import damaged
from simulator.engine import Engine, Timer
from simulator.feed import Write
from simulator.ids import Ids

Span = tuple[float, float]
WriteRaw = Callable[[Topic, str, bytes, str], None]
"""Takes a topic, a key, any bytes, and the transaction id of the header, which may be empty."""
SPARED = frozenset({EVENT_LISTINGS.name, EVENT_INVENTORY.name, COMPETITOR_PRICES.name})
"""Compacted topics: their last message stands for ever, so an old one that comes last would never be mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """How often what happens to a message. Shares of all messages, at most one harm each; times are in seconds.

    Assumed: nobody publishes such figures. They are far worse than a usual day, so that a minute shows them all.
    """

    delayed: float = 0.10
    delay: Span = (0.2, 2.0)
    duplicated: float = 0.05
    repeat_after: Span = (0.0, 2.0)
    """Also what is sent twice is answered once."""
    reordered: float = 0.06
    overtaken_by: tuple[int, int] = (2, 12)
    """How many later messages of its topic go first."""
    late: float = 0.02
    lateness: Span = (5.0, 15.0)
    """As of a phone that was without a network; purchases are never as late, their buyers would have left."""
    malformed: float = 0.01
    """A damaged copy goes out beside the message, under ids of its own: no purchase is answered for it."""
    silence: Span = (1.0, 2.5)
    """Nothing leaves; then everything at once …"""
    silence_every: Span = (5.0, 10.0)
    """… and so long until the next one, half as long until the first."""

    def scaled(self, share: float) -> "Degradation":
        """The same harm to only a share of the messages, and silences as much rarer."""
        every = (self.silence_every[0] / share, self.silence_every[1] / share)
        return replace(
            self, delayed=self.delayed * share, duplicated=self.duplicated * share, reordered=self.reordered * share,
            late=self.late * share, malformed=self.malformed * share, silence_every=every,
        )  # fmt: skip


@dataclass(slots=True)
class _Waiting:
    topic: Topic
    key: str
    message: Message
    overtaken_by: int = 0


class Degraded:
    """Stands between a feed and `write`. Messages pass untouched until `begin` and after `end`.

    `counts` says what was done, per kind: `delayed`, `duplicated`, `reordered`, `late`, `malformed`, `held_back` by
    a silence, and `silences`.
    """

    def __init__(
        self, how: Degradation, engine: Engine, rng: Random, ids: Ids, write: Write, write_raw: WriteRaw
    ) -> None:
        self._how, self._engine, self._rng, self._ids = how, engine, rng, ids
        self._write, self._write_raw = write, write_raw
        self._active = self._silent = False
        self._delayed: dict[int, _Waiting] = {}
        self._overtaken: defaultdict[str, list[_Waiting]] = defaultdict(list)
        self._held: list[Timer] = []
        self._numbered = 0
        self.counts: Counter[str] = Counter()
        self.identifiable: set[str] = set()
        """Transaction ids in the headers of damaged purchases."""

    @property
    def pending(self) -> int:
        """Messages that have not left yet."""
        return len(self._delayed) + len(self._held) + sum(map(len, self._overtaken.values()))

    def begin(self) -> None:
        """From now on messages come to harm."""
        self._active = True
        self._expect_silence(after=0.5)

    def end(self) -> None:
        """No more harm; what is on its way arrives."""
        self._active = False

    def release(self) -> None:
        """Let everything that waits go now: the run ends."""
        self._active = False
        self._break_silence()
        for number in list(self._delayed):
            self._deliver(number)
        for waiting in [each for topic in self._overtaken.values() for each in topic]:
            self._write(waiting.topic, waiting.key, waiting.message)
        self._overtaken.clear()

    def write(self, topic: Topic, key: str, message: Message) -> None:
        """Take a message; it leaves now or later, once or twice."""
        if not self._active or topic.name in SPARED:
            self._leave(topic, key, message)
            return
        harm = self._draw(topic)
        if harm:
            self.counts[harm] += 1
        waiting = _Waiting(topic, key, message)
        if harm == "delayed":
            self._delay(waiting, self._how.delay)
        elif harm == "late":
            self._delay(waiting, self._how.lateness)
        elif harm == "reordered":
            waiting.overtaken_by = self._rng.randint(*self._how.overtaken_by)
            self._overtaken[topic.name].append(waiting)
        else:
            if harm == "malformed":
                self._damage(topic, key, message)
            self._leave(topic, key, message)
            if harm == "duplicated":
                self._delay(waiting, self._how.repeat_after)

    def _draw(self, topic: Topic) -> str:
        how, luck = self._how, self._rng.random()
        late = 0.0 if topic is TICKET_PURCHASES else how.late
        for harm, share in (("delayed", how.delayed), ("duplicated", how.duplicated), ("reordered", how.reordered),
                            ("malformed", how.malformed), ("late", late)):  # fmt: skip
            if luck < share:
                return harm
            luck -= share
        return ""

    # ---------------------------------------------------------------------------------------------------- harms
    def _delay(self, waiting: _Waiting, span: Span) -> None:
        self._numbered += 1
        number = self._numbered
        self._delayed[number] = waiting
        self._engine.after(self._rng.uniform(*span), lambda: self._deliver(number))

    def _deliver(self, number: int) -> None:
        waiting = self._delayed.pop(number, None)
        if waiting is not None:
            self._leave(waiting.topic, waiting.key, waiting.message)

    def _damage(self, topic: Topic, key: str, message: Message) -> None:
        transaction_id = self._ids.next()
        payload = damaged(message, self._rng, self._ids.next(), transaction_id)
        header = ""
        if isinstance(message, PurchaseRequested) and self._rng.random() < 0.5:
            header = transaction_id
            self.identifiable.add(transaction_id)
        self._or_hold(partial(self._write_raw, topic, key, payload, header))

    # -------------------------------------------------------------------------------------------------- leaving
    def _leave(self, topic: Topic, key: str, message: Message) -> None:
        self._or_hold(partial(self._write, topic, key, message))
        for waiting in self._overtaking(topic.name):
            self._or_hold(partial(self._write, waiting.topic, waiting.key, waiting.message))

    def _overtaking(self, topic: str) -> list[_Waiting]:
        """Those that enough messages have overtaken now, with the one that leaves."""
        queue = self._overtaken.get(topic)
        if not queue:
            return []
        for waiting in queue:
            waiting.overtaken_by -= 1
        self._overtaken[topic] = [waiting for waiting in queue if waiting.overtaken_by > 0]
        return [waiting for waiting in queue if waiting.overtaken_by <= 0]

    def _or_hold(self, leave: Timer) -> None:
        if self._silent:
            self.counts["held_back"] += 1
            self._held.append(leave)
        else:
            leave()

    # ------------------------------------------------------------------------------------------------- silences
    def _expect_silence(self, *, after: float = 1.0) -> None:
        self._engine.after(after * self._rng.uniform(*self._how.silence_every), self._fall_silent)

    def _fall_silent(self) -> None:
        if not self._active:
            return
        self.counts["silences"] += 1
        self._silent = True
        self._engine.after(self._rng.uniform(*self._how.silence), self._speak_again)

    def _speak_again(self) -> None:
        self._break_silence()
        if self._active:
            self._expect_silence()

    def _break_silence(self) -> None:
        self._silent = False
        held, self._held = self._held, []
        for leave in held:
            leave()
