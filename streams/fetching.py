"""How often a consumer asks the broker for messages, and which messages it is shown.

aiokafka asks again at once, so every message of a steady stream is a fetch of its own: a request to the broker, and a
hop between threads that costs more than reading the message. So a consumer pauses between two fetches, and one takes
what came meanwhile; where nothing comes the broker holds the fetch, which costs next to nothing. Faust has no setting
for it, nor for the isolation level. What is below hands aiokafka's own options through, lets fetches wait for their
turn, and hands messages over at once; where it leans on private parts, `tests/integration/test_publish.py` fails when
those move.
"""

import asyncio
import time
from collections.abc import Container, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, AppT
from faust.types.transports import TransportT
from mode.services import WaitResults
from yarl import URL

GATHERING_SECONDS = 0.08
"""The pause of the feature workers: what a fetch brings is a batch, and a batch costs as much as ten messages."""
RELAXED_SECONDS = 0.04
"""The pause where tenths of a second count: prices."""
PROMPT_SECONDS = 0.01
"""Where milliseconds count: a verdict waits this long at most, and what waited together is decided together."""
HELD_SECONDS = 0.25
"""Longest that the broker holds a fetch while nothing comes.

Not longer: a partition that is resumed meanwhile waits for it, and so does what else is asked on the same connection.
"""


class Turns:
    """When the next fetch is due, per broker: a pause after the last one was answered."""

    def __init__(self, pause_seconds: float) -> None:
        self._pause = pause_seconds
        self._answered: dict[int, float] = {}

    def wait_seconds(self, broker: int, now: float) -> float:
        """How long a fetch from this broker has yet to wait; 0 when it is due. `now` is a monotonic time in seconds."""
        return max(0.0, self._answered.get(broker, now - self._pause) + self._pause - now)

    def answered(self, broker: int, now: float) -> None:
        """A fetch has ended, well or not."""
        self._answered[broker] = now


def fetch_in_turn(client: AIOKafkaClient, pause_seconds: float) -> None:
    """Let the fetches of this client wait for their turn; whatever else it sends goes at once."""
    turns, send = Turns(pause_seconds), client.send

    async def _send(node_id: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            return await send(node_id, request, **options)
        await asyncio.sleep(turns.wait_seconds(node_id, time.monotonic()))
        try:
            return await send(node_id, request, **options)
        finally:
            turns.answered(node_id, time.monotonic())

    client.send = _send


async def seek_to_committed(consumer: AIOKafkaConsumer, but_not: Container[str]) -> Mapping[TP, int | None]:
    """Seek to what was committed, and to the beginning where nothing was yet; returns what was committed.

    aiokafka leaves a partition without a committed offset where it is: what was fetched of it and dropped, because
    partitions moved, would be lost. `but_not` are topics whose positions are no business of the group's offsets.
    """
    committed: dict[TP, int | None] = await consumer.seek_to_committed()
    unread = [tp for tp, offset in committed.items() if not offset and tp.topic not in but_not]
    if unread:
        await consumer.seek_to_beginning(*unread)
    return committed


def patient_transport(app: AppT, urls: list[URL], pause_seconds: float) -> TransportT:
    """Faust's aiokafka transport, whose consumers pause so long between two fetches."""

    class _Thread(AIOKafkaConsumerThread):
        def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
            consumer = super()._create_worker_consumer(transport)
            consumer._isolation_level = "read_committed"  # a shop may publish in transactions, and abort them
            consumer._fetch_max_wait_ms = int(HELD_SECONDS * 1000)
            fetch_in_turn(consumer._client, pause_seconds)
            return consumer

        async def seek_to_committed(self) -> Mapping[TP, int]:
            consumer, changelogs = self._ensure_consumer(), self.app.tables.changelog_topics
            return dict(await self.call_thread(seek_to_committed, consumer, changelogs))

        def verify_event_path(self, now: float, tp: TP) -> None:
            # Faust's own goes on to ask the monitor that `create_app` takes out: five minutes after a start it told
            # of a hanging agent for every partition that was not at its end.
            self._verify_aiokafka_event_path(now, tp)

    class _Consumer(Consumer):
        def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
            return _Thread(self, loop=self.loop, beacon=self.beacon)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._at_rest = asyncio.Event()
            self._at_rest.set()

        async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
            self._at_rest.clear()
            try:
                return await super()._getmany(active_partitions, timeout)
            finally:
                self._at_rest.set()

        async def wait_for_stopped_flow(self) -> None:
            """Wait until no fetch is under way that was asked for before the flow was stopped.

            Faust's own waits for nothing: its flag is never lowered. What such a fetch brings is held against the
            partitions of the former assignment, and dropped when the flow goes on meanwhile.
            """
            await self._at_rest.wait()

        async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:
            """Hand a message over, unless the flow is stopped first: how Faust asks, for every single one.

            It takes four tasks and some 100 µs to wait for whatever comes first. Where the message's queue has room
            there is nothing to wait for.
            """
            if timeout is not None or len(coros) != 2 or not self._can_deliver():
                return await super().wait_first(*coros, timeout=timeout)
            delivery, flow_stopped = coros
            flow_stopped.close()
            return WaitResults([delivery], [await delivery], stopped=False)

        def _can_deliver(self) -> bool:
            flow = self.app.flow_control
            return flow.is_active() and not self.suspend_flow.is_set() and not any(q.full() for q in flow._queues)

    class _Transport(Transport):
        Consumer = _Consumer

    return _Transport(urls, app)
