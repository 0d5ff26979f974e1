"""Says which model decides from now on: a message on `model-releases`."""

from ibook.edges.model_store import ModelStore
from ibook.errors import ConfigurationError
from ibook.messages import ModelReleased
from ibook.settings import Settings
from ibook.topics import MODEL_RELEASES


def require_kafka(settings: Settings) -> None:
    """Raises BrokerUnavailable or ConfigurationError when a release could not be published."""
    from ibook.edges.kafka_admin import list_topics

    if MODEL_RELEASES.name not in list_topics(settings):
        raise ConfigurationError(f"The topic {MODEL_RELEASES.name} does not exist: run `ibook topics apply`.")


def release(settings: Settings, version: str, *, why: str) -> ModelReleased:
    """Let a version decide; one that decided before is thereby rolled back to.

    The artefact must lie in the model store and load here. Raises ModelUnavailable, BrokerUnavailable or
    ConfigurationError with one sentence.
    """
    from ibook.edges.releasing import release_of, say

    metadata = ModelStore.of(settings).metadata(version)
    message = release_of(metadata, by="training", why=why)
    assert isinstance(message, ModelReleased)
    say(settings, message)
    return message
