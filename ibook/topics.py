"""Every topic, declared once: who writes it, who reads it, how it is keyed and how long it is kept."""

from dataclasses import dataclass
from typing import Any, Literal

from ibook import messages as m

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
PartitionCount = Literal["keyed", "one"]


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic of the platform. `partitions` is `keyed` (the platform's partition count) or `one` (broadcast)."""

    name: str
    message: Any
    """The struct, or union of structs, that its values decode to."""
    key: str
    written_by: str
    read_by: str
    dead_letters_by: str = ""
    """The one group that dead-letters what can't be read here."""
    retention_days: int = 7
    compacted: bool = False
    keeps_hours: int = 0
    """Of a compacted topic: so long earlier messages of a key stay, too."""
    partitions: PartitionCount = "keyed"
    from_outside: bool = False
    """Written by the shop: the broker stamps its own time, against which "from the future" is judged."""

    def config(self) -> dict[str, str]:
        """Kafka's topic configuration."""
        segments = {"segment.bytes": str(64 << 20), "segment.ms": str(HOUR_MS)} if self.compacted else {}
        earlier = {"min.compaction.lag.ms": str(self.keeps_hours * HOUR_MS)} if self.keeps_hours else {}
        return (
            segments
            | earlier
            | {
                "cleanup.policy": "compact" if self.compacted else "delete",
                "retention.ms": "-1"
                if self.compacted or self.retention_days < 0
                else str(self.retention_days * DAY_MS),
                "message.timestamp.type": "LogAppendTime",
            }
        )


TICKET_ACTIVITY = Topic(
    name="ticket-activity", message=m.TicketActivity, key="user_id", written_by="shop", read_by="features",
    dead_letters_by="features", from_outside=True,
)  # fmt: skip
TICKET_PURCHASES = Topic(
    name="ticket-purchases", message=m.PurchaseRequested, key="card_id", written_by="shop",
    read_by="features, verdicts", dead_letters_by="verdicts", retention_days=30, from_outside=True,
)  # fmt: skip
PAYMENT_OUTCOMES = Topic(
    name="payment-outcomes", message=m.PaymentOutcome, key="transaction_id", written_by="shop",
    read_by="features, journal", dead_letters_by="features", retention_days=30, from_outside=True,
)  # fmt: skip
FRAUD_LABELS = Topic(
    name="fraud-labels", message=m.FraudLabel, key="transaction_id", written_by="back office",
    read_by="features", dead_letters_by="features", retention_days=400, from_outside=True,
)  # fmt: skip
EVENT_LISTINGS = Topic(
    name="event-listings", message=m.EventListed, key="event_id", written_by="shop",
    read_by="policies, serving", dead_letters_by="policies", compacted=True, from_outside=True,
)  # fmt: skip
EVENT_INVENTORY = Topic(
    name="event-inventory", message=m.InventoryChanged, key="event_id", written_by="shop",
    read_by="features, policies, serving", dead_letters_by="features", compacted=True, from_outside=True,
)  # fmt: skip
COMPETITOR_PRICES = Topic(
    name="competitor-prices", message=m.CompetitorPrices, key="event_id", written_by="shop",
    read_by="policies, serving", dead_letters_by="policies", compacted=True, from_outside=True,
)  # fmt: skip
ENTITY_UPDATES = Topic(
    name="entity-updates", message=None, key="none, explicit partition of the entity", written_by="features",
    read_by="features, archive", retention_days=2,
)  # fmt: skip
FRAUD_EVIDENCE = Topic(
    name="fraud-evidence", message=m.VerdictEvidence, key="transaction_id", written_by="verdicts",
    read_by="features (past scores), archive, cli", retention_days=400,
)  # fmt: skip
FRAUD_VERDICTS = Topic(
    name="fraud-verdicts", message=m.FraudVerdict, key="transaction_id, partition of the purchase",
    written_by="verdicts", read_by="shop, journal", retention_days=30,
)  # fmt: skip
QUOTE_JOURNAL = Topic(
    name="quote-journal", message=m.QuoteJournal, key="quote_id, partition of the event",
    written_by="serving, journal, rewards (ticks)", read_by="rewards", dead_letters_by="rewards", retention_days=30,
)  # fmt: skip
PRICE_REWARDS = Topic(
    name="price-rewards", message=m.PriceReward, key="event_id", written_by="rewards", read_by="policies",
    dead_letters_by="policies", retention_days=30,
)  # fmt: skip
PRICE_POLICIES = Topic(
    name="price-policies", message=m.PricePolicy, key="event_id", written_by="policies",
    read_by="serving, policies, cli", compacted=True, keeps_hours=6,
)  # fmt: skip
PRICE_PRIORS = Topic(
    name="price-priors", message=m.PricePrior, key="scope, name and partition", written_by="policies",
    read_by="policies", compacted=True, partitions="one",
)  # fmt: skip
PRICE_CONTROLS = Topic(
    name="price-controls", message=m.PriceControlled, key="event_id, empty for all", written_by="cli",
    read_by="serving, cli", compacted=True, partitions="one",
)  # fmt: skip
PRICE_EXPERIMENTS = Topic(
    name="price-experiments", message=m.PriceExperiment | m.ExperimentFigures, key="about",
    written_by="cli, policies", read_by="serving, policies, cli", compacted=True, partitions="one",
)  # fmt: skip
MODEL_RELEASES = Topic(
    name="model-releases", message=m.ModelReleases, key="model", written_by="training, cli, guards",
    read_by="verdicts, serving, cli", retention_days=-1, partitions="one",
)  # fmt: skip
MODEL_REPORTS = Topic(
    name="model-reports", message=m.ModelReport, key="process", written_by="verdicts, serving", read_by="cli",
    retention_days=1, partitions="one",
)  # fmt: skip
POLICY_RELEASES = Topic(
    name="policy-releases", message=m.PolicyReleases, key="policy", written_by="cli, guards",
    read_by="verdicts, serving, cli", retention_days=-1, partitions="one",
)  # fmt: skip
DEAD_LETTERS = Topic(
    name="dead-letters", message=m.DeadLetter | m.DeadLetterRedriven, key="source key",
    written_by="the owner of the source topic, cli", read_by="cli", retention_days=30, partitions="one",
)  # fmt: skip

TOPICS = (
    TICKET_ACTIVITY, TICKET_PURCHASES, PAYMENT_OUTCOMES, FRAUD_LABELS, EVENT_LISTINGS, EVENT_INVENTORY,
    COMPETITOR_PRICES, ENTITY_UPDATES, FRAUD_EVIDENCE, FRAUD_VERDICTS, QUOTE_JOURNAL, PRICE_REWARDS, PRICE_POLICIES,
    PRICE_PRIORS, PRICE_CONTROLS, PRICE_EXPERIMENTS, MODEL_RELEASES, MODEL_REPORTS, POLICY_RELEASES, DEAD_LETTERS,
)  # fmt: skip
BY_NAME = {topic.name: topic for topic in TOPICS}

FEATURE_SOURCES = (
    TICKET_ACTIVITY, TICKET_PURCHASES, PAYMENT_OUTCOMES, FRAUD_LABELS, EVENT_INVENTORY, FRAUD_EVIDENCE,
)  # fmt: skip
"""What `activity_to_entities` reads. The order is part of the stored state: append, never reorder."""


def changelog(app_id: str, table: str) -> Topic:
    """The changelog of a Faust table: compacted, with the source's partition count."""
    return Topic(
        name=f"{app_id}-{table}-changelog", message=None, key="table key", written_by=app_id, read_by=app_id,
        compacted=True,
    )  # fmt: skip


CHANGELOGS = (
    changelog("entities-to-features", "states"),
    changelog("journal-to-rewards", "quotes"),
    changelog("rewards-to-policies", "posteriors"),
)
