"""Releases from the outside: the log of a model, words added to it, and waiting until every process has heard them."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

from msgspec import Struct

from ibook.clock import SystemClock, from_us
from ibook.codec import decode, encode
from ibook.edges.fraud_model import MODEL_FILE, ModelMetadata
from ibook.edges.kafka import BroadcastReader, Outgoing, producer, publish
from ibook.edges.model_reports import Reports
from ibook.errors import InvalidMessage, ModelUnavailable
from ibook.messages import ChallengerReleased, ModelReleased, ModelReleases, ModelReport
from ibook.releases import standing, taking_back
from ibook.settings import Settings
from ibook.topics import MODEL_RELEASES

HEARD_SECONDS = 30.0
"""Longest we wait for a process to take note of a release."""
Log = list[tuple[datetime, ModelReleases]]
"""Broker time and message, each message once."""


def read_log(settings: Settings) -> Log:
    """All releases of the settings' model. Raises BrokerUnavailable or ConfigurationError."""
    found: dict[str, tuple[datetime, ModelReleases]] = {}
    with BroadcastReader(settings, MODEL_RELEASES.name) as reader:
        for record in reader.load():
            try:
                message: ModelReleases = decode(record.value, MODEL_RELEASES.message)
            except InvalidMessage:
                continue  # every process refused it
            if message.model == settings.model_name:
                found.setdefault(message.message_id, (from_us(record.timestamp_ms * 1000), message))
    return list(found.values())


def say(settings: Settings, *messages: ModelReleases) -> None:
    """Publish releases, and wait until the broker has them. Raises BrokerUnavailable."""
    outgoing = [Outgoing(topic=MODEL_RELEASES.name, key=each.model.encode(), value=encode(each)) for each in messages]
    publish(producer(settings), outgoing)


def release_of(
    metadata: ModelMetadata, *, by: str, why: str, guarded: bool = True, challenger_share: float | None = None
) -> ModelReleased | ChallengerReleased:
    """The message that lets a version of the store decide; with a share it runs beside the champion instead."""
    fields: dict[str, Any] = {
        "message_id": uuid4().hex, "occurred_at": SystemClock().now(), "model": metadata.model,
        "version": metadata.version, "artefact": f"{metadata.model}/{metadata.version}/{MODEL_FILE}",
        "sha256": metadata.sha256, "feature_names_hash": metadata.feature_names_hash, "released_by": by, "why": why,
        "guarded": guarded,
    }  # fmt: skip
    if challenger_share is None:
        return ModelReleased(**fields)
    return ChallengerReleased(**fields, share=challenger_share)


def rolling_back(log: Log, deciding: str, *, by: str, why: str) -> tuple[list[ModelReleases], ModelReleased]:
    """Messages that take the deciding version back, and the release that decides after them.

    `deciding` is the version that processes report, empty when none does: releases that they refused are taken back
    with it. Raises ModelUnavailable when nothing came before it.
    """
    messages = [message for _, message in log]
    champions = standing(messages).champions
    top = next((i for i, each in enumerate(champions) if each.version == deciding), 0)
    version = champions[top].version if champions else ""
    target = next((i for i in range(top, len(champions)) if champions[i].version != version), None)
    if target is None:
        raise ModelUnavailable("No other version was released before: `ibook models release` gives another one.")
    now = SystemClock().now()
    return [taking_back(each, by, why, now) for each in champions[:target]], champions[target]


class Heard(Struct, frozen=True):
    """A process that took note of a release."""

    report: ModelReport
    seconds: float
    """Since the release was said."""


def say_and_wait(settings: Settings, reports: Reports, log: Log, *messages: ModelReleases) -> Iterator[Heard]:
    """Publish releases, then every live process as it has taken note of them; ends when all have.

    `log` is what was said before; `reports` was opened before. A process that falls silent is taken for gone; one that
    has not heard within HEARD_SECONDS is missing. Raises BrokerUnavailable.
    """
    wanted = len(log) + len(messages)
    yield from hearing(reports, lambda: say(settings, *messages), lambda report: report.releases >= wanted)


def hearing(
    reports: Reports, speak: Callable[[], object], has_heard: Callable[[ModelReport], bool],
    is_meant: Callable[[ModelReport], bool] = lambda _: True,
) -> Iterator[Heard]:  # fmt: skip
    """Every live process that is meant, as soon as it has heard what `speak` says; ends when all have.

    One that has not within HEARD_SECONDS is missing. Raises whatever `speak` raises.
    """
    reports.load()
    began, seen = time.monotonic(), set[str]()
    speak()
    while True:
        alive = {process: report for process, report in reports.poll(0.05).items() if is_meant(report)}
        for process, report in alive.items():
            if process not in seen and has_heard(report):
                seen.add(process)
                yield Heard(report, time.monotonic() - began)
        if alive.keys() <= seen or time.monotonic() - began > HEARD_SECONDS:
            return
