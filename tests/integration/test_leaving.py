"""Parts of a Kafka client that end are noticed, on real Kafka: nothing of Faust or aiokafka looks at them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES
from streams.leaving import what_ended

Breaks = Callable[[Any, Any], object]
PARTS: dict[str, Breaks] = {
    "membership of the group": lambda consumer, _: consumer._coordinator._coordination_task.cancel(),
    "brokers of the consumer": lambda consumer, _: consumer._client._sync_task.cancel(),
    "brokers of the producer": lambda _, producer: producer.client._sync_task.cancel(),
    "KafkaError('nobody looks')": lambda consumer, _: setattr(
        consumer._coordinator, "_pending_exception", KafkaError("nobody looks")
    ),
}


@pytest.fixture
async def clients(platform_settings: Settings) -> AsyncIterator[tuple[AIOKafkaConsumer, AIOKafkaProducer]]:
    consumer = AIOKafkaConsumer(
        TICKET_PURCHASES.name, bootstrap_servers=platform_settings.kafka_bootstrap, group_id="leaving"
    )
    producer = AIOKafkaProducer(bootstrap_servers=platform_settings.kafka_bootstrap)
    await consumer.start()
    await producer.start()
    yield consumer, producer
    await producer.stop()
    await consumer.stop()


@pytest.mark.parametrize("part", PARTS)
async def test_a_part_of_the_client_that_ended_is_named(
    clients: tuple[AIOKafkaConsumer, AIOKafkaProducer], part: str
) -> None:
    consumer, producer = clients
    app = SimpleNamespace(
        _consumer=SimpleNamespace(_thread=SimpleNamespace(_consumer=consumer)),
        _producer=SimpleNamespace(_producer=producer),
    )
    assert what_ended(app) == ""
    PARTS[part](consumer, producer)
    tasks = (consumer._coordinator._coordination_task, consumer._client._sync_task, producer.client._sync_task)
    if any(task.cancelling() for task in tasks):
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert what_ended(app) == part


def test_clients_that_are_not_there_yet_have_not_ended() -> None:
    assert what_ended(SimpleNamespace(_consumer=None, _producer=None)) == ""
