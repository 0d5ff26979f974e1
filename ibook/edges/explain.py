"""One purchase's story, gathered from the logs and the archive within a budget of time."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ibook import story
from ibook.clock import Clock
from ibook.codec import MAX_OWN_BYTES, decode, decode_letters
from ibook.edges.kafka import Record
from ibook.edges.kafka_admin import list_topics
from ibook.edges.model_store import ModelStore
from ibook.edges.searching import Found, Looked, Search, broker_time, likely_partitions, locate
from ibook.errors import InvalidMessage, ModelUnavailable, NothingKnown
from ibook.letters import letter_id, transaction_of
from ibook.messages import (
    DeadLetter,
    DeadLetterRedriven,
    FraudLabel,
    FraudVerdict,
    PaymentOutcome,
    PurchaseRequested,
    QuoteIssued,
    QuoteJournal,
    Release,
    VerdictEvidence,
)
from ibook.partitioning import partition_of
from ibook.settings import Settings
from ibook.story import Chapter, Missing, Place, Story
from ibook.topics import (
    DEAD_LETTERS,
    FRAUD_EVIDENCE,
    FRAUD_LABELS,
    FRAUD_VERDICTS,
    MODEL_RELEASES,
    PAYMENT_OUTCOMES,
    POLICY_RELEASES,
    QUOTE_JOURNAL,
    TICKET_PURCHASES,
    Topic,
)

REMEMBERED = 100_000
"""Messages of a partition before a purchase among which its repeats are looked for, as the workers do."""
AFTER = timedelta(days=1)
"""How long after it repeats and second verdicts are looked for."""

M = TypeVar("M")


def explain(settings: Settings, transaction_id: str, clock: Clock, *, seconds: float) -> Story:
    """Everything the logs say of a transaction, in about so many seconds.

    Raises NothingKnown when none of them names it, BrokerUnavailable when Kafka does not answer.
    """
    list_topics(settings)  # which says that no broker answers better than a search that finds nobody
    with Search(settings, transaction_id, seconds) as search:
        found = locate(settings, search, transaction_id, clock.now())
        gathering = Gathering(settings, search, transaction_id, found)
        gathering.purchase_and_decision()
        gathering.quote_and_model()
        gathering.what_followed()
    if not gathering.chapters:
        looked = "; ".join(each.looked for each in gathering.missing)
        raise NothingKnown(f"Nothing is known of transaction {transaction_id!r}. Looked at: {looked}.")
    return gathering.story()


class Gathering:
    """Collects the chapters of one story."""

    def __init__(self, settings: Settings, search: Search, transaction_id: str, found: Found) -> None:
        self._settings = settings
        self._search = search
        self._id = transaction_id
        self._found = found
        self._quote_of: tuple[str, str] | None = None
        """The quote it was bought at, and the event."""
        self._purchase_at: datetime | None = None
        self._evidence: VerdictEvidence | None = None
        self._model: dict[str, Any] = {}
        self._policy: dict[str, Any] = {}
        self._contributions: NDArray[np.float64] | None = None
        self._homes: set[int] = set()
        """The partitions that the purchase and its repeats lie in: its answers lie there, too."""
        self.chapters: list[Chapter] = []
        self.missing: list[Missing] = []

    def story(self) -> Story:
        """The chapters in order of time."""
        why = None if self._evidence is None else story.why_of(self._evidence, self._contributions)
        return Story(
            transaction_id=self._id, chapters=sorted(self.chapters, key=lambda each: each.at), why=why,
            model=self._model, policy=self._policy, missing=self.missing,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------- the purchase and its answer
    def purchase_and_decision(self) -> None:
        """The purchase and its repeats, its evidence, its verdicts."""
        if self._found.at is None:
            self.missing.append(Missing(what="purchase", looked="; ".join(self._found.looked)))
            return
        self._purchases()
        self._decision()
        self._verdicts()

    def _purchases(self) -> None:
        looked = self._nearby(TICKET_PURCHASES.name)
        known = 0
        for record in looked.records:
            purchase = _read(record, PurchaseRequested)
            if purchase is not None and purchase.transaction_id != self._id:
                continue
            self._purchase_at = self._purchase_at or broker_time(record)
            self._quote_of = self._quote_of or (_quote_of(purchase) if purchase else None)
            self._homes.add(record.partition)
            self.chapters.append(story.chapter_of_purchase(_place(record), purchase, again=known > 0))
            known += purchase is not None
        if not looked.records:
            self._only_evidence_has_it(looked)

    def _only_evidence_has_it(self, looked: Looked) -> None:
        """The topic has forgotten the purchase; its evidence repeats it."""
        _, evidence = self._found.evidence or (None, None)
        if evidence is None or evidence.purchase is None:
            self.missing.append(Missing(what="purchase", looked=str(looked)))
            return
        place = Place(*evidence.source, None)
        self._homes.add(place.partition)
        self._quote_of = _quote_of(evidence.purchase)
        self.chapters.append(story.chapter_of_purchase(place, evidence.purchase, again=False))

    def _decision(self) -> None:
        looked = self._nearby(FRAUD_EVIDENCE.name, sorted(self._homes) or None)
        decided = [(_place(each), read) for each in looked.records if (read := _read(each, VerdictEvidence))]
        decided = [each for each in decided if each[1].transaction_id == self._id]
        if not decided and self._found.evidence is not None:
            decided = [self._found.evidence]
        for place, evidence in decided:
            self.chapters.append(story.chapter_of_evidence(place, evidence))
        if decided:
            self._evidence = decided[0][1]
        else:
            self.missing.append(Missing(what="evidence", looked=f"{looked}; {'; '.join(self._found.looked)}"))

    def _verdicts(self) -> None:
        looked = self._nearby(FRAUD_VERDICTS.name, sorted(self._homes) or None)
        told = [(_place(each), read) for each in looked.records if (read := _read(each, FraudVerdict))]
        told = [each for each in told if each[1].transaction_id == self._id]
        for place, verdict in told:
            self.chapters.append(story.chapter_of_verdict(place, verdict, told[0][1], self._purchase_at))
        if not told:
            self.missing.append(Missing(what="verdict", looked=str(looked)))

    def _nearby(self, topic: str, partitions: Sequence[int] | None = None) -> Looked:
        """What a topic has from a little before the purchase until a day, or as much, after."""
        at = self._found.at
        until = None if at is None else at + AFTER
        return self._search.look(topic, at, until, partitions=partitions, before=REMEMBERED, most=REMEMBERED)

    # ------------------------------------------------------------------------------------------------ what came of it
    def what_followed(self) -> None:
        """Payments, refunds, labels, dead letters: any partition, any time since."""
        self._each(PAYMENT_OUTCOMES.name, PaymentOutcome, story.chapter_of_outcome, "payment")
        self._each(FRAUD_LABELS.name, FraudLabel, story.chapter_of_label, "label")
        ours: set[str] = set()
        looked = self._search.look(
            DEAD_LETTERS.name, self._found.at, wanted=lambda message: self._concerns(_letter(message.value()), ours)
        )
        for record in looked.records:
            if (letter := _letter(record.value)) is not None:
                self.chapters.append(story.chapter_of_letter(_place(record), letter))

    def _concerns(self, letter: DeadLetter | DeadLetterRedriven | None, ours: set[str]) -> bool:
        """Whether a letter is about the transaction or one of its messages, or tells what became of such a one."""
        if isinstance(letter, DeadLetterRedriven):
            return letter.letter in ours
        if letter is None:
            return False
        lies = letter_id(letter.topic, letter.partition, letter.offset)
        if transaction_of(letter) != self._id and all(each.where != lies for each in self.chapters):
            return False
        ours.add(letter.message_id)
        return True

    def _each(self, topic: str, type_: type[M], chapter: Callable[[Place, M], Chapter], what: str) -> None:
        looked = self._likely_first(topic)
        read = [(_place(each), message) for each in looked.records if (message := _read(each, type_)) is not None]
        ours = [each for each in read if getattr(each[1], "transaction_id", "") == self._id]
        self.chapters += [chapter(place, message) for place, message in ours]
        if not ours:
            self.missing.append(Missing(what=what, looked=str(looked)))

    def _likely_first(self, topic: str) -> Looked:
        """First in the partitions where publishers put this key, Java's or librdkafka's way; then in the others."""
        likely = likely_partitions(self._id, self._settings)
        others = [partition for partition in range(self._settings.partitions) if partition not in likely]
        looked = self._search.look(topic, self._found.at, partitions=likely)
        return looked.and_also(self._search.look(topic, self._found.at, partitions=others))

    # ---------------------------------------------------------------------------------------------- quote and model
    def quote_and_model(self) -> None:
        """The quote it was bought at, the model and the policy that decided, and what each feature added."""
        if self._quote_of is not None:
            self._quote(*self._quote_of)
        if self._evidence is None:
            return
        _, self._policy = self._release(POLICY_RELEASES, self._evidence.policy_version)
        if self._evidence.score is not None:
            release, self._model = self._release(MODEL_RELEASES, self._evidence.model_version)
            self._contributions = self._contributed(self._evidence, release) if release else None

    def _quote(self, quote_id: str, event_id: str) -> None:
        lived = timedelta(seconds=self._settings.slot_seconds + self._settings.quote_ttl_seconds)
        since = None if self._found.at is None else self._found.at - lived
        partitions = [partition_of(event_id, self._settings.partitions)]
        key = quote_id.encode()
        looked = self._search.look(
            QUOTE_JOURNAL.name, since, partitions=partitions, wanted=lambda message: message.key() == key
        )
        entries = [(_place(each), entry) for each in looked.records if (entry := _read(each, QuoteJournal)) is not None]
        self.chapters += [story.chapter_of_quote(place, entry) for place, entry in entries]
        if not any(isinstance(entry, QuoteIssued) for _, entry in entries):
            self.missing.append(Missing(what="quote", looked=str(looked)))

    def _release(self, topic: Topic, version: str) -> tuple[Any, dict[str, Any]]:
        """The last release of this version, and who released it when and why; None and nothing when there is none."""
        looked = self._search.look(topic.name, wanted=lambda message: message.value() is not None)
        for record in reversed(looked.records):
            release = _read(record, topic.message)
            if getattr(release, "version", "") == version:
                return release, {
                    "version": version, "released_at": broker_time(record).isoformat(), "sha256": release.sha256,
                    "released_by": release.released_by, "why": release.why, "where": str(_place(record)),
                }  # fmt: skip
        self.missing.append(Missing(what=f"{version} in {topic.name}", looked=str(looked)))
        return None, {}

    def _contributed(self, evidence: VerdictEvidence, release: Release) -> NDArray[np.float64] | None:
        try:
            model = ModelStore(self._settings.data_dir / "models", release.model).load(release)
        except ModelUnavailable as error:
            self.missing.append(Missing(what="contributions", looked=str(error)))
            return None
        row = np.array([[np.nan if value is None else value for value in evidence.features]], dtype=np.float32)
        return np.asarray(model.contributions(row)[0])


def _place(record: Record) -> Place:
    return Place(record.topic, record.partition, record.offset, broker_time(record))


def _quote_of(purchase: PurchaseRequested) -> tuple[str, str] | None:
    return None if purchase.quote_id is None else (purchase.quote_id, purchase.event_id)


def _read(record: Record, type_: Any) -> Any:
    """A message, or None when it is not one of this type."""
    try:
        return decode(record.value, type_, max_bytes=MAX_OWN_BYTES)
    except InvalidMessage:
        return None


def _letter(payload: bytes | str | None) -> DeadLetter | DeadLetterRedriven | None:
    try:
        return decode_letters(payload.encode() if isinstance(payload, str) else payload)
    except InvalidMessage:
        return None
