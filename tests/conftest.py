"""Real Kafka and Redis for the tests that need them, started once per run by the launcher."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from ibook.edges import kafka_admin
from ibook.edges.logs import log_plainly
from ibook.errors import IbookError
from ibook.settings import Settings, load_settings
from infra.local.backends import Parts, local_parts
from infra.local.containers import docker_answers
from tests.chaos.plugin import ChaosPlugin
from tests.workers import FEATURE_READ_SECONDS, wait_until

# Tests don't time things: a busy machine is no failure. They draw the same examples each time: a run can be repeated.
settings.register_profile("ibook", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ibook")
log_plainly()


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A Kafka and a Redis, shared by the whole run. Use `platform_settings` for topics that are empty."""
    with local_parts(load_settings(), tmp_path_factory.mktemp("parts")) as running:
        yield running


@pytest.fixture(scope="session")
def wipe(parts: Parts) -> Callable[[Settings], None]:
    """Makes every topic of the platform empty again, with the settings' partition count, and Redis too."""
    if "existing" in (parts.kafka_backend, parts.redis_backend) and os.environ.get("IBOOK_TESTS_MAY_ERASE") != "yes":
        pytest.fail("The tests erase all topics and the whole Redis: set IBOOK_TESTS_MAY_ERASE=yes to allow it.")

    def erase(settings: Settings) -> None:
        from redis import Redis

        wait_until(lambda: _made_anew(settings), 60, "all topics to be made anew")
        with Redis.from_url(settings.redis_url) as client:
            client.flushall()

    return erase


@pytest.fixture
def platform_settings(parts: Parts, wipe: Callable[[Settings], None], tmp_path: Path) -> Settings:
    """Settings that point at real, empty Kafka topics, an empty Redis and an empty data folder; for one test."""
    return _empty_platform(parts, wipe, tmp_path)


@pytest.fixture(scope="module")
def shared_platform_settings(
    parts: Parts, wipe: Callable[[Settings], None], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """The same, for all tests of a module; don't mix it with `platform_settings` in one module."""
    return _empty_platform(parts, wipe, tmp_path_factory.mktemp("platform"))


def _empty_platform(parts: Parts, wipe: Callable[[Settings], None], data_dir: Path) -> Settings:
    settings = parts.settings(Settings(data_dir=data_dir, feature_read_seconds=FEATURE_READ_SECONDS))
    wipe(settings)
    return settings


def _made_anew(settings: Settings) -> bool:
    """Delete all topics and make them; False when a busy broker has not done so within the bounds of our commands."""
    try:
        kafka_admin.delete_topics(settings, kafka_admin.list_topics(settings))
        kafka_admin.apply_topics(settings)
    except IbookError:
        return False
    return True


_NO_DOCKER = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ChaosPlugin(config), "ibook-chaos")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """How many tests `-n logical` runs at a time: one where a cluster is shared, since each test empties it."""
    return 1 if {"kafka_bootstrap", "redis_url"} & load_settings().model_fields_set else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what needs a Docker engine where none answers; the closing lines say so."""
    needing = [item for item in items if item.get_closest_marker("docker")]
    if needing and not docker_answers():
        config.stash[_NO_DOCKER] = len(needing)
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs a part of the tests tells the one that reports what was left out."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["no_docker"] = session.config.stash.get(_NO_DOCKER, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it. Every such process collects all tests."""
    node.config.stash[_NO_DOCKER] = getattr(node, "workeroutput", {}).get("no_docker", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out."""
    if count := config.stash.get(_NO_DOCKER, 0):
        terminalreporter.write_line(f"No Docker engine answers: {count} Docker-only tests were deselected.")
