"""What every process runs: told by each on `model-reports`, read by whoever wants to know."""

import os
import platform
import time
from typing import Any, Self
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ibook.clock import SystemClock
from ibook.codec import decode, encode
from ibook.edges.kafka import ANSWER_SECONDS, extent, producer
from ibook.errors import BrokerUnavailable, ConfigurationError, InvalidMessage
from ibook.messages import ModelReport
from ibook.settings import Settings
from ibook.topics import MODEL_REPORTS

REPORT_SECONDS = 3.0
"""How often a process says again what it runs."""
SILENT_SECONDS = 10.0
"""A process that has not said it for so long is taken for gone."""


def process_name(name: str) -> str:
    """Names this process and no other, now or later."""
    return f"{name} ({platform.node() or 'here'}, {os.getpid()})"[:128]


class Reporter:
    """Tells what this process runs, without ever waiting for Kafka."""

    def __init__(self, settings: Settings, process: str) -> None:
        self.process = process
        self._producer = producer(settings)
        self._told: tuple[object, ...] = ()
        self._due = 0.0

    def tell(self, **runs: Any) -> None:
        """Publish `runs` (fields of ModelReport) when they have changed, or were last told a while ago."""
        self._producer.poll(0)
        now, content = time.monotonic(), tuple(runs.items())
        if content == self._told and now < self._due:
            return
        report = ModelReport(message_id=uuid4().hex, occurred_at=SystemClock().now(), process=self.process, **runs)
        try:
            self._producer.produce(MODEL_REPORTS.name, encode(report), self.process.encode())
        except (BufferError, KafkaException):
            return  # the next one will do
        self._told, self._due = content, now + REPORT_SECONDS


class Reports:
    """The newest report of every process that is alive; also a context manager. One thread at a time."""

    def __init__(self, settings: Settings) -> None:
        """Raises BrokerUnavailable or ConfigurationError when there is nothing to read from."""
        self._consumer = Consumer(
            {"bootstrap.servers": settings.kafka_bootstrap, "group.id": "model-reports", "enable.auto.commit": False,
             "log_level": 0}
        )  # fmt: skip
        self._newest: dict[str, tuple[int, ModelReport]] = {}
        self._model = settings.model_name
        try:
            self._end = self._go_back()
        except KafkaException as error:
            self._consumer.close()
            raise BrokerUnavailable(f"No Kafka broker answers on {settings.kafka_bootstrap}.") from error

    def _go_back(self) -> int:
        """Read from what is recent on; returns the offset after the last report there is now."""
        if not self._consumer.list_topics(MODEL_REPORTS.name, ANSWER_SECONDS).topics[MODEL_REPORTS.name].partitions:
            raise ConfigurationError(f"The topic {MODEL_REPORTS.name} does not exist: run `ibook topics apply`.")
        recent_ms = int((time.time() - SILENT_SECONDS) * 1000)
        place = TopicPartition(MODEL_REPORTS.name, 0, recent_ms)
        _, end = extent(self._consumer, TopicPartition(MODEL_REPORTS.name, 0))
        (found,) = self._consumer.offsets_for_times([place], timeout=ANSWER_SECONDS)
        found.offset = end if found.offset < 0 else found.offset
        self._consumer.assign([found])
        self._next = int(found.offset)
        return end

    def load(self) -> dict[str, ModelReport]:
        """The reports up to the end as it was at the beginning."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._next < self._end and time.monotonic() < deadline:
            self.poll(0.1)
        return self.alive()

    def poll(self, seconds: float) -> dict[str, ModelReport]:
        """Wait at most so long for more; the newest report of every process that is alive, by its name."""
        for message in self._consumer.consume(1000, timeout=seconds):
            if message.error() is not None:
                continue
            self._next = (message.offset() or 0) + 1
            try:
                report: ModelReport = decode(message.value(), ModelReport)
            except InvalidMessage:
                continue
            if report.model == self._model:
                self._newest[report.process] = (message.timestamp()[1], report)
        return self.alive()

    def alive(self) -> dict[str, ModelReport]:
        """What is known now."""
        recent_ms = (time.time() - SILENT_SECONDS) * 1000
        return {process: report for process, (at_ms, report) in self._newest.items() if at_ms >= recent_ms}

    def __enter__(self) -> Self:
        """The reports themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the consumer."""
        self._consumer.close()
