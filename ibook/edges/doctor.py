"""What is wrong with the features of a running platform: one finding per check, with what to do about it."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from ibook.clock import Clock, SystemClock, to_us
from ibook.edges.archive import archive_of
from ibook.edges.archive_checks import REJECTS
from ibook.edges.bulk import spans
from ibook.edges.feast_config import registry_path, yaml_path
from ibook.edges.feast_import import import_feast
from ibook.edges.feast_views import VIEWS
from ibook.edges.lag import lag_of_groups
from ibook.edges.online_store import OnlineStore
from ibook.edges.rebuild import ANSWER_SECONDS, Changelog, patient, read_changelog
from ibook.edges.releasing import read_log
from ibook.entities import ENTITIES
from ibook.errors import BrokerUnavailable, ConfigurationError, FeatureUnavailable
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES_HASH
from ibook.heartbeat import decode_heartbeat
from ibook.releases import standing
from ibook.settings import Settings
from ibook.states import StateHead, state_in
from ibook.topics import ENTITY_UPDATES, FRAUD_EVIDENCE

Level = Literal["OK", "WARN", "FAIL"]
SAMPLED = 200
"""States of each entity that are looked for in the online store."""
LAG_MESSAGES, ARCHIVE_RECORDS = 1000, 20_000
"""So far behind is worth a warning."""
WRITE_KEY = "ibook:doctor"


class Finding(NamedTuple):
    """What one check found."""

    level: Level
    what: str
    sentence: str
    remedy: str = ""


def examine(settings: Settings, clock: Clock | None = None) -> Iterator[Finding]:
    """Every check, in the order in which one explains the next. Nothing is raised: what is away is a finding."""
    yield from _registry(settings)
    yield from _redis(settings)
    try:
        changelog = read_changelog(settings)
        yield from _released(settings)
    except (BrokerUnavailable, ConfigurationError) as error:
        yield Finding("FAIL", "kafka", str(error), "Start Kafka, or the platform: `ibook up`.")
        return
    yield from _states(changelog)
    yield from _store(settings, changelog, clock or SystemClock())
    yield from _lag(settings)
    yield from _archive(settings)


# ----------------------------------------------------------------------------------------------- registry and releases
def _registry(settings: Settings) -> Iterator[Finding]:
    remedy = "Register the definitions: `python -m feature_repo`."
    if not registry_path(settings).exists() or not yaml_path(settings).exists():
        yield Finding("FAIL", "registry", f"There is no registry at {registry_path(settings)}.", remedy)
        return
    import_feast()
    from feast import FeatureStore

    registered: Any = FeatureStore(fs_yaml_file=yaml_path(settings))
    names = {view.name for view in registered.list_feature_views()}
    missing = sorted(view.name for view in VIEWS if view.name not in names)
    hashes = {service.tags.get("feature_names_hash") for service in registered.list_feature_services()}
    if missing:
        yield Finding("FAIL", "registry", f"The registry lacks the views {', '.join(missing)}.", remedy)
    elif FEATURE_NAMES_HASH not in hashes:
        yield Finding("FAIL", "registry", f"No service is registered for the features {FEATURE_NAMES_HASH}.", remedy)
    else:
        yield Finding("OK", "registry", f"{len(names)} views and the service of {FEATURE_NAMES_HASH} are registered.")


def _released(settings: Settings) -> Iterator[Finding]:
    champions = standing(message for _, message in read_log(settings)).champions
    latest = champions[0] if champions else None
    if latest is None:
        yield Finding("WARN", "model", "No model is released: verdicts go by rules.", "Train and release one.")
    elif latest.feature_names_hash != FEATURE_NAMES_HASH:
        sentence = f"Model {latest.version} wants features {latest.feature_names_hash}, not {FEATURE_NAMES_HASH}."
        yield Finding("FAIL", "model", sentence, "Release a model of these features: `python -m training bootstrap`.")
    else:
        yield Finding("OK", "model", f"Model {latest.version} wants the features that are computed.")


# -------------------------------------------------------------------------------------------------------- online store
def _redis(settings: Settings) -> Iterator[Finding]:
    from redis import Redis
    from redis.exceptions import RedisError

    client: Any = Redis.from_url(
        settings.redis_url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
    )
    try:
        client.set(WRITE_KEY, b"here", ex=10)
        if client.get(WRITE_KEY) != b"here":
            yield Finding("FAIL", "redis", "Redis forgets what was just written.", "Look at its memory and its log.")
            return
        client.delete(WRITE_KEY)
        yield Finding("OK", "redis", "Redis is reachable and writable.")
        yield from _policy(client)
    except RedisError as error:
        yield Finding("FAIL", "redis", f"Redis can't be written: {error}.", "Start it, or correct IBOOK_REDIS_URL.")
    finally:
        client.close()


def _policy(client: Any) -> Iterator[Finding]:
    from redis.exceptions import ResponseError

    try:
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "unknown")
    except ResponseError:
        yield Finding(
            "WARN", "redis memory", "This Redis does not tell its maxmemory-policy.", "See that it evicts nothing."
        )
        return
    if policy == "noeviction":
        yield Finding("OK", "redis memory", "Redis evicts nothing.")
    else:
        remedy = "Set `maxmemory-policy noeviction`, then `ibook features rebuild`: evicted states are not noticed."
        yield Finding("FAIL", "redis memory", f"Redis may evict states (maxmemory-policy {policy}).", remedy)


def _store(settings: Settings, changelog: Changelog, clock: Clock) -> Iterator[Finding]:
    store = OnlineStore(patient(settings))
    try:
        yield from _heartbeats(settings, store, clock)
        yield from _pushed(store, changelog)
    except FeatureUnavailable as error:
        yield Finding("FAIL", "online store", f"{error}.", "Start Redis, or correct IBOOK_REDIS_URL.")
    finally:
        store.close()


def _heartbeats(settings: Settings, store: OnlineStore, clock: Clock) -> Iterator[Finding]:
    rows = store.read_heartbeats(settings.partitions)
    gone = [partition for partition, row in enumerate(rows) if row is None]
    if gone:
        sentence = f"Partitions {gone} have no heartbeat: verdicts go on without features."
        remedy = "See that `activity-to-entities` and `entities-to-features` run; they restore an emptied store."
        yield Finding("FAIL", "heartbeats", sentence, remedy)
        return
    try:
        oldest = min(decode_heartbeat(row).broker_us for row in rows if row is not None)
    except msgspec.DecodeError:
        yield Finding("FAIL", "heartbeats", "A heartbeat can't be read.", "One version of the workers at a time.")
        return
    age = (to_us(clock.now()) - oldest) / 1e6
    if age > settings.stale_after_seconds:
        sentence = f"The oldest heartbeat is {age:.1f} s old: verdicts say `stale_features`."
        yield Finding("FAIL", "heartbeats", sentence, "Look at the lag below and at the feature workers' logs.")
    else:
        yield Finding("OK", "heartbeats", f"All {len(rows)} heartbeats are there, the oldest {age:.1f} s old.")


def _pushed(store: OnlineStore, changelog: Changelog) -> Iterator[Finding]:
    """Whether what the workers hold can be read, entity by entity."""
    sampled: dict[str, list[str]] = {entity: [] for entity in ENTITIES}
    for entity, name in changelog.states:
        if entity in sampled and len(sampled[entity]) < SAMPLED:
            sampled[entity].append(name)
    empty = [entity for entity, names in sampled.items() if not names]
    unread = []
    for entity in ENTITIES:
        names = sampled[entity]
        lost = sum(row is None for row in store.read_states({entity: names})[entity]) if names else 0
        if lost:
            unread.append(f"{lost} of {len(names)} of {entity}_state")
    if unread:
        sentence = f"The store lacks states that the workers have: {', '.join(unread)}."
        yield Finding("FAIL", "views", sentence, "Fill it: `ibook features rebuild`.")
    elif empty:
        sentence = f"Nothing was ever folded for {', '.join(empty)}."
        yield Finding("WARN", "views", sentence, "Normal before the first traffic; else see what the shop publishes.")
    else:
        yield Finding("OK", "views", "Every view has the states that were looked for.")


# ----------------------------------------------------------------------------------------------------- workers' states
def _states(changelog: Changelog) -> Iterator[Finding]:
    others: Counter[str] = Counter()
    for (entity, _), payload in changelog.states.items():
        head = _head(payload)
        if entity not in ENTITY_FEATURES or head is None:
            others["unreadable"] += 1
        elif head.layout != ENTITY_FEATURES[entity].layout.fingerprint:
            others[entity] += 1
    if others["unreadable"]:
        sentence = f"{others['unreadable']:,} states of the changelog can't be read."
        yield Finding("FAIL", "states", sentence, 'See docs/operations.md, "Features disagree".')
    elif others:
        told = ", ".join(f"{count:,} of {entity}" for entity, count in others.items())
        sentence = f"States of other declarations: {told}. They are translated when read, and complete after a window."
        yield Finding(
            "WARN",
            "states",
            sentence,
            "Nothing; or stop the platform and `ibook features rebuild --from-log --for-workers` for whole windows.",
        )
    else:
        yield Finding("OK", "states", f"All {len(changelog.states):,} states are of today's declarations.")
    if changelog.twice:
        entity, name = changelog.twice[0]
        sentence = f"{len(changelog.twice):,} entities have states in two partitions, {entity} {name} among them."
        remedy = "The partition count has changed: begin on empty topics, or set IBOOK_PARTITIONS back."
        yield Finding("FAIL", "partitions", sentence, remedy)
    else:
        yield Finding("OK", "partitions", "Every entity has its state in one partition.")


def _head(payload: bytes) -> StateHead | None:
    try:
        return state_in(payload)[1]
    except msgspec.DecodeError:
        return None


# ------------------------------------------------------------------------------------------------------ lag and archive
def _lag(settings: Settings) -> Iterator[Finding]:
    behind = lag_of_groups(settings)["activity-to-entities"]
    if behind > LAG_MESSAGES:
        sentence = f"`activity-to-entities` is {behind:,} messages behind."
        yield Finding("WARN", "lag", sentence, "See that it runs; add a worker with an IBOOK_WORKER_NAME of its own.")
    else:
        yield Finding("OK", "lag", f"`activity-to-entities` is {behind:,} messages behind.")


def _archive(settings: Settings) -> Iterator[Finding]:
    archive = archive_of(settings)
    behind = 0
    for (topic, partition), span in spans(settings, [ENTITY_UPDATES.name, FRAUD_EVIDENCE.name]).items():
        behind += max(0, span.end - max(span.first, archive.next_offsets(topic).get(partition, 0)))
    level: Level = "WARN" if behind > ARCHIVE_RECORDS else "OK"
    remedy = "See that `updates-to-archive` runs: entity-updates keeps two days." if level == "WARN" else ""
    yield Finding(level, "archive", f"The archive is {behind:,} records behind.", remedy)
    rejects = settings.data_dir / "archive" / REJECTS
    lines = rejects.read_text().splitlines() if rejects.exists() else []
    if lines:
        sentence = f"{len(lines):,} checks of archived rows failed, the last at {time.ctime(rejects.stat().st_mtime)}."
        yield Finding("WARN", "archive rows", sentence, f"Read {rejects}: each line names a check and a row.")
    else:
        yield Finding("OK", "archive rows", "No archived row was ever implausible.")
