"""Every Prometheus metric, in base units. Labels take few values; users and events belong in logs."""

from prometheus_client import Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)

VERDICTS = Counter("ibook_fraud_verdicts_total", "Verdicts published.", ["action", "posture"])
POSTURE = Gauge("ibook_posture", "1 for the posture in which the last batch of purchases was decided.", ["posture"])
VERDICT_SECONDS = Histogram(
    "ibook_fraud_verdict_seconds", "Broker time of a purchase to its acknowledged verdict.", buckets=LATENCY_BUCKETS
)
BATCH_SIZE = Histogram(
    "ibook_fraud_batch_purchases", "Purchases per verdict batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
DUPLICATES = Counter("ibook_fraud_duplicate_purchases_total", "Purchases skipped because they were answered before.")
CONFLICTS = Counter("ibook_fraud_conflicting_purchases_total", "A known transaction id with another payload.")
UNANSWERED = Gauge(
    "ibook_fraud_unanswered_purchases",
    "Purchases that wait longer than IBOOK_UNANSWERED_AFTER_SECONDS for a verdict; NaN where nobody asks or can say.",
)
UNANSWERED.set(float("nan"))  # a process that does not ask must not say 0
SCORES = Counter("ibook_fraud_scores_total", "Purchases scored over HTTP.", ["action", "posture"])
SCORE_ERRORS = Counter("ibook_fraud_score_errors_total", "Rows that were not scored over HTTP.", ["reason"])
SCORE_SECONDS = Histogram("ibook_fraud_score_seconds", "One request for scores.", buckets=LATENCY_BUCKETS)
FEATURE_STALENESS = Gauge("ibook_feature_staleness_seconds", "Decision time minus the feature workers' heartbeat.")
MODEL_RELEASES = Counter("ibook_model_releases_total", "Model releases read: loaded or refused.", ["outcome"])
MODELS_TAKEN_BACK = Counter("ibook_models_taken_back_total", "Model releases that the guard of this process took back.")
MODEL_ERRORS = Counter(
    "ibook_model_errors_total",
    "Batches a model could not score, or not in time; another one, or the rules, decided, but for a late champion.",
    ["role", "why"],
)  # fmt: skip
MODEL_GUARD = Gauge(
    "ibook_model_guard_figure",
    "Guard figures of a new champion or a challenger against the champion before it, or of a policy.",
    ["role", "figure"],
)  # fmt: skip
EXPLORED_MINOR = Counter(
    "ibook_fraud_explored_amount_minor_total", "Amount of would-be declines that were approved at random, minor units."
)
EXPLORATION_CAP = Gauge(
    "ibook_fraud_exploration_cap_minor", "What the deciding policy lets chance approve on a day, minor units."
)
POLICY_RELEASES = Counter("ibook_policy_releases_total", "Policy releases read: taken or refused.", ["outcome"])
POLICIES_TAKEN_BACK = Counter(
    "ibook_policies_taken_back_total", "Policy releases that the guard of this process took back."
)
MODEL_IN_FORCE = Gauge(
    "ibook_fraud_model_in_force",
    "1 for the model that decides, or `none`: released; kept or unread while no releases are found.",
    ["version", "origin"],
)
POLICY_IN_FORCE = Gauge(
    "ibook_fraud_policy_in_force",
    "1 for the verdict policy that decides: released or packaged; kept or unread while no releases are found.",
    ["version", "origin"],
)
RULES_EXPIRED = Gauge("ibook_fraud_rules_expired", "Rules of the deciding policy that have expired and are off.")
DEAD_LETTERS = Counter("ibook_dead_letters_total", "Messages nobody could read.", ["topic", "reason"])

UPDATES_SENT = Counter("ibook_entity_updates_sent_total", "Entity updates sent.", ["entity"])
UPDATES_FOLDED = Counter("ibook_entity_updates_folded_total", "Entity updates folded into a state.", ["entity"])
UPDATES_SKIPPED = Counter(
    "ibook_entity_updates_skipped_total", "Entity updates left out: redelivered, repeated, late, future.", ["why"]
)
STATES_UNREADABLE = Counter(
    "ibook_feature_states_unreadable_total", "States read for a verdict that can't be read.", ["why"]
)
STATES_ADOPTED = Counter(
    "ibook_feature_states_adopted_total",
    "States of older declarations translated: when read for a verdict, or when next folded.",
    ["when"],
)
STATES_PUSHED = Counter("ibook_feature_states_pushed_total", "States written to the online store.", ["entity"])
PUSH_SECONDS = Histogram("ibook_feature_push_seconds", "One push to the online store.", buckets=LATENCY_BUCKETS)
PUSH_FAILURES = Counter("ibook_feature_push_failures_total", "Pushes the online store refused or did not answer.")
FEATURE_FRESHNESS = Histogram(
    "ibook_feature_freshness_seconds",
    "From when the newest fact of a pushed state happened until the state was readable; facts of the last 5 minutes.",
    ["view"],
    buckets=LATENCY_BUCKETS,
)
STORE_RESTORED = Counter(
    "ibook_feature_partitions_restored_total", "Times all states of a partition were pushed: the store had lost rows."
)
HEARTBEAT_LAG = Gauge("ibook_feature_heartbeat_lag_seconds", "Now minus the oldest heartbeat written.")

API_REFUSED = Counter("ibook_api_requests_refused_total", "Requests without a key, scope or rate for it.", ["reason"])
QUOTES = Counter("ibook_price_quotes_total", "Quotes issued.", ["source"])
QUOTE_SECONDS = Histogram("ibook_price_quote_seconds", "One quote request.", buckets=LATENCY_BUCKETS)
JOURNAL_DROPPED = Counter("ibook_quote_journal_dropped_total", "Journal entries that never reached Kafka.")
QUOTES_REFUSED = Counter("ibook_price_quotes_refused_total", "Payments at a quote that was not honoured.", ["reason"])
PRICES_DEGRADED = Gauge(
    "ibook_price_api_degraded",
    "1 for what is worse than usual in the price API; `/readyz` says it in words.",
    ["fault"],
)
REWARDS = Counter("ibook_price_rewards_total", "Rewards settled.", ["kind"])
OFFERS_CAPPED = Counter(
    "ibook_price_offers_capped_total",
    "Offers and sales that teach nothing: beyond the caps on one identity, or made when nobody could buy.",
    ["cap"],
)  # fmt: skip
POLICIES = Counter("ibook_price_policies_total", "Price policies published.")
POLICIES_FAILED = Counter("ibook_price_policies_failed_total", "Price policies that could not be decided.")
EXPERIMENT_UPLIFT = Gauge(
    "ibook_price_experiment_uplift",
    "Revenue per offer of an arm of the experiment against list price, as a share of it: value, low, high.",
    ["arm", "which"],
)
EXPERIMENT_ENDED = Counter("ibook_price_experiment_ended_total", "Arms ended because they lost money.", ["arm"])

ARCHIVE_ROWS = Counter("ibook_archive_rows_total", "Rows archived, durably.", ["topic"])
ARCHIVE_FILES = Counter("ibook_archive_files_total", "Archive files written: flushed, or merged from others.", ["how"])
ARCHIVE_LAG = Gauge("ibook_archive_lag_records", "Records that are in no archive file yet.", ["topic"])
ARCHIVE_GAP = Counter("ibook_archive_gap_offsets_total", "Offsets Kafka dropped before they were archived.", ["topic"])
ARCHIVE_REJECTS = Counter("ibook_archive_rejects_total", "Rows archived that failed a check.", ["topic", "check"])
ARCHIVE_WRITE_FAILURES = Counter("ibook_archive_write_failures_total", "Archive files that could not be written.")


def name_one(gauge: Gauge, *labels: str) -> None:
    """Let a gauge whose labels name one thing name this; a scrape meanwhile finds the one before it beside it."""
    gauge.labels(*labels).set(1)
    for metric in gauge.collect():
        for sample in metric.samples:
            if (others := tuple(sample.labels.values())) != labels:
                gauge.remove(*others)
