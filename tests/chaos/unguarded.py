"""Faust as its guide has it: counts keys in a table, and notes what it handled.

`python -m tests.chaos.unguarded NUMBER [guarded]`, one NUMBER for each worker of the group. `guarded` adds the one
guard that this is about (docs/adr/0004-quiesce-and-watchdog.md), and nothing else.
"""

import os
import sys
from typing import cast

import faust

from ibook.settings import load_settings
from streams.app import Stream, mark_ready, quiesce_after_rebalance

NAME, INPUT, HANDLED = "unguarded", "chaos-input", "chaos-handled"


def create(number: str, *, guarded: bool) -> faust.App:
    """One worker of the group."""
    settings = load_settings()
    app = faust.App(
        NAME,
        broker=f"aiokafka://{settings.kafka_bootstrap}",
        store="rocksdb://",
        datadir=str(settings.data_dir / f"{NAME}-{number}"),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        consumer_auto_offset_reset="earliest",
    )
    topic = app.topic(INPUT, key_serializer="raw", value_serializer="raw")
    handled = app.topic(HANDLED, key_serializer="raw", value_serializer="raw")
    counts = app.Table("counts", default=int, partitions=settings.partitions)

    @app.agent(topic, concurrency=1)
    async def count(stream: Stream) -> None:
        async for event in cast(faust.Stream[bytes], stream).noack().events():
            key, message = event.key.decode(), event.message
            counts[key] += 1
            place = f"{message.partition}:{message.offset}".encode()
            await (await handled.send(value=place))
            event.ack()

    if guarded:
        quiesce_after_rebalance(app)
    else:

        @app.on_rebalance_complete.connect(weak=False)
        async def _ready(sender: object, **_: object) -> None:
            mark_ready()

    return app


def main() -> None:
    """Run until told to stop."""
    app = create(sys.argv[1], guarded="guarded" in sys.argv)
    faust.Worker(app, loglevel="warn", redirect_stdouts=False, quiet=True).execute_from_commandline()
    os._exit(0)


if __name__ == "__main__":
    main()
