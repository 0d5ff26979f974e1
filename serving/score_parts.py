"""Gets ready to score in the background: store, model and their libraries take seconds, and prices must not wait."""

import asyncio
import gc
import threading
from typing import Literal

import structlog

from ibook.clock import Clock
from ibook.edges.champion import Champion
from ibook.edges.policy_in_force import PolicyInForce
from ibook.settings import Settings
from serving.score_desk import ScoreDesk

log = structlog.get_logger()

MODEL_WAIT_SECONDS = 30.0
"""How long the first model is waited for; without one, or without Kafka, rules decide."""
RETRY_SECONDS = 5.0

State = Literal["off", "not asked for", "getting ready", "ready"]


class ScoreParts:
    """The desk, once it can answer. Everything on the event loop; an async context manager."""

    def __init__(self, settings: Settings, clock: Clock, desk: ScoreDesk | None = None) -> None:
        """`desk` is one that is ready, for those who have one."""
        self._settings = settings
        self._clock = clock
        self._desk = desk
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = threading.Event()
        self._champion: Champion | None = None
        self._policies: PolicyInForce | None = None
        self.problem = ""
        """Why it does not get ready, in a sentence."""

    async def __aenter__(self) -> "ScoreParts":
        """Begin at once where settings say so."""
        if self._desk is not None:
            self._tasks = [asyncio.create_task(self._desk.run())]
        elif self._settings.scores == "start":
            self.desk()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; a library that is being imported is left to it."""
        self._stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._champion is not None:
            await asyncio.to_thread(self._champion.close)
        if self._policies is not None:
            await asyncio.to_thread(self._policies.close)

    @property
    def state(self) -> State:
        """How far it is."""
        if self._settings.scores == "off":
            return "off"
        if self._desk is not None:
            return "ready"
        return "getting ready" if self._tasks else "not asked for"

    def desk(self) -> ScoreDesk | None:
        """The desk; None while it is made ready, which begins with the first question."""
        if self._desk is None and not self._tasks:
            self._tasks = [asyncio.create_task(self._prepare())]
        return self._desk

    async def _prepare(self) -> None:
        while True:
            try:
                desk = await self._made()
                break
            except Exception as error:  # whatever it is, prices go on, and it may pass
                self.problem = f"Scores can't be made ready: {error}"
                log.exception("scores can't be made ready")
                await asyncio.sleep(RETRY_SECONDS)
        self._desk, self.problem = desk, ""
        log.info("scores are ready")
        await desk.run()

    async def _made(self) -> ScoreDesk:
        """Made in a thread that nobody has to wait for at the end: imports can't be interrupted."""
        loop = asyncio.get_running_loop()
        made: asyncio.Future[ScoreDesk] = loop.create_future()

        def make() -> None:
            try:
                desk = self._make()
            except Exception as error:
                _tell(loop, made, error)
            else:
                _tell(loop, made, desk)

        threading.Thread(target=make, name="scores-prepare", daemon=True).start()
        return await made

    def _make(self) -> ScoreDesk:
        from ibook.edges.feature_reader import FeatureReader
        from ibook.edges.online_store import OnlineStore
        from ibook.edges.scoring import Scorer

        settings = self._settings
        reader = FeatureReader(OnlineStore(settings), settings.partitions, settings.feature_read_seconds, self._clock)
        self._policies = policies = PolicyInForce.follow(settings)
        self._champion = champion = Champion.follow(settings, "serving", policies.report)
        waited = 0.0
        while (
            waited < MODEL_WAIT_SECONDS and not self._stop.is_set() and not (champion.wait(0.5) and policies.wait(0.5))
        ):
            waited += 0.5
        gc.freeze()  # what was imported stays: the collector need not walk it while requests wait
        return ScoreDesk(reader, Scorer(settings, champion, policies, self._clock, is_asked=True), self._clock)


def _tell(loop: asyncio.AbstractEventLoop, made: "asyncio.Future[ScoreDesk]", outcome: ScoreDesk | Exception) -> None:
    def tell() -> None:
        if made.done():  # cancelled meanwhile
            return
        if isinstance(outcome, Exception):
            made.set_exception(outcome)
        else:
            made.set_result(outcome)

    if not loop.is_closed():
        loop.call_soon_threadsafe(tell)
