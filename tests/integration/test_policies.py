"""A policy is released by command, decides in a running worker, and is rolled back; a bad one changes nothing."""

import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path

import msgspec
import pytest

from ibook.clock import SystemClock
from ibook.codec import decode, encode
from ibook.edges.champion import Champion
from ibook.edges.kafka import Outgoing, producer
from ibook.edges.kafka import publish as publish_all
from ibook.edges.kept_release import KeptRelease
from ibook.edges.model_reports import Reports
from ibook.edges.policy_in_force import PolicyInForce
from ibook.edges.policy_log import read_releases
from ibook.messages import PolicyReleased, VerdictEvidence
from ibook.policy_releases import POLICY, released
from ibook.rules import DEFAULT_POLICY_PATH, load_policy
from ibook.settings import Settings
from ibook.topics import POLICY_RELEASES
from infra.local.processes import free_port
from tests.traffic import missing, publish, purchase, read_all, verdicts
from tests.workers import WorkerProcess, environment, running_workers, wait_until

PACKAGED = DEFAULT_POLICY_PATH.read_text()
STRICTER = (
    PACKAGED
    + """
[[rules]]
id = "blocked_user"
why = "This account was used by a ring."
action = "decline"
severity = "critical"
owner = "fraud desk"
reason = "listed"
when = "user_id = 'user-blocked'"
"""
)
numbers = count()


class OfAnOlderVersion(PolicyInForce):
    """Policies in a process whose code knows fewer features."""

    def _policy_of(self, release: PolicyReleased) -> str:
        return f"{release.version} names a feature that is not known here"


@pytest.fixture(scope="module")
def settings(shared_platform_settings: Settings) -> Settings:
    return shared_platform_settings


@pytest.fixture(scope="module")
def worker(settings: Settings) -> Iterator[WorkerProcess]:
    with running_workers(settings, ["purchases-to-verdicts"]) as running:
        yield running["purchases-to-verdicts"]


def ibook(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "policies", *arguments]
    return subprocess.run(command, env=environment(settings), capture_output=True, text=True, timeout=240, check=False)


def decided(settings: Settings) -> tuple[str, str, list[str]]:
    """What a purchase of the account with another card gets now: action, policy version, rules."""
    number = next(numbers)
    asked = purchase(f"policy-{number}", key="blocked", card_id=f"card-{number}", device_id=f"device-{number}")
    publish(settings, [asked])
    wait_until(lambda: not missing([asked], verdicts(settings)), 60, "a verdict")
    evidence = [decode(value, VerdictEvidence) for *_, value in read_all(settings, "fraud-evidence")]
    (found,) = (each for each in evidence if each.transaction_id == asked.transaction_id)
    return found.action, found.policy_version, found.rules


def test_a_released_policy_decides_without_a_restart_until_it_is_rolled_back(
    settings: Settings, worker: WorkerProcess, tmp_path: Path
) -> None:
    assert decided(settings) == ("approve", load_policy().version, [])
    path = tmp_path / "stricter.toml"
    path.write_text(STRICTER)
    done = ibook(settings, "release", str(path), "--why", "a ring", "--by", "night shift")
    assert (done.returncode, done.stderr) == (0, "")
    version = load_policy(path).version
    assert f"policy {version} decides in 1 of 1 process; the last one took" in done.stdout
    assert decided(settings) == ("decline", version, ["blocked_user"]), "the command has waited for the worker"
    done = ibook(settings, "rollback")
    assert f"policy {load_policy().version} decides in 1 of 1 process; the last one took" in done.stdout
    assert decided(settings)[:2] == ("approve", load_policy().version)
    assert worker.alive()
    listed = ibook(settings, "list").stdout.splitlines()
    assert [line.split()[0] for line in listed if "decides" in line] == [load_policy().version]
    assert any(all(word in line for word in (version, "night shift", "a ring")) for line in listed)
    assert ibook(settings, "show", version).stdout == STRICTER


def test_a_bad_release_is_refused_and_counted_and_the_policy_before_it_goes_on(settings: Settings) -> None:
    good = released(STRICTER, "test", message_id="good", at=SystemClock().now())
    of_another_text = msgspec.structs.replace(good, message_id="bad-1", text=PACKAGED)
    text = STRICTER.replace("card_attempts_1m", "card_attempts_9m")  # as of a newer version of the code
    of_other_features = msgspec.structs.replace(
        good, message_id="bad-2", text=text, sha256=sha256(text.encode()).hexdigest()
    )
    values = [encode(good), encode(of_another_text), encode(of_other_features), b"{", None]
    with PolicyInForce.follow(settings) as following:
        assert following.wait(120)
        refused = following.refused
        publish_all(producer(settings), [Outgoing(topic=POLICY_RELEASES.name, key=b"v", value=each) for each in values])
        wait_until(lambda: following.refused == refused + 4, 20, "four refusals")
        wait_until(lambda: following.policy.version == good.version, 20, "the good one among them decides")
    with PolicyInForce.follow(settings) as late:  # one that starts after them finds the last good one, too
        assert late.wait(120)
        assert late.policy.version == good.version
        kept = KeptRelease(settings.data_dir, f"policy-{POLICY}", PolicyReleased)
        wait_until(lambda: getattr(kept.read(), "version", "") == good.version, 20, "it to be kept")
    with PolicyInForce.follow(settings.model_copy(update={"kafka_bootstrap": f"127.0.0.1:{free_port()}"})) as alone:
        assert (alone.policy.version, alone.origin) == (good.version, "kept")


@pytest.mark.usefixtures("worker")
def test_what_is_no_policy_is_never_released(settings: Settings, tmp_path: Path) -> None:
    before = [each.message_id for each in read_releases(settings)]
    path = tmp_path / "typo.toml"
    path.write_text(PACKAGED.replace("card_attempts_1m >=", "card_atempts_1m >="))
    for command in ("check", "release"):
        done = ibook(settings, command, str(path))
        assert done.returncode == 2
        assert f"verdict policy {path}, key rules[0].when: nothing is called card_atempts_1m; there is" in done.stderr
    assert ibook(settings, "rollback", "9+00000000").returncode == 2
    assert [each.message_id for each in read_releases(settings)] == before


@pytest.mark.usefixtures("worker")
def test_a_process_that_refuses_a_policy_is_named_with_its_reason(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "newer.toml"
    path.write_text(STRICTER + "# of another version\n")
    version = load_policy(path).version
    with (
        OfAnOlderVersion.follow(settings) as older,
        Champion.follow(settings, "older", older.report),
        Reports(settings) as reports,
    ):
        told = [f"older goes on with policy {load_policy().version}: {version} names a feature that is not known here"]
        wait_until(lambda: any(name.startswith("older") for name in reports.poll(0.1)), 30, "it to report")
        done = ibook(settings, "release", str(path))
    assert done.returncode == 1
    assert f"policy {version} decides in 1 of 2 processes" in done.stdout
    assert [line.replace(line[line.index("(") : line.index(")") + 2], "") for line in done.stderr.splitlines()] == told
