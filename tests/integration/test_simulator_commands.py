"""The simulator's commands against a real Kafka: found by themselves, judged, and stopped in the middle."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ibook import codec
from ibook.edges.kafka import Record
from ibook.edges.running_platform import lock_file, notes_file, pointed_at_running
from ibook.errors import InvalidMessage
from ibook.messages import Action, PurchaseRequested
from ibook.settings import Settings
from simulator.truth import read_truth
from tests.integration.test_simulator import Answerer, everything, wait_for

NOTES = {"supervisor": os.getpid(), "redis_url": "redis://127.0.0.1:1/0", "serving_port": 1, "parts": {}}


@contextmanager
def noted(settings: Settings) -> Iterator[dict[str, str]]:
    """As if `ibook up` had started the test's Kafka: the environment of a command that is told of a folder only."""
    folder = settings.data_dir
    lock_file(folder).parent.mkdir(parents=True, exist_ok=True)
    notes_file(folder).write_text(json.dumps({**NOTES, "kafka_bootstrap": settings.kafka_bootstrap}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IBOOK_")}
    with lock_file(folder).open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        yield {**environment, "IBOOK_DATA_DIR": str(folder)}


def start(environment: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: "subprocess.Popen[str]", seconds: float = 300.0) -> str:
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()
    return output


def purchases(settings: Settings) -> tuple[list[PurchaseRequested], list[Record]]:
    """Those that can be read, and those that can't."""
    read, unreadable = [], []
    for record in everything(settings, "ticket-purchases"):
        try:
            read.append(codec.decode(record.value, PurchaseRequested))
        except InvalidMessage:
            unreadable.append(record)
    return read, unreadable


def approve(_: PurchaseRequested) -> list[Action]:
    return ["approve"]


class Careful(Answerer):
    """Answers a purchase that comes twice once."""

    def __init__(self, settings: Settings) -> None:
        seen: set[str] = set()

        def decide(purchase: PurchaseRequested) -> list[Action]:
            new = purchase.transaction_id not in seen
            seen.add(purchase.transaction_id)
            return ["approve"] if new else []

        super().__init__(settings, decide)


def test_addresses_that_nobody_names_are_those_of_the_platform_that_runs(platform_settings: Settings) -> None:
    plain = Settings(data_dir=platform_settings.data_dir)
    assert pointed_at_running(plain) == plain
    with noted(platform_settings):
        found = pointed_at_running(plain)
        assert (found.kafka_bootstrap, found.serving_port) == (platform_settings.kafka_bootstrap, 1)
        named = plain.model_copy(update={"kafka_bootstrap": "elsewhere:9092"})
        assert pointed_at_running(named).kafka_bootstrap == "elsewhere:9092"
    assert pointed_at_running(plain) == plain  # its notes lie there, but nobody holds the folder


def test_a_run_finds_the_platform_and_its_record_is_what_kafka_has(platform_settings: Settings, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("truth.jsonl", "run.json", "run.html")}
    with noted(platform_settings) as environment, Answerer(platform_settings, approve):
        output = finish(start(
            environment, "cli.main", "simulate", "run", "fraud-attack", "--duration", "5", "--rate", "20",
            "--truth", str(files["truth.jsonl"]), "--json", str(files["run.json"]), "--report", str(files["run.html"]),
        ))  # fmt: skip
    assert "fraud-attack: the doors open." in output and "/s asked" in output, output
    read, unreadable = purchases(platform_settings)
    transactions, _ = read_truth(files["truth.jsonl"])
    assert Counter(purchase.transaction_id for purchase in read) == Counter(dict.fromkeys(transactions, 1))
    assert not unreadable
    run = only_run(files["run.json"])
    assert run["conditions"]["purchases"] == len(read)
    assert run["conditions"]["mode"] == "live" and run["conditions"]["decided_by"] == "platform"
    results = {result["name"]: result for result in run["results"]}
    assert results["latency.missing"]["verdict"] == results["latency.conflicting"]["verdict"] == "passed"
    assert files["run.html"].stat().st_size > 10_000


def test_a_degraded_run_delivers_everything_counts_its_harms_and_none_is_missing_or_conflicting(
    platform_settings: Settings, tmp_path: Path
) -> None:
    truth, figures = tmp_path / "truth.jsonl", tmp_path / "run.json"
    with noted(platform_settings) as environment, Careful(platform_settings):
        output = finish(start(
            environment, "simulator", "run", "system-degradation", "--duration", "12", "--rate", "100",
            "--truth", str(truth), "--json", str(figures),
        ))  # fmt: skip
    assert "missing 0, conflicting 0, duplicated 0" in output, output
    read, unreadable = purchases(platform_settings)
    sent = Counter(purchase.transaction_id for purchase in read)
    assert set(sent) == set(read_truth(truth)[0])
    assert max(sent.values()) == 2 and sum(n == 2 for n in sent.values()) > 3
    messages = Counter(purchase.message_id for purchase in read)
    assert sorted(messages.values()) == sorted(sent.values())  # a repeat is the same message
    harm = only_run(figures)["figures"]["degradation"]
    counts = harm["counts"]
    assert counts["malformed"] >= len(unreadable) > 0
    assert harm["identifiable"] == harm["answered"] == sum(bool(record.headers) for record in unreadable)
    assert counts["delayed"] > 50 and counts["silences"] >= 1 and counts["held_back"] > 20


def test_a_run_stopped_by_ctrl_c_still_writes_truth_report_and_figures(
    platform_settings: Settings, tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("truth.jsonl", "run.json", "run.html")}
    with noted(platform_settings) as environment, Answerer(platform_settings, approve):
        process = start(
            environment, "simulator", "run-all", "--duration", "100", "--rate", "30",
            "--truth", str(files["truth.jsonl"]), "--json", str(files["run.json"]), "--report", str(files["run.html"]),
        )  # fmt: skip
        wait_for(lambda: len(everything(platform_settings, "ticket-purchases")) > 60)
        process.send_signal(signal.SIGINT)
        output = finish(process)
    assert "flash-sale" not in output, output
    assert process.returncode in (0, 1)
    run = only_run(files["run.json"])
    assert run["scenario"] == "normal" and run["conditions"]["seconds"] < 100
    read, _ = purchases(platform_settings)
    transactions, _ = read_truth(tmp_path / "truth-normal.jsonl")
    assert {purchase.transaction_id for purchase in read} == set(transactions)
    assert run["conditions"]["purchases"] == len(transactions) and files["run.html"].exists()


def test_realtime_is_not_judged_unless_figures_are_asked_for(platform_settings: Settings) -> None:
    with noted(platform_settings) as environment, Answerer(platform_settings, approve):
        process = start(environment, "simulator", "realtime", "--rate", "20", "--duration", "3")
        output = finish(process)
    assert process.returncode == 0, output
    assert re.search(r"purchases in \d+ s", output) and "not measured" not in output


def test_a_past_finds_the_platform_of_the_folder_it_is_told(platform_settings: Settings) -> None:
    with noted(platform_settings) as environment:
        folder = environment.pop("IBOOK_DATA_DIR")
        process = start(
            environment, "simulator", "history", "--to", "kafka", "--data-dir", folder, "--hours", "1",
            "--purchases", "30",
        )  # fmt: skip
        output = finish(process)
    assert process.returncode == 0, output
    assert f" with {len(everything(platform_settings, 'ticket-purchases'))} purchases in " in output


def only_run(path: Path) -> dict[str, Any]:
    (run,) = json.loads(path.read_bytes())["runs"]
    assert isinstance(run, dict)
    return run
