"""Says which model decides from now on: a message on `model-releases`."""

from pathlib import Path
from uuid import uuid4

from ibook.clock import SystemClock
from ibook.codec import encode
from ibook.edges.fraud_model import METADATA_FILE, MODEL_FILE, ModelMetadata, load_model, read_json
from ibook.errors import ConfigurationError, ModelUnavailable
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
    from ibook.edges.kafka import Outgoing, producer, publish

    artefact = Path(settings.model_name) / version / MODEL_FILE
    path = settings.data_dir / "models" / artefact
    if not path.exists():
        raise ModelUnavailable(f"There is no model {version} in {path.parent.parent}.")
    metadata = read_json(path.with_name(METADATA_FILE), ModelMetadata)
    load_model(path, metadata.sha256)
    message = ModelReleased(
        message_id=uuid4().hex, occurred_at=SystemClock().now(), model=settings.model_name, version=version,
        artefact=artefact.as_posix(), sha256=metadata.sha256, feature_names_hash=metadata.feature_names_hash,
        released_by="training", why=why,
    )  # fmt: skip
    publish(
        producer(settings), [Outgoing(topic=MODEL_RELEASES.name, key=message.model.encode(), value=encode(message))]
    )
    return message
