"""Topics of the cluster, made to match their declarations by an admin client."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from ibook.errors import BrokerUnavailable, ConfigurationError
from ibook.settings import Settings
from ibook.topics import CHANGELOGS, TOPICS, Topic

ANSWER_SECONDS = 5.0
"""Longest we wait for one answer of a broker."""
SPREAD_SECONDS = 30.0
"""Longest we wait until a change is known to all brokers."""


@dataclass(frozen=True, kw_only=True)
class TopicChanges:
    """What `apply_topics` did, and what it left alone."""

    created: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    """One sentence for each topic that is not as declared and was left as it is."""


def apply_topics(settings: Settings, topics: Sequence[Topic] = (*TOPICS, *CHANGELOGS)) -> TopicChanges:
    """Make the cluster's topics match their declarations: create what is missing.

    Idempotent. Never alters a topic: another configuration is reported. Raises ConfigurationError before anything is
    created when a keyed topic has another partition count than the settings say: its keys would move away from their
    history. Raises BrokerUnavailable with one sentence when no broker answers.
    """
    with _answering(settings) as admin:
        counts = list_topics(settings)
        missing = [topic for topic in topics if topic.name not in counts]
        known = [topic for topic in topics if topic.name in counts]
        _check_partitions(known, counts, settings)
        _create(admin, missing, settings)
        enough = {topic.name: partition_count(topic, settings) for topic in topics}
        _wait(settings, lambda counts: all(counts.get(name, 0) >= count for name, count in enough.items()))
        return TopicChanges(
            created=tuple(topic.name for topic in missing),
            differences=(*_too_many(known, counts), *_other_configuration(admin, known)),
        )


def list_topics(settings: Settings) -> dict[str, int]:
    """Partition count of every topic in the cluster, Kafka's own left out. Raises BrokerUnavailable."""
    with _answering(settings) as admin:
        found = admin.list_topics(timeout=ANSWER_SECONDS).topics
        return {name: len(topic.partitions) for name, topic in sorted(found.items()) if not name.startswith("__")}


def delete_topics(settings: Settings, names: Iterable[str]) -> None:
    """Delete topics and what they hold, and wait until they are gone. Raises BrokerUnavailable."""
    present = set(list_topics(settings)) & set(names)
    with _answering(settings) as admin:
        if present:
            _await(admin.delete_topics(sorted(present), operation_timeout=ANSWER_SECONDS))
        _wait(settings, lambda counts: not present & set(counts))


def _wait(settings: Settings, holds: Callable[[dict[str, int]], bool]) -> None:
    """The controller answers before the brokers know: wait until they do."""
    deadline = time.monotonic() + SPREAD_SECONDS
    while not holds(list_topics(settings)):
        if time.monotonic() > deadline:
            raise BrokerUnavailable(f"The brokers have not followed a change of topics within {SPREAD_SECONDS:.0f} s.")
        time.sleep(0.02)


def partition_count(topic: Topic, settings: Settings) -> int:
    """How many partitions a topic has: the platform's count, or one."""
    return settings.partitions if topic.partitions == "keyed" else 1


def _create(admin: AdminClient, topics: Sequence[Topic], settings: Settings) -> None:
    wanted = [
        NewTopic(
            topic.name,
            num_partitions=partition_count(topic, settings),
            replication_factor=settings.replication,
            config=topic.config(),
        )
        for topic in topics
    ]
    if wanted:
        # Somebody else may create it in between: that is what we wanted.
        _await(admin.create_topics(wanted, request_timeout=ANSWER_SECONDS), but=KafkaError.TOPIC_ALREADY_EXISTS)


def _check_partitions(topics: Sequence[Topic], counts: dict[str, int], settings: Settings) -> None:
    """Refuse another partition count than the data were made with: every key's history would lie elsewhere."""
    for topic in topics:
        found = counts[topic.name]
        if topic.partitions == "keyed" and found != settings.partitions:
            raise ConfigurationError(
                f"{topic.name} has {found} partitions, IBOOK_PARTITIONS says {settings.partitions}: "
                f"set it to {found}, or begin on empty data."
            )


def _too_many(topics: Sequence[Topic], counts: dict[str, int]) -> list[str]:
    return [
        f"{topic.name} has {counts[topic.name]} partitions, 1 is declared: a count is never lowered."
        for topic in topics
        if topic.partitions == "one" and counts[topic.name] > 1
    ]


def _other_configuration(admin: AdminClient, topics: Sequence[Topic]) -> list[str]:
    resources = {ConfigResource(ResourceType.TOPIC, topic.name): topic for topic in topics}
    if not resources:
        return []
    answers = admin.describe_configs(list(resources), request_timeout=ANSWER_SECONDS)
    return [
        f"{resources[resource].name} has {key}={found}, {key}={wanted} is declared."
        for resource, answer in answers.items()
        for key, wanted in resources[resource].config().items()
        if (found := answer.result(ANSWER_SECONDS)[key].value) != wanted
    ]


def _await(answers: dict[str, Future[None]], *, but: int | None = None) -> None:
    for answer in answers.values():
        try:
            answer.result(ANSWER_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != but:
                raise


@contextmanager
def _answering(settings: Settings) -> Iterator[AdminClient]:
    """An admin client; whatever its calls raise becomes one sentence."""
    try:
        yield AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 0})
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        if reason.code() in _AWAY:
            raise BrokerUnavailable(f"No Kafka broker answers on {settings.kafka_bootstrap}.") from error
        raise ConfigurationError(f"Kafka refuses: {reason.str()}") from error
    except TimeoutError as error:
        raise BrokerUnavailable(f"Kafka on {settings.kafka_bootstrap} is too busy to answer.") from error


_AWAY = {
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.BROKER_NOT_AVAILABLE,
}
