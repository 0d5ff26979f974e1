"""Orders of the price experiment in Kafka, and its figures."""

from ibook.codec import encode
from ibook.edges.kafka import BroadcastReader, Outgoing, producer, publish
from ibook.edges.price_snapshots import Snapshots
from ibook.messages import ExperimentFigures, PriceExperiment
from ibook.settings import Settings
from ibook.topics import PRICE_EXPERIMENTS


def read_experiment(settings: Settings) -> Snapshots:
    """What was ordered and told last. Raises BrokerUnavailable, ConfigurationError."""
    known = Snapshots()
    with BroadcastReader(settings, PRICE_EXPERIMENTS.name) as reader:
        known.take(reader.load())
    return known


def publish_experiment(settings: Settings, told: PriceExperiment | ExperimentFigures) -> None:
    """Publish an order, or figures. Raises BrokerUnavailable."""
    message = Outgoing(topic=PRICE_EXPERIMENTS.name, key=told.about.encode(), value=encode(told), partition=0)
    publish(producer(settings), [message])
