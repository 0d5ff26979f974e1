"""Reads the releases of verdict policies, and writes one more."""

from uuid import uuid4

from ibook.clock import Clock, SystemClock
from ibook.codec import MAX_OWN_BYTES, decode, encode
from ibook.edges.kafka import BroadcastReader, Outgoing, producer, publish
from ibook.edges.kafka_admin import list_topics
from ibook.errors import ConfigurationError, InvalidMessage
from ibook.messages import PolicyReleased
from ibook.policy_releases import released
from ibook.settings import Settings
from ibook.topics import POLICY_RELEASES


def read_releases(settings: Settings) -> list[PolicyReleased]:
    """Every release there was, oldest first; what can't be read is left out, as a worker leaves it out.

    Raises BrokerUnavailable, or ConfigurationError when the topic is not there.
    """
    _require_topic(settings)
    releases = []
    with BroadcastReader(settings, POLICY_RELEASES.name) as reader:
        for record in reader.load():
            try:
                releases.append(decode(record.value, PolicyReleased, max_bytes=MAX_OWN_BYTES))
            except InvalidMessage:
                continue
    return releases


def release(
    settings: Settings, text: str, origin: str, *, released_by: str = "", why: str = "", clock: Clock | None = None
) -> PolicyReleased:
    """Let a policy decide from now on; `origin` names it in errors.

    Raises ConfigurationError for a text that is no policy, and BrokerUnavailable when Kafka did not take it.
    """
    at = (clock or SystemClock()).now()
    message = released(text, origin, message_id=uuid4().hex, at=at, released_by=released_by, why=why)
    _require_topic(settings)
    outgoing = Outgoing(topic=POLICY_RELEASES.name, key=message.policy.encode(), value=encode(message))
    publish(producer(settings), [outgoing])
    return message


def _require_topic(settings: Settings) -> None:
    if POLICY_RELEASES.name not in list_topics(settings):
        raise ConfigurationError(f"The topic {POLICY_RELEASES.name} does not exist: run `ibook topics apply`.")
