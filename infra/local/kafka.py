"""One real Kafka broker (KRaft, broker and controller in one) as a plain process."""

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from ibook.errors import ConfigurationError
from infra.local import processes
from infra.local.jars import kafka_jars
from infra.local.java import find_java
from infra.local.processes import Child

START_SECONDS = 120.0
_STARTED = "Kafka Server started"
_TAKEN = "Another Kafka already runs on this data folder."
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms256m", "-Xmx512m")
_LOG4J = """\
status = warn
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n%ex
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""

SINGLE_BROKER = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "33554432",
    "log.segment.delete.delay.ms": "1000",
    "num.network.threads": "1",
    "num.io.threads": "2",
    "metadata.max.idle.interval.ms": "5000",
}
"""Settings of a broker that is alone, whatever starts it.

The cleaner's buffer fits the small heap. A killed broker can't start again before its session with the controller has
ended, hence the short session. It shares its cores with everything else: more threads would mostly wake one another. A
controller with nothing to say writes that to its log, for no other to read.
"""


class LocalKafka:
    """A broker on 127.0.0.1 whose data lives in `<data_dir>/kafka`. It starts again on what it finds there."""

    name = "kafka"

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self._folder = data_dir.absolute() / "kafka"
        self._log = data_dir.absolute() / "logs" / "kafka.log"
        self.port = processes.free_port() if port is None else port
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> Child:
        """Start the broker and wait until it answers.

        Raises ConfigurationError: no Java, failed download, port in use, disk full, or what the broker's log says.
        """
        return processes.wait_ready(
            self.launch(),
            self.ready,
            timeout_seconds=START_SECONDS,
            explain=lambda lines: explain(lines, self._log, self.port),
        )

    def launch(self) -> Child:
        """Start the broker without waiting. Raises ConfigurationError."""
        processes.claim_port(self.port, "Kafka")
        java = [str(find_java()), *_JVM, "-cp", f"{kafka_jars()}/*"]
        # Kafka locks its folder too, but only after it has read, and mended, what another one may be writing.
        with processes.disk_errors(self._folder), processes.locked(self._folder / "lock", _TAKEN) as lock:
            self._child = self._launch(java, lock)
        return self._child

    def _launch(self, java: list[str], lock: int) -> Child:
        properties = self._write_configuration()
        if not (self._folder / "data" / "meta.properties").exists():
            self._format(java, properties)
        java.insert(1, f"-Dlog4j2.configurationFile=file:{self._folder / 'log4j2.properties'}")
        return processes.start(self.name, [*java, "kafka.Kafka", str(properties)], log=self._log, keep=lock)

    def ready(self) -> bool:
        """Whether the broker is through with its start and answers a metadata request.

        It answers some before it has looked at its data, and may still end then: its log says when it is through.
        """
        started = self._child is not None and any(_STARTED in line for line in self._child.lines())
        return started and broker_answers(self.bootstrap)

    def _write_configuration(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        controller = f"127.0.0.1:{processes.free_port()}"
        configuration = SINGLE_BROKER | {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.bootstrap.servers": controller,
            "log.dirs": str(self._folder / "data"),
        }
        properties = self._folder / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in configuration.items()))
        (self._folder / "log4j2.properties").write_text(_LOG4J)
        return properties

    def _format(self, java: list[str], properties: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if cluster.startswith("-"):  # the tool would take it for an option
            cluster = "A" + cluster[1:]
        tool = [*java, "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(properties)]
        told = subprocess.run(tool, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        if told.returncode:
            raise ConfigurationError(explain(told.stderr.splitlines(), self._log, self.port))


def broker_answers(bootstrap: str) -> bool:
    """Whether a broker answers a metadata request there within two seconds."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        return bool(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


_EXPLANATIONS = {
    "No space left on device": "Kafka can't write its data: the disk is full.",
    "Address already in use": "Kafka can't listen on 127.0.0.1:{port}: the port is in use.",
    "Failed to acquire lock": _TAKEN,
    "UnsupportedClassVersionError": "Kafka needs a newer Java.",
}


def explain(lines: list[str], log: Path, port: int) -> str:
    """One sentence on why the broker did not start.

    >>> explain(["ERROR java.net.BindException: Address already in use"], Path("kafka.log"), 9092)
    "Kafka can't listen on 127.0.0.1:9092: the port is in use."
    >>> explain(["INFO starting", "ERROR Exiting Kafka"], Path("kafka.log"), 9092)
    'Kafka did not start ("ERROR Exiting Kafka"): see kafka.log.'
    """
    text = "\n".join(lines)
    for sign, sentence in _EXPLANATIONS.items():
        if sign in text:
            return sentence.format(port=port)
    telling = [line for line in lines if "ERROR" in line or "Exception" in line] or lines or ["no output"]
    return f'Kafka did not start ("{telling[-1].strip()[:200]}"): see {log}.'
