"""Decides the rows of all waiting requests together: one read of the store, one score, a chunk at a time.

A large request takes turns with the others, and the event loop only waits: prices go on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

import structlog

from ibook import metrics
from ibook.clock import Clock, to_us
from ibook.edges.feature_reader import FeatureReader, Reading
from ibook.edges.scoring import Scorer
from ibook.errors import FeatureUnavailable
from serving.score_chunk import Chunk, Piece, Wanted, chunk_of, decide
from serving.score_request import Asking, Decided

log = structlog.get_logger()

CHUNK_ROWS = 64
"""Decided together: some 50 ms of one core, and no deadline is overrun by more."""
MAX_WAITING_ROWS = 4_000
"""More would wait for seconds; whoever asks then is told to come back."""
LEAST_READ_SECONDS = 0.005
"""What the store gets of a deadline that is nearly over: one that is well answers in less."""
SPARE_SHARE = 0.25
"""Kept of every deadline for the way back, and for a machine that is busy."""
FIRST_ROW_SECONDS = 0.001
"""What a row is taken to cost until some were measured."""

Result = TypeVar("Result")


class Busy(Exception):
    """More rows wait than can be answered soon."""


class ScoreDesk:
    """Takes requests on the event loop, and decides them in a thread of its own while `run` runs."""

    def __init__(self, reader: FeatureReader, scorer: Scorer, clock: Clock) -> None:
        self._reader = reader
        self._scorer = scorer
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scores")
        self._waiting: deque[Asking] = deque()
        self._arrived = asyncio.Event()
        self._reading = asyncio.Lock()
        self._row_seconds = FIRST_ROW_SECONDS

    async def ask(self, rows: Sequence[bytes], seconds: float, received_at: datetime) -> Asking:
        """Have rows decided, for so long; what has no answer then stays without. Raises Busy."""
        if sum(each.left for each in self._waiting) + len(rows) > MAX_WAITING_ROWS:
            raise Busy
        asking = Asking(rows, asyncio.get_running_loop().time(), seconds, received_at)
        self._waiting.append(asking)
        self._arrived.set()
        try:
            async with asyncio.timeout_at(asking.deadline):
                await asking.finished.wait()
        except TimeoutError:
            if asking in self._waiting:
                self._waiting.remove(asking)
        return asking

    async def run(self) -> None:
        """Decide what waits, until cancelled."""
        while True:
            await self._arrived.wait()
            turns = self._turns()
            if not turns:
                self._arrived.clear()
                continue
            try:
                await self._decide(await self._in_thread(lambda: chunk_of(turns, to_us(self._clock.now()))))  # noqa: B023
            except Exception as error:  # a bug, and no reason to leave everybody else without an answer
                log.exception("scores failed")
                for asking, _ in turns:
                    asking.fail(error)
            for asking, _ in turns:
                asking.settle()

    def _turns(self) -> list[tuple[Asking, int]]:
        """Whose turn it is, and with how many rows; whoever has more waits again behind the others."""
        turns, again, room = [], [], CHUNK_ROWS
        while self._waiting and room:
            asking = self._waiting.popleft()
            n_rows = min(room, asking.left)
            turns.append((asking, n_rows))
            room -= n_rows
            if asking.left > n_rows:
                again.append(asking)
        self._waiting.extend(again)
        return turns

    async def _decide(self, chunk: Chunk) -> None:
        read = asyncio.create_task(self._read(chunk.wanted))
        loop, takes = asyncio.get_running_loop(), chunk.n_rows * self._row_seconds
        pieces = sorted(chunk.pieces, key=_waits_until)
        while pieces and not read.done():
            left = _waits_until(pieces[0]) - takes - loop.time()
            await asyncio.wait({read}, timeout=max(LEAST_READ_SECONDS, left))
            if not read.done():  # who is pressed most can't wait for the store any longer
                await self._answer(chunk._replace(pieces=[pieces.pop(0)]), None)
        if pieces:
            await self._answer(chunk._replace(pieces=pieces), await read)

    async def _read(self, wanted: Wanted) -> Reading | None:
        """What the store holds; None when it does not answer."""
        async with self._reading:  # one at a time: the one before may have been given up by those who asked for it
            try:
                reading = await self._reader.read(wanted)
            except FeatureUnavailable:
                return None
            self._reader.recovered()
            return reading

    async def _answer(self, chunk: Chunk, reading: Reading | None) -> None:
        if not chunk.n_rows:
            return
        loop = asyncio.get_running_loop()
        began, now_us = loop.time(), to_us(self._clock.now())
        batch, owners = await self._in_thread(lambda: decide(chunk, reading, self._scorer, now_us))
        self._row_seconds += 0.1 * ((loop.time() - began) / chunk.n_rows - self._row_seconds)
        for (asking, place), scored in zip(owners, batch.scored, strict=True):
            asking.answer(place, Decided(scored, batch.about))
            metrics.SCORES.labels(scored.decision.action, batch.about.posture).inc()
        for asking, _ in chunk.pieces:
            asking.settle()

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _waits_until(piece: Piece) -> float:
    """Until when a request can wait for the store, but for the time that deciding takes."""
    return piece.asking.deadline - SPARE_SHARE * piece.asking.seconds
