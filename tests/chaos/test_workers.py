"""Workers end in every way they can, while purchases flow and a model decides."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ibook import codec
from ibook.edges.kafka_admin import apply_topics
from ibook.messages import FraudVerdict
from ibook.settings import Settings
from ibook.topics import FRAUD_VERDICTS
from infra.local.workers import WORKERS
from tests.chaos.crashing import crashes_of, deaths, mortal_worker
from tests.chaos.models import BAD, Models
from tests.chaos.platform import VERDICT_PATH, VERDICTS, ChaosPlatform, platform_on
from tests.chaos.report import Row
from tests.chaos.scenario import scenario
from tests.chaos.traffic import Mix
from tests.workers import WorkerProcess, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SESSION_SECONDS = 6.0


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lives the verdict worker has yet to lose; empty until a test fills it."""
    path = tmp_path_factory.mktemp("crashes") / "crashes.txt"
    path.write_text("")
    return path


@pytest.fixture(scope="module")
def platform(shared_platform_settings: Settings, models: Models, crashes: Path) -> Iterator[ChaosPlatform]:
    settings = shared_platform_settings.model_copy(update={"session_timeout_seconds": SESSION_SECONDS})
    apply_topics(settings)
    models.install(settings)
    mortal = mortal_worker(VERDICTS, crashes)
    others = [worker for worker in WORKERS if worker.name in VERDICT_PATH and worker.name != VERDICTS]
    with platform_on(settings, workers=[*others, mortal]) as running:
        yield running


@pytest.fixture
def second(platform: ChaosPlatform) -> Iterator[WorkerProcess]:
    """Another verdict worker of the same group, not started; nobody starts it again."""
    worker = WorkerProcess(VERDICTS, platform.settings, IBOOK_WORKER_NAME="2")
    yield worker
    if worker.alive():
        worker.kill()


@pytest.mark.chaos(scenario="any worker killed every few seconds")
def test_a_random_worker_is_killed_every_few_seconds(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with scenario(platform, row, seed) as night:
        for _ in range(6):
            night.let_flow(2)
            platform.send(night.rng.choice(platform.names), signal.SIGKILL)
        night.let_flow(2)


@pytest.mark.chaos(scenario="all told to stop with a backlog")
def test_workers_are_told_to_stop_with_a_backlog(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with scenario(platform, row, seed) as night:
        night.let_flow(2)
        night.traffic.burst(4000)
        for name in (VERDICTS, "activity-to-entities", "entities-to-features"):
            platform.send(name, signal.SIGTERM)
        night.let_flow(10)


@pytest.mark.chaos(scenario="crash before and after every step")
def test_the_verdict_worker_crashes_before_and_after_every_step(
    platform: ChaosPlatform, row: Row, seed: str, crashes: Path
) -> None:
    with scenario(platform, row, seed, Mix(unreadable=0.05)) as night:
        steps = crashes_of(VERDICTS)
        order = night.rng.sample(steps, len(steps))
        crashes.write_text("".join(f"{crash}\n" for crash in order))
        platform.end(VERDICTS)
        wait_until(
            lambda: not crashes.read_text(), 240, lambda: f"{len(crashes.read_text().splitlines())} more crashes"
        )
        night.let_flow(3)
    assert deaths(platform.log(VERDICTS)) == order


@pytest.mark.chaos(scenario="rebalance storm")
def test_a_second_worker_joins_and_leaves_again_and_again(
    platform: ChaosPlatform, row: Row, seed: str, second: WorkerProcess
) -> None:
    with scenario(platform, row, seed) as night:
        for goes in (second.stop, second.kill, second.stop):
            second.start()
            night.let_flow(1)
            goes()
        night.let_flow(3)


@pytest.mark.chaos(scenario="frozen verdict worker wakes beside another")
def test_a_frozen_worker_wakes_when_another_has_its_partitions(
    platform: ChaosPlatform, row: Row, seed: str, second: WorkerProcess
) -> None:
    with scenario(platform, row, seed, first_wins=True) as night:
        second.start()
        night.let_flow(2)
        with platform.frozen(VERDICTS):
            night.let_flow(2 * SESSION_SECONDS)  # more than the other's own share: it has taken over
        night.let_flow(2)
        second.send(signal.SIGSTOP)
        night.let_flow(2 * SESSION_SECONDS)
        second.send(signal.SIGCONT)
        wait_until(lambda: not second.alive(), 20, "the woken worker to leave")
        night.let_flow(2)


@pytest.mark.chaos(scenario="models swapped while workers are killed")
def test_models_are_swapped_while_workers_are_killed(
    platform: ChaosPlatform, row: Row, seed: str, models: Models
) -> None:
    with scenario(platform, row, seed) as night:
        for which in (1, 0, 1):
            models.release(platform.settings, which)
            night.let_flow(1)
            platform.send(night.rng.choice(platform.names), signal.SIGKILL)
            models.release_a_bad_one(platform.settings)
            night.let_flow(2)
        models.release(platform.settings, 0)
        night.let_flow(2)
    verdicts = [codec.decode(each.value, FraudVerdict) for each in night.logs[FRAUD_VERDICTS.name]]
    decided = {verdict.model_version for verdict in verdicts}
    assert decided >= set(models.versions)
    assert not any(version.startswith(BAD) for version in decided)
    assert any("model_refused" in line and BAD in line for line in platform.log(VERDICTS))
