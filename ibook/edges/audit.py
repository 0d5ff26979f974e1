"""Does every purchase have its one verdict? Asked of the topics themselves, not of any worker."""

from collections import Counter
from dataclasses import dataclass, field

from ibook import codec
from ibook.edges.kafka import BroadcastReader, Record
from ibook.errors import InvalidMessage
from ibook.messages import Action, FraudVerdict, PurchaseRequested
from ibook.settings import Settings
from ibook.topics import DEAD_LETTERS, FRAUD_VERDICTS, TICKET_PURCHASES


@dataclass
class Audit:
    """What purchases and verdicts add up to, over all that the topics hold."""

    purchases: int = 0
    """Transactions that asked for a verdict in a message we can read."""
    verdicts: int = 0
    """Transactions with a verdict."""
    missing: list[str] = field(default_factory=list)
    conflicting: list[str] = field(default_factory=list)
    """Transactions with two verdicts that say different things; the first in the partition counts."""
    duplicated: int = 0
    """Verdicts beyond the first that say the same."""
    dead_letters: int = 0

    @property
    def sound(self) -> bool:
        """Nothing missing, nothing contradicted."""
        return not self.missing and not self.conflicting


class Auditor:
    """Follows purchases, verdicts and dead letters from their beginning. One thread at a time; a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._reader = BroadcastReader(settings, TICKET_PURCHASES.name, FRAUD_VERDICTS.name, DEAD_LETTERS.name)
        self._asked: set[str] = set()
        self._first: dict[str, Action] = {}
        self._conflicting: set[str] = set()
        self._duplicated = 0
        self._dead: Counter[str] = Counter()
        self._loaded = False

    def __enter__(self) -> "Auditor":
        """The auditor itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the reader."""
        self._reader.close()

    def look(self, *, to_the_end: bool = False) -> Audit:
        """Read what is new and say how things stand; `to_the_end` goes on until nothing new comes.

        Ask for the end only when nobody publishes any more. Raises BrokerUnavailable.
        """
        records = self._reader.poll_new(0.1) if self._loaded else self._reader.load()
        self._loaded = True
        for record in records:
            self._take(record)
        while to_the_end and (records := self._reader.poll_new(0.5)):
            for record in records:
                self._take(record)
        answered = self._first.keys() & self._asked
        return Audit(
            purchases=len(self._asked),
            verdicts=len(answered),
            missing=sorted(self._asked - self._first.keys()),
            conflicting=sorted(self._conflicting),
            duplicated=self._duplicated,
            dead_letters=sum(self._dead.values()),
        )

    def _take(self, record: Record) -> None:
        try:
            if record.topic == TICKET_PURCHASES.name:
                purchase: PurchaseRequested = codec.decode(record.value, PurchaseRequested)
                self._asked.add(purchase.transaction_id)
            elif record.topic == FRAUD_VERDICTS.name:
                self._take_verdict(codec.decode(record.value, FraudVerdict))
            else:
                self._dead[codec.decode_dead_letter(record.value).reason] += 1
        except InvalidMessage:
            return  # whoever owns the topic has dead-lettered it

    def _take_verdict(self, verdict: FraudVerdict) -> None:
        first = self._first.get(verdict.transaction_id)
        if first is None:
            self._first[verdict.transaction_id] = verdict.action
        elif first == verdict.action:
            self._duplicated += 1
        else:
            self._conflicting.add(verdict.transaction_id)
