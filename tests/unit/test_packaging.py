"""The files around the code agree with the code: locks, compose file, worker table."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from infra.local.containers import KAFKA_IMAGE, REDIS_IMAGE
from infra.local.workers import WORKERS
from streams.__main__ import WORKERS as STREAMS

ROOT = Path(__file__).parents[2]
LOCKS = ("dev.txt", "runtime.txt")


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    pins = (re.match(r"([A-Za-z0-9._-]+)(?:\[.*\])?==([^ ;]+)", line) for line in lines)
    return {pin[1]: pin[2] for pin in pins if pin}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.mark.parametrize("name", LOCKS)
def test_locks_name_no_host(name: str) -> None:
    assert not re.search(r"://|--index|--find-links", (ROOT / "requirements" / name).read_text())


@pytest.mark.parametrize("name", LOCKS)
def test_locks_satisfy_what_is_declared(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["dev"] if name == "dev.txt" else []
    pins = locked(name)
    for declared in map(Requirement, [*project["dependencies"], *extra]):
        assert declared.specifier.contains(pins[declared.name.lower()]), declared


@pytest.mark.parametrize("name", LOCKS)
def test_every_python_gets_the_same_versions(name: str) -> None:
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
    assert len(pinned) == len(set(pinned))


def test_both_locks_pin_the_same_versions() -> None:
    everything, runtime = locked("dev.txt"), locked("runtime.txt")
    assert runtime.items() <= everything.items()


def test_every_stream_worker_is_supervised() -> None:
    assert {worker.name for worker in WORKERS} == {*STREAMS, "serving"}


def test_every_worker_is_a_service_with_the_same_command(compose: dict[str, Any]) -> None:
    for worker in WORKERS:
        service = compose["services"][worker.name]
        assert service["command"] == ["python", "-m", *worker.arguments]
        assert service["healthcheck"]["test"]


def test_images_are_those_of_the_launcher(compose: dict[str, Any]) -> None:
    assert compose["services"]["kafka"]["image"] == KAFKA_IMAGE
    assert compose["services"]["redis"]["image"] == REDIS_IMAGE


def test_ports_are_bound_to_this_machine(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.docker
def test_compose_understands_the_file() -> None:
    command = ["docker", "compose", "--profile", "platform", "--profile", "shop", "config", "--quiet"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
