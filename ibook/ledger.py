"""One journal partition's quotes and identities: entries and ticks in, changed states and numbered rewards out.

A partition holds whole events, so what counts of an identity at an event is decided in one place, in the log's order.
"""

import heapq
from collections.abc import Callable, Iterable

from msgspec import Struct, field

from ibook.clock import to_us
from ibook.codec import pack_state, unpack_state
from ibook.identity_caps import Beyond, Changes, Counts, IdentityCaps, forgotten_us
from ibook.messages import ClockTicked, PriceReward, QuoteIssued, QuoteSold, QuoteTakenBack
from ibook.rewards import QuoteLife, RewardRules, due_us, note, pass_time, settle

OUTBOX_KEY = b"outbox"
QUOTE_PREFIX = b"quote:"
COUNTS_PREFIX = b"counts:"


class Outbox(Struct, kw_only=True):
    """The newest rewards of a partition, stored together with the states they come from.

    They are published after that, and once more after a restart, when nobody knows whether they were; readers skip
    the sequences they have seen.
    """

    next_sequence: int = 0
    rewards: list[PriceReward] = field(default_factory=list)


def due_of(key: bytes, stored: bytes, rules: RewardRules) -> int | None:
    """When the clock next changes what is stored under a key, in µs; None when it never does."""
    name = key.partition(b":")[2].decode()
    if key.startswith(QUOTE_PREFIX):
        return due_us(unpack_state(stored, QuoteLife), rules)
    if key.startswith(COUNTS_PREFIX):
        return forgotten_us(name, unpack_state(stored, Counts), rules.refund_seconds)
    return None


def quote_key(quote_id: str) -> bytes:
    """Where a quote's life is stored."""
    return QUOTE_PREFIX + quote_id.encode()


def counts_key(name: str) -> bytes:
    """Where the counts of an identity are stored."""
    return COUNTS_PREFIX + name.encode()


class Agenda:
    """When which quote is due, or which identity's counts, earliest first; by their keys in the table."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []

    def add(self, at_us: int, key: bytes) -> None:
        """Something is due then; what is noted twice is merely looked at twice."""
        heapq.heappush(self._heap, (at_us, key))

    def add_all(self, due: Iterable[tuple[int, bytes]]) -> None:
        """Much is due, each at its time in µs."""
        self._heap.extend(due)
        heapq.heapify(self._heap)

    def any_due(self, now_us: int) -> bool:
        """Whether something is due by now."""
        return bool(self._heap) and self._heap[0][0] <= now_us

    def take(self, now_us: int, limit: int) -> list[bytes]:
        """At most `limit` of what is due by now, which leave the agenda."""
        taken: list[bytes] = []
        while self.any_due(now_us) and len(taken) < limit:
            taken.append(heapq.heappop(self._heap)[1])
        return taken


class Page:
    """The changes that become durable together."""

    def __init__(
        self, partition: int, outbox: Outbox, read: Callable[[bytes], bytes | None], rules: RewardRules
    ) -> None:
        """`read` gives what the table has under a key."""
        self._partition = partition
        self._sequence = outbox.next_sequence
        self._read = read
        self._rules = rules
        self._lives: dict[str, QuoteLife | None] = {}
        self._counts = Changes(self._read_counts)
        self._caps = IdentityCaps(self._counts, rules.caps)
        self.rewards: list[PriceReward] = []
        self._later: list[tuple[int, bytes]] = []
        self.refused: list[str] = []
        """A reason for each sale that was not honoured."""

    def note(self, entry: QuoteIssued | QuoteSold | QuoteTakenBack) -> None:
        """Something happened to a quote."""
        before = self._life(entry.quote_id)
        due_before = due_us(before, self._rules) if before else None
        life, refusal = note(before, entry, self._caps)
        if refusal:
            self.refused.append(refusal)
        self._settle(life, entry)
        self._keep(entry.quote_id, life, due_before)

    def pass_time(self, key: bytes, tick: ClockTicked) -> None:
        """Something was due: a quote lapses or is forgotten, counts are forgotten, or it was not due after all."""
        name = key.partition(b":")[2].decode()
        if key.startswith(COUNTS_PREFIX):
            self._forget_counts(name, tick)
        else:
            self._pass_time(name, tick)

    def due(self) -> list[tuple[int, bytes]]:
        """What to add to the agenda once the page is durable."""
        memory = self._rules.refund_seconds
        begun = [(name, counts) for name in self._counts.begun if (counts := self._counts.get(name))]
        return self._later + [(forgotten_us(name, counts, memory), counts_key(name)) for name, counts in begun]

    @property
    def beyond(self) -> list[Beyond]:
        """Which cap each of those was beyond that do not count."""
        return self._caps.beyond

    def _forget_counts(self, name: str, tick: ClockTicked) -> None:
        counts = self._counts.get(name)
        if counts is None:
            return
        due = forgotten_us(name, counts, self._rules.refund_seconds)
        if due <= to_us(tick.occurred_at):
            self._counts.changed[name] = None
        else:
            self._later.append((due, counts_key(name)))

    def _pass_time(self, quote_id: str, tick: ClockTicked) -> None:
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
        states |= {counts_key(name): pack_state(one) if one else None for name, one in self._counts.changed.items()}
        return {**states, OUTBOX_KEY: pack_state(outbox)} if states else {}

    def _life(self, quote_id: str) -> QuoteLife | None:
        if quote_id in self._lives:
            return self._lives[quote_id]
        stored = self._read(quote_key(quote_id))
        return unpack_state(stored, QuoteLife) if stored else None

    def _read_counts(self, name: str) -> Counts | None:
        stored = self._read(counts_key(name))
        return unpack_state(stored, Counts) if stored else None

    def _settle(self, life: QuoteLife, entry: QuoteIssued | QuoteSold | QuoteTakenBack | ClockTicked) -> None:
        reward = settle(life, entry, partition=self._partition, sequence=self._sequence)
        if reward is not None:
            self._sequence += 1
            self.rewards.append(reward)

    def _keep(self, quote_id: str, life: QuoteLife, due_before: int | None) -> None:
        self._lives[quote_id] = life
        due = due_us(life, self._rules)
        if due != due_before:
            self._later.append((due, quote_key(quote_id)))
