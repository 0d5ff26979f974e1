"""Every setting, read once from the environment (`IBOOK_…`) at start."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from ibook.errors import ConfigurationError

DEVELOPMENT_SECRET = "development-only"
PRICE_MULTIPLIERS = (0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.45, 1.6)
"""Of the list price. Close together around it, where the best price of most tickets lies."""


class Settings(BaseSettings):
    """What an entry point needs to know. Durations are in seconds."""

    model_config = SettingsConfigDict(env_prefix="IBOOK_", frozen=True, extra="ignore")

    kafka_bootstrap: str = "127.0.0.1:9092"
    """Brokers to begin with, `host:port` separated by commas. Set, it makes the launcher use that cluster."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """The online store. Set, it makes the launcher use that Redis."""
    data_dir: Path = Path(".ibook")
    """Everything we write on this machine: broker and table data, models, logs, the Feast registry."""
    offline_store: Literal["duckdb", "bigquery"] = "duckdb"
    """Where Feast reads history: Parquet files in the data folder, or a BigQuery data set."""
    bigquery_project: str = ""
    """The Google Cloud project of the data set."""
    bigquery_dataset: str = "ibook"
    """The data set that holds one table per view."""
    bigquery_location: str = "EU"
    """Where the data set lies."""
    parts: Literal["auto", "existing", "containers", "processes"] = "auto"
    """Where the local launcher takes Kafka and Redis from; `auto` is the first that can be had."""
    partitions: int = Field(default=4, ge=1, le=256)
    """Of every keyed topic, from the first start on: keys would move away from their history."""
    replication: int = Field(default=1, ge=1, le=7)
    """Copies of every topic that is created."""
    worker_name: str = "1"
    """Tells the workers of one kind apart: static group membership, table folder, log file."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Prometheus endpoint of a worker on 127.0.0.1; 0 is none."""

    serving_host: str = "127.0.0.1"
    """Where the price API listens; beyond this machine only with API keys and a `quote_secret` of its own."""
    serving_port: int = Field(default=8000, ge=1, le=65535)
    """Its port. Not set, the launcher takes another one when 8000 is in use."""
    quote_secret: SecretStr = SecretStr(DEVELOPMENT_SECRET)
    """Signs quotes and draws slot prices; the same in every replica."""
    quote_old_secrets: tuple[SecretStr, ...] = ()
    """Former values of `quote_secret` whose quotes are still honoured, as a JSON list."""

    api_keys_file: Path | None = None
    """The keys that the price API honours (`ibook keys new`); without it, on this machine alone, all is allowed."""
    api_requests_per_second: float = Field(default=2000.0, gt=0)
    """Requests a second of an API key that names no rate of its own."""
    api_key: SecretStr = SecretStr("")
    """The key that our own clients (the simulator, the bench) send to the price API."""

    slot_seconds: float = Field(default=300.0, ge=0.1)
    """A price holds for one slot."""
    quote_ttl_seconds: float = Field(default=600.0, gt=0)
    """A quote expires so long after the end of its slot."""
    quote_grace_seconds: float = Field(default=60.0, gt=0)
    """How long after its expiry a quote still waits for its settlement before it counts as no sale."""
    policy_seconds: float = Field(default=1.0, gt=0)
    """How often arm probabilities are computed anew."""
    policy_max_age_seconds: float = Field(default=3600.0, gt=0)
    """Older policies give way to prices by rule; unchanged ones are published again four times as often."""
    price_multipliers: tuple[Annotated[float, Field(gt=0, le=10)], ...] = Field(
        default=PRICE_MULTIPLIERS, min_length=1, max_length=16
    )
    """The arms, as multiples of the list price, as a JSON list: the range that a shop publishes."""
    price_max_step: float = Field(default=0.3, gt=0, le=10)
    """How far prices may lie from those of the hour before, on average, as a share of the list price."""
    price_opening_step: float = Field(default=0.6, gt=0, le=10)
    """How far prices may lie from the list price until a sale is an hour old, as a share of it."""
    price_half_life_seconds: float = Field(default=30 * 86_400.0, gt=0)
    """Age in event time at which an offer counts half."""
    price_list_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the slots that show list price, to compare with, until `ibook pricing experiment` orders others."""
    price_rules_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the slots that show the rule's price, to compare with, until then."""
    price_experiment_loss: float = Field(default=0.02, ge=0, lt=1)
    """An arm of the experiment that certainly earns so much less than list price, as a share of it, is ended."""
    price_experiment_patience_seconds: float = Field(default=3600.0, ge=0)
    """No arm is ended before the experiment, since its shares were ordered, is so old."""
    quote_memory_seconds: float = Field(default=6 * 3600.0, gt=0)
    """How long after its expiry an unsold quote is remembered, for settlements read late."""
    refund_seconds: float = Field(default=30 * 86_400.0, gt=0)
    """How long after its expiry a sold quote can still be taken back."""
    journal_buffer: int = Field(default=100_000, ge=1)
    """Quotes that wait on disk for Kafka; when there are so many, list prices are shown without a journal entry."""
    cap_offers: int = Field(default=5, ge=1)
    """Offers to one buyer that prices learn from, per event, ticket type and day (UTC)."""
    cap_sales: int = Field(default=3, ge=1)
    """Sales to one account, card or device that prices learn from, per event and day."""
    cap_refunds: int = Field(default=2, ge=1)
    """After so many refunds at an event prices learn nothing more from that account, card or device there."""
    cap_nameless_per_slot: int = Field(default=20, ge=0)
    """Quotes without a buyer that prices learn from, per ticket type and slot, where no quote names one."""
    cap_nameless_share: float = Field(default=0.05, ge=0, le=1)
    """The same per quote with a buyer, where some do."""

    model_name: str = "fraud"
    """The model whose releases the verdict workers follow."""
    scores: Literal["off", "asked", "start"] = "asked"
    """When the price API gets ready to score over HTTP: never, when first asked, or at its start."""
    score_deadline_seconds: float = Field(default=0.25, gt=0)
    """How long a request for scores may take when it does not say."""
    score_longest_seconds: float = Field(default=5.0, gt=0)
    """How long it may take at most, whatever it says."""
    stale_after_seconds: float = Field(default=5.0, gt=0)
    """Older heartbeats of the feature workers mean posture `stale_features`."""
    feature_read_seconds: float = Field(default=0.25, gt=0)
    """Longest a verdict waits for the online store before it goes on without features."""
    beside_seconds: float = Field(default=0.05, gt=0)
    """Longest a verdict waits for the score of a model that does not decide it, or decides as a canary."""
    golden_seconds: float = Field(default=0.25, gt=0)
    """A model that takes more processor time for its golden rows is refused."""
    guard_purchases: int = Field(default=2000, ge=100)
    """Purchases in the window over which a new champion or a challenger is compared with the champion before it."""
    guard_min_purchases: int = Field(default=500, ge=50)
    """Fewer say nothing of shift, frauds and approvals."""
    guard_error_rate: float = Field(default=0.1, gt=0, lt=1)
    """A model that fails, or is late, for more of the batches is taken back."""
    guard_score_shift: float = Field(default=0.25, gt=0)
    """A model whose scores shift by more (population stability index) is taken back."""
    guard_fraud_ratio: float = Field(default=3.0, gt=1)
    """A model that expects so many times more frauds, or fewer, is taken back."""
    guard_approval_gap: float = Field(default=0.05, gt=0, lt=1)
    """A model that approves a share larger or smaller by more is taken back."""
    guard_policy_gap: float = Field(default=0.2, ge=0, lt=1)
    """A policy that approves a share larger or smaller by more than the one before it is taken back; 0: never."""
    unanswered_after_seconds: float = Field(default=10.0, ge=1)
    """A purchase that waits longer than this for its verdict is counted as unanswered, until it has one."""
    own_failures: int = Field(default=20, ge=2)
    """Different messages in a row that our own code may fail on before the worker stops: a bad deploy."""
    own_failure_share: float = Field(default=0.2, gt=0, lt=1)
    """The share of the last 200 messages that it may fail on, whatever went well between them."""
    redrive_attempts: int = Field(default=3, ge=1)
    """How often a dead letter's message may be published again before `ibook dead-letters redrive` refuses it."""
    session_timeout_seconds: float = Field(default=10.0, ge=6)
    """Kafka group session; a killed worker's partitions move after it."""
    seed: int = 0
    """Seeds what is drawn at random: the exploration slice, posterior samples."""


def load_settings() -> Settings:
    """Settings from the environment. Raises ConfigurationError with one sentence that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "IBOOK_" + "_".join(str(part) for part in first["loc"]).upper()
        shown = "" if "SECRET" in name or "API_KEY" in name else f"={first.get('input')!r}"
        raise ConfigurationError(f"setting {name}{shown} is refused: {first['msg']}.") from None
    except SettingsError as error:
        raise ConfigurationError(f"A setting can't be read: {error}.") from None
