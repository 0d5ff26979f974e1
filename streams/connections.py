"""aiokafka's connections under uvloop: one that breaks must look like every other broken connection.

uvloop refuses to write to a transport that has just been closed with a RuntimeError, where asyncio would take the
bytes and drop them; aiokafka expects an OSError only (aio-libs/aiokafka, issue 1038). In the instant between a
broker's death and the end of the reader's task, that RuntimeError ended the task that keeps a client's metadata
current. Nobody looks at that task: the consumer never found its coordinator again, and a commit waited for ever.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError

_send = AIOKafkaConnection.send


def mend_connections() -> None:
    """Make a write to a closed transport the KafkaConnectionError that aiokafka handles; safe to repeat."""
    AIOKafkaConnection.send = _send_or_close


def _send_or_close(connection: Any, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(connection, request, expect_response)
    except KafkaError:  # these are RuntimeErrors too
        raise
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} broken: {error}") from error
