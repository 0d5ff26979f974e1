"""Kafka and Redis behind one face: an existing cluster, containers where Docker runs, plain processes otherwise."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ibook.errors import ConfigurationError
from ibook.settings import Settings
from infra.local.kafka import LocalKafka, broker_answers
from infra.local.processes import free_port
from infra.local.redis import LocalRedis, redis_answers

Backend = Literal["auto", "existing", "containers", "processes"]
Kind = Literal["existing", "containers", "processes"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A Kafka and a Redis that answer."""

    kafka_bootstrap: str
    redis_url: str
    kafka_backend: Kind
    redis_backend: Kind

    def settings(self, settings: Settings) -> Settings:
        """The same settings, pointed at these parts."""
        return settings.model_copy(update={"kafka_bootstrap": self.kafka_bootstrap, "redis_url": self.redis_url})


@contextmanager
def local_parts(settings: Settings, data_dir: Path, *, backend: Backend | None = None) -> Iterator[Parts]:
    """A Kafka and a Redis for as long as the context lasts; processes keep data and logs in `data_dir`.

    `auto` (the default, or what IBOOK_PARTS says) takes the cluster that IBOOK_KAFKA_BOOTSTRAP or IBOOK_REDIS_URL
    names, each on its own; for what is not named, containers when a Docker engine answers, else processes.
    Raises ConfigurationError with one sentence when a part can't be had.
    """
    if backend is not None:
        settings = settings.model_copy(update={"parts": backend})
    kafka_kind, redis_kind = kinds(settings)
    with ExitStack() as stack:
        yield Parts(
            kafka_bootstrap=enter_kafka(stack, kafka_kind, settings, data_dir),
            redis_url=enter_redis(stack, redis_kind, settings, data_dir),
            kafka_backend=kafka_kind,
            redis_backend=redis_kind,
        )


def kinds(settings: Settings, otherwise: Kind | None = None) -> tuple[Kind, Kind]:
    """Which kind Kafka and Redis are. `otherwise` stands for looking for Docker when `auto` finds nothing named."""
    if settings.parts != "auto":
        return settings.parts, settings.parts
    named = [name in settings.model_fields_set for name in ("kafka_bootstrap", "redis_url")]
    if not all(named) and otherwise is None:
        from infra.local.containers import docker_answers

        otherwise = "containers" if docker_answers() else "processes"
    kafka, redis = ("existing" if one else otherwise or "processes" for one in named)
    return kafka, redis


def enter_kafka(stack: ExitStack, kind: Kind, settings: Settings, data_dir: Path) -> str:
    """Have a Kafka of this kind until the stack unwinds; returns where it listens. Raises ConfigurationError."""
    if kind == "existing":
        if not broker_answers(settings.kafka_bootstrap):
            raise ConfigurationError(f"No Kafka answers on {settings.kafka_bootstrap} (IBOOK_KAFKA_BOOTSTRAP).")
        return settings.kafka_bootstrap
    if kind == "containers":
        from infra.local.containers import kafka_container

        return stack.enter_context(kafka_container(free_port()))
    kafka = LocalKafka(data_dir)
    stack.callback(kafka.start().stop)
    return kafka.bootstrap


def enter_redis(stack: ExitStack, kind: Kind, settings: Settings, data_dir: Path) -> str:
    """Have a Redis of this kind until the stack unwinds; returns its URL. Raises ConfigurationError."""
    if kind == "existing":
        if not redis_answers(settings.redis_url):
            raise ConfigurationError("No Redis answers where IBOOK_REDIS_URL says.")  # the URL may hold a password
        return settings.redis_url
    if kind == "containers":
        from infra.local.containers import redis_container

        return stack.enter_context(redis_container(free_port()))
    redis = LocalRedis(data_dir)
    stack.callback(redis.start().stop)
    return redis.url
