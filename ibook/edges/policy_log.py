"""Reads the releases of verdict policies, and writes one more."""

from uuid import uuid4

from ibook.clock import Clock, SystemClock
from ibook.codec import MAX_OWN_BYTES, decode, encode
from ibook.edges.kafka import BroadcastReader, Outgoing, producer, publish
from ibook.edges.kafka_admin import list_topics
from ibook.errors import ConfigurationError, InvalidMessage
from ibook.messages import PolicyReleased, PolicyReleases
from ibook.policy_releases import POLICY, released
from ibook.settings import Settings
from ibook.topics import POLICY_RELEASES


def read_releases(settings: Settings) -> list[PolicyReleases]:
    """All that was said of releases, oldest first and once; what can't be read is left out, as a worker leaves it out.

    Raises BrokerUnavailable, or ConfigurationError when the topic is not there.
    """
    _require_topic(settings)
    found: dict[str, PolicyReleases] = {}
    with BroadcastReader(settings, POLICY_RELEASES.name) as reader:
        for record in reader.load():
            try:
                message: PolicyReleases = decode(record.value, POLICY_RELEASES.message, max_bytes=MAX_OWN_BYTES)
            except InvalidMessage:
                continue
            if message.policy == POLICY:
                found.setdefault(message.message_id, message)
    return list(found.values())


def release(
    settings: Settings, text: str, origin: str, *, released_by: str = "", why: str = "", guarded: bool = True,
    clock: Clock | None = None,
) -> PolicyReleased:  # fmt: skip
    """Let a policy decide from now on; `origin` names it in errors.

    Raises ConfigurationError for a text that is no policy, and BrokerUnavailable when Kafka did not take it.
    """
    at, message_id = (clock or SystemClock()).now(), uuid4().hex
    message = released(
        text, origin, message_id=message_id, at=at, released_by=released_by, why=why, guarded=guarded
    )  # fmt: skip
    _require_topic(settings)
    outgoing = Outgoing(topic=POLICY_RELEASES.name, key=message.policy.encode(), value=encode(message))
    publish(producer(settings), [outgoing])
    return message


def _require_topic(settings: Settings) -> None:
    if POLICY_RELEASES.name not in list_topics(settings):
        raise ConfigurationError(f"The topic {POLICY_RELEASES.name} does not exist: run `ibook topics apply`.")
