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
    wanted: Backend = backend or settings.parts
    with ExitStack() as stack:
        kafka_kind = choose(wanted, named="kafka_bootstrap" in settings.model_fields_set)
        redis_kind = choose(wanted, named="redis_url" in settings.model_fields_set)
        yield Parts(
            kafka_bootstrap=_kafka(stack, kafka_kind, settings, data_dir),
            redis_url=_redis(stack, redis_kind, settings, data_dir),
            kafka_backend=kafka_kind,
            redis_backend=redis_kind,
        )


def choose(wanted: Backend, *, named: bool) -> Kind:
    """Which kind a part is; `named` says that the environment names an existing one."""
    if wanted != "auto":
        return wanted
    if named:
        return "existing"
    from infra.local.containers import docker_answers

    return "containers" if docker_answers() else "processes"


def _kafka(stack: ExitStack, kind: Kind, settings: Settings, data_dir: Path) -> str:
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


def _redis(stack: ExitStack, kind: Kind, settings: Settings, data_dir: Path) -> str:
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
