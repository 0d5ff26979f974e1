"""What a demo or an operator watches beside the shop: reasons from the evidence, prices from the policies."""

from collections import Counter
from collections.abc import Sequence
from threading import Event, Lock, Thread

from ibook import codec
from ibook.edges.kafka import BroadcastReader, Record
from ibook.errors import IbookError, InvalidMessage
from ibook.messages import ArmProbabilities, PricePolicy, VerdictEvidence
from ibook.settings import Settings
from ibook.topics import FRAUD_EVIDENCE, PRICE_POLICIES

POLL_SECONDS = 0.2


class Watcher:
    """Follows evidence and policies in a thread of its own, from their beginning; any thread may ask."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._stop = Event()
        self._why: dict[str, tuple[str, ...]] = {}
        self._policies: dict[str, PricePolicy] = {}
        self._thread = Thread(target=self._run, name="watcher", daemon=True)
        self.trouble = ""
        """Why nothing more is read, if so."""

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join(5)

    def why(self, transaction_ids: Sequence[str]) -> list[tuple[str, int]]:
        """The most frequent reason codes and rules of these transactions, and how many of them each concerns."""
        with self._lock:
            codes = Counter(code for one in transaction_ids for code in set(self._why.get(one, ())))
        return codes.most_common(3)

    def arm(self, event_id: str, ticket_type: str, price_minor: int) -> tuple[float, float, float] | None:
        """Expected share of offers at this price that sell, and its 95 % interval; None while nothing is known."""
        with self._lock:
            policy = self._policies.get(event_id)
        for prices in [*policy.current, *policy.upcoming] if policy else []:
            if prices.ticket_type == ticket_type and price_minor in prices.prices_minor:
                return _expected(prices, prices.prices_minor.index(price_minor))
        return None

    def _run(self) -> None:
        try:
            with BroadcastReader(self._settings, FRAUD_EVIDENCE.name, PRICE_POLICIES.name) as reader:
                self._take(reader.load())
                while not self._stop.is_set():
                    self._take(reader.poll_new(POLL_SECONDS))
        except IbookError as error:
            self.trouble = str(error)

    def _take(self, records: Sequence[Record]) -> None:
        for record in records:
            try:
                if record.topic == PRICE_POLICIES.name:
                    policy: PricePolicy = codec.decode(record.value, PricePolicy, max_bytes=codec.MAX_OWN_BYTES)
                    with self._lock:
                        self._policies[policy.event_id] = policy
                else:
                    self._take_evidence(codec.decode(record.value, VerdictEvidence))
            except InvalidMessage:
                continue  # not ours to judge here: this is a view, and the next message is as good

    def _take_evidence(self, evidence: VerdictEvidence) -> None:
        if evidence.action != "approve":
            with self._lock:
                self._why[evidence.transaction_id] = tuple(reason.rule or reason.code for reason in evidence.reasons)


def _expected(prices: ArmProbabilities, arm: int) -> tuple[float, float, float]:
    low, high = prices.interval[arm]
    return prices.expected_sales[arm], low, high
