"""Counts keys in a table and notes what it handled, twice: as Faust's guide has it, and with the guards of ours.

`python -m tests.chaos.unguarded NUMBER` (plain) or `NUMBER guarded`, one NUMBER for each worker of the group.
"""

import os
import sys
from collections.abc import Sequence
from typing import cast

import faust

from ibook.settings import Settings, load_settings
from streams.app import Event, Stream, create_app, mark_ready, raw_topic
from streams.batches import acknowledge, each_batch, is_ours
from streams.publish import Record, publish
from streams.state_table import StateTable

NAME, INPUT, HANDLED, TABLE = "unguarded", "chaos-input", "chaos-handled", "counts"


def plain(settings: Settings, number: str) -> faust.App:
    """What the user guide leads to, with the settings that design and operation ask of anybody."""
    app = faust.App(
        NAME,
        broker=f"aiokafka://{settings.kafka_bootstrap}",
        store="rocksdb://",
        datadir=str(settings.data_dir / f"{NAME}-{number}"),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=2.0,
        consumer_auto_offset_reset="earliest",
    )
    handled = app.topic(HANDLED, key_serializer="raw", value_serializer="raw")
    counts = app.Table(TABLE, default=int, partitions=settings.partitions)

    @app.agent(raw_topic(app, INPUT), concurrency=1)
    async def count(stream: Stream) -> None:
        async for event in cast(faust.Stream[bytes], stream).noack().events():
            counts[cast(bytes, event.key).decode()] += 1
            await (await handled.send(value=place(event)))
            event.ack()

    @app.on_rebalance_complete.connect(weak=False)
    async def _ready(sender: object, **_: object) -> None:
        mark_ready()

    return app


def guarded(settings: Settings) -> faust.App:
    """The same work by our own parts."""
    app = create_app(NAME, settings)
    table = StateTable(app, TABLE, settings.partitions)

    async def _handle(batch: Sequence[Event]) -> None:
        for event in filter(is_ours, batch):
            key, partition = cast(bytes, event.key), event.message.partition
            await table.write(partition, {key: str(int(table.get(partition, key) or b"0") + 1).encode()})
            await publish(app, HANDLED, 0, [Record(None, place(event))])
            acknowledge([event])

    @app.agent(raw_topic(app, INPUT), concurrency=1)
    async def count(stream: Stream) -> None:
        await each_batch(stream, _handle)

    return app


def place(event: Event) -> bytes:
    """Where the message lies."""
    return f"{event.message.partition}:{event.message.offset}".encode()


def main(number: str, *options: str) -> None:
    """Run until told to stop."""
    settings = load_settings()
    app = guarded(settings) if "guarded" in options else plain(settings, number)
    faust.Worker(app, loglevel="warn", redirect_stdouts=False, quiet=True).execute_from_commandline()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
