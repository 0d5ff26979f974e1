"""`ibook topics`, and how every command refuses: one sentence, exit code 2."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import app
from ibook.edges import kafka_admin
from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES
from infra.local.processes import free_port


@pytest.fixture
def ibook(platform_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("IBOOK_KAFKA_BOOTSTRAP", platform_settings.kafka_bootstrap)
    monkeypatch.setenv("IBOOK_DATA_DIR", str(platform_settings.data_dir))
    return CliRunner()


def test_topics_are_applied_once_and_listed(ibook: CliRunner, platform_settings: Settings) -> None:
    kafka_admin.delete_topics(platform_settings, [TICKET_PURCHASES.name])
    assert "missing" in ibook.invoke(app, ["topics", "list"]).stdout
    assert ibook.invoke(app, ["topics", "apply"]).stdout == "created ticket-purchases\n"
    assert ibook.invoke(app, ["topics", "apply"]).stdout == "All topics are as declared.\n"
    listed = ibook.invoke(app, ["topics", "list"]).stdout.splitlines()
    (purchases,) = [line.split() for line in listed if line.split()[0] == "ticket-purchases"]
    assert purchases[:5] == ["ticket-purchases", "4", "30", "d", "card_id"]


@pytest.mark.parametrize("change", [-1, 1])
def test_another_partition_count_is_refused_and_nothing_changes(platform_settings: Settings, change: int) -> None:
    kafka_admin.delete_topics(platform_settings, [TICKET_PURCHASES.name])
    before = kafka_admin.list_topics(platform_settings)
    count = platform_settings.partitions + change
    told = run(
        "topics", "apply", IBOOK_KAFKA_BOOTSTRAP=platform_settings.kafka_bootstrap, IBOOK_PARTITIONS=str(count),
        IBOOK_DATA_DIR=str(platform_settings.data_dir),
    )  # fmt: skip
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        f"ticket-activity has 4 partitions, IBOOK_PARTITIONS says {count}: set it to 4, or begin on empty data.\n"
    )
    assert kafka_admin.list_topics(platform_settings) == before


def test_topics_that_differ_are_listed(
    ibook: CliRunner, platform_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IBOOK_PARTITIONS", str(platform_settings.partitions - 1))
    assert "4, not 3" in ibook.invoke(app, ["topics", "list"]).stdout


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_refusal_is_one_sentence_and_exit_code_2() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    away = run("topics", "list", IBOOK_KAFKA_BOOTSTRAP=nobody)
    assert (away.returncode, away.stdout, away.stderr) == (2, "", f"No Kafka broker answers on {nobody}.\n")
    wrong = run("topics", "list", IBOOK_PARTITIONS="none")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("setting IBOOK_PARTITIONS='none' is refused: ")


def test_help_imports_nothing_slow() -> None:
    program = "import sys, cli.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)
    slow = {"feast", "xgboost", "mlflow", "evidently", "faust", "pandas", "confluent_kafka"}
    assert not slow & set(loaded.stdout.split())
