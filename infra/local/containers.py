"""Kafka and Redis from their images, where a Docker engine answers on this machine."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ibook.errors import ConfigurationError
from infra.local import processes
from infra.local.jars import KAFKA_VERSION
from infra.local.kafka import SINGLE_BROKER

KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
REDIS_IMAGE = "redis:7.4-alpine"
_PING_SECONDS = 2.0
_INSIDE_CONTAINER = Path("/.dockerenv")


def docker_answers() -> bool:
    """Whether a Docker engine on this machine answers.

    We bind to 127.0.0.1, so a remote engine does not count, nor does one seen from inside a container. Asked over its
    socket: the Docker client would leave sockets open where no engine runs.
    """
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://") or _INSIDE_CONTAINER.exists():
        return False
    with socket.socket(socket.AF_UNIX) as engine:
        engine.settimeout(_PING_SECONDS)
        try:
            engine.connect(host.removeprefix("unix://"))
            engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in engine.recv(64)
        except OSError:
            return False


@contextmanager
def container(image: str, environment: dict[str, str], inside: int, port: int) -> Iterator[None]:
    """Run an image with its port `inside` on 127.0.0.1:`port`. Raises ConfigurationError when it can't be started."""
    from docker.errors import DockerException
    from testcontainers.core.container import DockerContainer

    wanted = DockerContainer(image).with_envs(**environment)
    ports: dict[str, Any] = wanted.ports  # declared narrower than docker-py takes them: (address, port) works
    ports[f"{inside}/tcp"] = ("127.0.0.1", port)
    try:
        wanted.start()
    except (DockerException, OSError) as error:
        raise ConfigurationError(
            f"The container {image} did not start ({error}): IBOOK_PARTS=processes does without Docker."
        ) from error
    try:
        yield
    finally:
        wanted.stop()


def kafka_environment(port: int) -> dict[str, str]:
    """The broker's configuration as its image wants it.

    >>> kafka_environment(19092)["KAFKA_ADVERTISED_LISTENERS"]
    'PLAINTEXT://127.0.0.1:19092'
    """
    configuration = SINGLE_BROKER | {
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": "1@localhost:9093",
    }
    return {"KAFKA_" + key.replace(".", "_").upper(): value for key, value in configuration.items()}


@contextmanager
def kafka_container(port: int) -> Iterator[str]:
    """A broker in a container; yields where it listens."""
    from infra.local.kafka import START_SECONDS, broker_answers

    bootstrap = f"127.0.0.1:{port}"
    with container(KAFKA_IMAGE, kafka_environment(port), 9092, port):
        if not processes.wait_until(lambda: broker_answers(bootstrap), timeout_seconds=START_SECONDS):
            raise ConfigurationError(f"The container {KAFKA_IMAGE} does not answer on {bootstrap}.")
        yield bootstrap


@contextmanager
def redis_container(port: int) -> Iterator[str]:
    """A Redis in a container; yields its URL."""
    from infra.local.redis import START_SECONDS, redis_answers

    url = f"redis://127.0.0.1:{port}/0"
    with container(REDIS_IMAGE, {}, 6379, port):
        if not processes.wait_until(lambda: redis_answers(url), timeout_seconds=START_SECONDS):
            raise ConfigurationError(f"The container {REDIS_IMAGE} does not answer on {url}.")
        yield url
