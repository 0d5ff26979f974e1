"""How long a consumer lets the broker gather messages before it is answered, and which messages it is shown.

aiokafka asks for one byte, so every message of a steady stream is a fetch of its own: a request to the broker, and a
hop between threads that costs more than reading the message. Faust has no setting for it, nor for the isolation
level. The classes below only hand three of aiokafka's own options through, and hand messages over at once; where they
lean on private parts, `tests/integration/test_publish.py` fails when those move.
"""

from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, AppT
from faust.types.transports import TransportT
from mode.services import WaitResults
from yarl import URL


@dataclass(frozen=True)
class Patience:
    """The broker answers with `min_bytes`, or with what there is after `wait_seconds`."""

    min_bytes: int
    wait_seconds: float


RELAXED = Patience(min_bytes=256 << 10, wait_seconds=0.04)
"""Where tenths of a second count: features, prices."""
PROMPT = Patience(min_bytes=16 << 10, wait_seconds=0.01)
"""Where milliseconds count: a verdict waits this long at most, and what waited together is decided together."""


def patient_transport(app: AppT, urls: list[URL], patience: Patience) -> TransportT:
    """Faust's aiokafka transport, with this patience."""

    class _Thread(AIOKafkaConsumerThread):
        def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
            consumer = super()._create_worker_consumer(transport)
            consumer._isolation_level = "read_committed"  # a shop may publish in transactions, and abort them
            consumer._fetch_min_bytes = patience.min_bytes
            consumer._fetch_max_wait_ms = int(patience.wait_seconds * 1000)
            return consumer

        def verify_event_path(self, now: float, tp: TP) -> None:
            # Faust's own goes on to ask the monitor that `create_app` takes out: five minutes after a start it told
            # of a hanging agent for every partition that was not at its end.
            self._verify_aiokafka_event_path(now, tp)

    class _Consumer(Consumer):
        def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
            return _Thread(self, loop=self.loop, beacon=self.beacon)

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
