"""`docs/publishing.md` does what it says: its snippets run against a real Kafka and real workers."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ibook.edges.kafka import Outgoing, producer, publish
from ibook.errors import InvalidMessage
from ibook.settings import Settings
from ibook.topics import BY_NAME
from infra.local.processes import free_port, start
from infra.local.state import environment
from tests.contracts.examples import read
from tests.docs.generated import ROOT
from tests.docs.snippets import KcatCall, curl_calls, kcat_calls, named_blocks
from tests.traffic import read_all, verdicts
from tests.workers import WorkerProcess, wait_until

BLOCKS = named_blocks(ROOT / "docs" / "publishing.md")
KCAT = [name for name, text in BLOCKS.items() if "kcat -" in text]
BROKEN = {"dead-letter"}
"""Blocks that show what can't be read."""
with_kcat = pytest.mark.skipif(
    shutil.which("kcat") is None,
    reason="kcat is not installed (apt-get install kcat): its snippets are checked, but not run",
)


# ------------------------------------------------------------------------------------------ without running anything
def publications() -> list[tuple[str, KcatCall]]:
    return [(name, call) for name in KCAT for call in kcat_calls(BLOCKS[name]) if call.publishes]


def test_page_has_the_snippets_it_promises() -> None:
    assert set(BLOCKS) == {
        "publish", "publish.py", "verdict", "verdicts.py", "first_verdicts.py", "dead-letter", "dead-letters",
        "listing", "prices", "scores.py",
    }  # fmt: skip
    assert {call.topic for _, call in publications()} == {"ticket-purchases", "event-listings"}


def test_kcat_commands_name_topics_that_exist() -> None:
    calls = [call for name in KCAT for call in kcat_calls(BLOCKS[name])]
    assert {call.topic for call in calls} <= set(BY_NAME)
    assert all("murmur2_random" in BLOCKS[name] for name, _ in publications())


@pytest.mark.parametrize("name", [name for name, _ in publications() if name not in BROKEN])
def test_kcat_payload_is_read_and_fits_its_key(name: str) -> None:
    [call] = kcat_calls(BLOCKS[name])
    topic = BY_NAME[call.topic]
    message = read(topic, call.payload)
    assert call.key == getattr(message, topic.key)
    assert all(value == getattr(message, field) for field, value in call.headers.items())


def test_broken_kcat_payload_is_refused_as_the_page_says() -> None:
    [call] = kcat_calls(BLOCKS["dead-letter"])
    with pytest.raises(InvalidMessage) as caught:
        read(BY_NAME[call.topic], call.payload)
    assert caught.value.reason == "invalid"
    assert call.headers == {"transaction_id": "tx-kcat-2"}


# ------------------------------------------------------------------------------------------------------ on real parts
@pytest.fixture(scope="module")
def platform(shared_platform_settings: Settings) -> Iterator[Settings]:
    """A Kafka with all topics, and a verdict worker."""
    worker = WorkerProcess("purchases-to-verdicts", shared_platform_settings)
    try:
        worker.start()
        yield shared_platform_settings
    finally:
        worker.kill()


@pytest.fixture
def env(platform: Settings) -> dict[str, str]:
    return {**os.environ, "KAFKA": platform.kafka_bootstrap}


def bash(name: str, env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", BLOCKS[name]]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def test_the_helper_needs_ten_lines_at_most() -> None:
    assert len([line for line in BLOCKS["first_verdicts.py"].splitlines() if line]) <= 10


def test_python_snippets_publish_a_purchase_and_read_its_verdict(env: dict[str, str], tmp_path: Path) -> None:
    readers = ("verdicts.py", "first_verdicts.py")
    for name in ("publish.py", *readers):
        (tmp_path / name).write_text(BLOCKS[name])
    outputs = [tmp_path / f"{name}.txt" for name in readers]
    with ExitStack() as stack:
        reading = [_reading(tmp_path / name, env, output, stack) for name, output in zip(readers, outputs, strict=True)]
        told = subprocess.run(
            [sys.executable, "publish.py"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240,
            check=True,
        )  # fmt: skip
        transaction = told.stdout.strip()
        for output, reader in zip(outputs, reading, strict=True):
            wait_until(_told(output, transaction, reader), 60, "the verdict")
    for output in outputs:
        [line] = [line for line in output.read_text().splitlines() if line.startswith(transaction)]
        assert line.split()[1:] == ["approve", "no_features"]


def _told(output: Path, transaction: str, reader: "subprocess.Popen[bytes]") -> Callable[[], bool]:
    return lambda: transaction in output.read_text() or reader.poll() is not None


def _reading(script: Path, env: dict[str, str], output: Path, stack: ExitStack) -> "subprocess.Popen[bytes]":
    file = stack.enter_context(output.open("w"))
    reader = subprocess.Popen([sys.executable, str(script)], env=env, stdout=file, stderr=subprocess.STDOUT)
    stack.callback(reader.wait)
    stack.callback(reader.kill)
    return reader


@with_kcat
def test_kcat_snippets_publish_a_purchase_and_read_its_verdict(env: dict[str, str], tmp_path: Path) -> None:
    published = bash("publish", env, tmp_path)
    assert published.returncode == 0, published.stderr
    wait_until(lambda: bool(bash("verdict", env, tmp_path).stdout), 60, "the verdict to be readable with kcat")
    assert json.loads(bash("verdict", env, tmp_path).stdout)["transaction_id"] == "tx-kcat-1"


@with_kcat
def test_kcat_snippets_show_what_becomes_of_a_broken_purchase(
    platform: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    published = bash("dead-letter", env, tmp_path)
    assert published.returncode == 0, published.stderr
    wait_until(lambda: bool(bash("dead-letters", env, tmp_path).stdout), 60, "a dead letter to be readable with kcat")
    assert json.loads(bash("dead-letters", env, tmp_path).stdout)["reason"] == "invalid"
    wait_until(lambda: "tx-kcat-2" in verdicts(platform), 30, "the verdict of the unreadable purchase")
    assert verdicts(platform)["tx-kcat-2"][0].action == "review"


@with_kcat
def test_kcat_snippet_publishes_the_listing(platform: Settings, env: dict[str, str], tmp_path: Path) -> None:
    published = bash("listing", env, tmp_path)
    assert published.returncode == 0, published.stderr
    assert [key for _, _, key, _ in read_all(platform, "event-listings")][-1] == b"event-rock-am-see"


def test_snippets_are_answered_with_a_price_a_quote_and_a_score(platform: Settings, tmp_path: Path) -> None:
    [listing] = kcat_calls(BLOCKS["listing"])
    publish(producer(platform), [Outgoing(topic=listing.topic, key=listing.key.encode(), value=listing.payload)])
    settings = platform.model_copy(update={"serving_port": free_port(), "score_longest_seconds": 60.0})
    base = f"http://127.0.0.1:{settings.serving_port}"
    argv = [sys.executable, "-m", "serving"]
    child = start("serving", argv, log=tmp_path / "serving.log", env=environment(settings))
    try:
        wait_until(lambda: _answers(base + "/v1/events/event-rock-am-see/price"), 60, "the price API")
        prices, quote = _asked(base, tmp_path)
        (tmp_path / "scores.py").write_text(_with_time(BLOCKS["scores.py"]))
        scored = subprocess.run(
            [sys.executable, "scores.py"], env={**os.environ, "PRICES": base}, cwd=tmp_path, capture_output=True,
            text=True, timeout=240, check=True,
        )  # fmt: skip
    finally:
        child.stop()
    [price] = prices["prices"]
    assert scored.stdout == "approve\n"
    assert (price["ticket_type"], price["list_price_minor"]) == ("standing", 5900)
    assert (quote["event_id"], quote["price_minor"]) == ("event-rock-am-see", price["price_minor"])


def _with_time(script: str) -> str:
    """The same for a busy machine, which may need longer than a shop would wait."""
    for asked, patient in (('"deadline_ms": 1000', '"deadline_ms": 60000'), ("timeout=2)", "timeout=120)")):
        assert asked in script
        script = script.replace(asked, patient)
    return script


def _asked(base: str, folder: Path) -> list[dict[str, Any]]:
    """What the block's requests are answered: by curl itself where there is one."""
    if shutil.which("curl") is None:
        return [_ask(base + call.path, call.body) for call in curl_calls(BLOCKS["prices"])]
    answered = bash("prices", {**os.environ, "PRICES": base}, folder)
    assert answered.returncode == 0, answered.stderr
    decoder, text, found = json.JSONDecoder(), answered.stdout, []
    while text:
        answer, end = decoder.raw_decode(text)
        found.append(answer)
        text = text[end:].lstrip()
    return found


def _ask(url: str, body: object = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _answers(url: str) -> bool:
    try:
        _ask(url)
    except OSError:
        return False
    return True
