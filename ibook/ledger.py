"""One journal partition's quotes: entries and ticks in, changed states and numbered rewards out."""

import heapq
from collections.abc import Callable, Iterable

from msgspec import Struct, field

from ibook.codec import pack_state
from ibook.messages import ClockTicked, PriceReward, QuoteIssued, QuoteSold, QuoteTakenBack
from ibook.rewards import QuoteLife, RewardRules, due_us, note, pass_time, settle

OUTBOX_KEY = b"outbox"
QUOTE_PREFIX = b"quote:"


class Outbox(Struct, kw_only=True):
    """The newest rewards of a partition, stored together with the states they come from.

    They are published after that, and once more after a restart, when nobody knows whether they were; readers skip
    the sequences they have seen.
    """

    next_sequence: int = 0
    rewards: list[PriceReward] = field(default_factory=list)


def quote_key(quote_id: str) -> bytes:
    """Where a quote's life is stored."""
    return QUOTE_PREFIX + quote_id.encode()


class Agenda:
    """When which quote is due, earliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []

    def add(self, at_us: int, quote_id: str) -> None:
        """A quote is due then; one that is noted twice is merely looked at twice."""
        heapq.heappush(self._heap, (at_us, quote_id))

    def add_all(self, due: Iterable[tuple[int, str]]) -> None:
        """Many quotes are due, each at its time in µs."""
        self._heap.extend(due)
        heapq.heapify(self._heap)

    def any_due(self, now_us: int) -> bool:
        """Whether something is due by now."""
        return bool(self._heap) and self._heap[0][0] <= now_us

    def take(self, now_us: int, limit: int) -> list[str]:
        """At most `limit` quotes that are due by now, which leave the agenda."""
        taken: list[str] = []
        while self.any_due(now_us) and len(taken) < limit:
            taken.append(heapq.heappop(self._heap)[1])
        return taken


class Page:
    """The changes that become durable together."""

    def __init__(
        self, partition: int, outbox: Outbox, read: Callable[[str], QuoteLife | None], rules: RewardRules
    ) -> None:
        self._partition = partition
        self._sequence = outbox.next_sequence
        self._read = read
        self._rules = rules
        self._lives: dict[str, QuoteLife | None] = {}
        self.rewards: list[PriceReward] = []
        self.due: list[tuple[int, str]] = []
        """What to add to the agenda once the page is durable."""
        self.refused: list[str] = []
        """A reason for each sale that was not honoured."""

    def note(self, entry: QuoteIssued | QuoteSold | QuoteTakenBack) -> None:
        """Something happened to a quote."""
        before = self._life(entry.quote_id)
        due_before = due_us(before, self._rules) if before else None
        life, refusal = note(before, entry)
        if refusal:
            self.refused.append(refusal)
        self._settle(life, entry)
        self._keep(entry.quote_id, life, due_before)

    def pass_time(self, quote_id: str, tick: ClockTicked) -> None:
        """A quote was due: it lapses, is forgotten, or was not due after all."""
        before = self._life(quote_id)
        if before is None:
            return
        life = pass_time(before, tick, self._rules)
        if life is None:
            if before.issued is None and before.sold_to:
                self.refused.append("unknown")
            self._lives[quote_id] = None
            return
        self._settle(life, tick)
        self._keep(quote_id, life, None)

    def outbox(self, before: Outbox) -> Outbox:
        """The outbox after this page: its rewards, or still the ones before."""
        return Outbox(next_sequence=self._sequence, rewards=self.rewards) if self.rewards else before

    def records(self, outbox: Outbox) -> dict[bytes, bytes | None]:
        """What to store, in one batch; None deletes."""
        states = {quote_key(quote_id): pack_state(life) if life else None for quote_id, life in self._lives.items()}
        return {**states, OUTBOX_KEY: pack_state(outbox)} if states else {}

    def _life(self, quote_id: str) -> QuoteLife | None:
        return self._lives[quote_id] if quote_id in self._lives else self._read(quote_id)

    def _settle(self, life: QuoteLife, entry: QuoteIssued | QuoteSold | QuoteTakenBack | ClockTicked) -> None:
        reward = settle(life, entry, partition=self._partition, sequence=self._sequence)
        if reward is not None:
            self._sequence += 1
            self.rewards.append(reward)

    def _keep(self, quote_id: str, life: QuoteLife, due_before: int | None) -> None:
        self._lives[quote_id] = life
        due = due_us(life, self._rules)
        if due != due_before:
            self.due.append((due, quote_id))
