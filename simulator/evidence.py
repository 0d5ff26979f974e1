"""Scores, as the platform writes them into `fraud-evidence`: what verdicts keep from the shop, and a judge needs."""

from collections import OrderedDict

import msgspec

from ibook import codec
from ibook.errors import InvalidMessage
from ibook.messages import Posture
from ibook.settings import Settings
from ibook.topics import FRAUD_EVIDENCE
from simulator.tail import Tail

KEPT = 500_000
"""Purchases whose evidence is remembered: some 200 MB; what is older is forgotten first."""
FINISH_SECONDS = 5.0


class Evidence(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="verdict_evidence.v1"):
    """The part of a `VerdictEvidence` that a judge needs; its features are passed over unread."""

    transaction_id: str
    score: float | None
    posture: Posture
    model_version: str
    rules: tuple[str, ...]


class EvidenceReader:
    """Remembers the first evidence of each purchase; `found` is whole once `stop` has returned."""

    def __init__(self, settings: Settings, *, kept: int = KEPT) -> None:
        self._tail = Tail(settings, FRAUD_EVIDENCE, self.take)
        self._kept = kept
        self.found: OrderedDict[str, Evidence] = OrderedDict()
        """By transaction id, oldest first."""
        self.unreadable = 0

    def start(self) -> None:
        """Raises BrokerUnavailable when Kafka does not answer, ConfigurationError when the topic is not there."""
        self._tail.start()

    def stop(self) -> None:
        """Read what is there by now, then leave."""
        self._tail.stop(finish_seconds=FINISH_SECONDS)

    def take(self, value: bytes | None, _: float) -> None:
        """Remember one message of the topic."""
        try:
            evidence = codec.decode(value, Evidence, max_bytes=codec.MAX_OWN_BYTES)
        except InvalidMessage:
            self.unreadable += 1
            return
        self.found.setdefault(evidence.transaction_id, evidence)  # the first one belongs to the verdict that counts
        if len(self.found) > self._kept:
            self.found.popitem(last=False)
