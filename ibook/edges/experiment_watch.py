"""Looks after the price experiment: adds up its settled slots, tells how it stands, ends an arm that loses money."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from ibook import metrics
from ibook.clock import Clock
from ibook.edges.lag import read_until
from ibook.edges.price_experiments import publish_experiment
from ibook.edges.price_snapshots import Snapshots
from ibook.edges.slot_log import SlotLog
from ibook.errors import IbookError
from ibook.experiment_figures import ArmReport, Tally, report, tally
from ibook.experiment_guard import figures_of, losing, may_judge
from ibook.experiments import ending, shares_of
from ibook.messages import ArmFigures, PriceExperiment
from ibook.settings import Settings
from ibook.slot_book import experiment_slots
from ibook.topics import QUOTE_JOURNAL

log = structlog.get_logger()

LOOK_SECONDS = 5.0
REMEMBERED = timedelta(days=7)
"""How far back a process looks that has just begun to."""
CLOSED_AFTER = timedelta(hours=1)
"""So long after a slot is settled, what is taken back still counts here; `ibook pricing report` counts it for ever."""
BY = "rewards-to-policies"


class ExperimentWatch:
    """One process has one; one thread at a time."""

    def __init__(self, settings: Settings, snapshots: Snapshots, clock: Clock) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._clock = clock
        self._grace = timedelta(seconds=settings.quote_grace_seconds)
        self._patience = timedelta(seconds=settings.price_experiment_patience_seconds)
        self._log: SlotLog | None = None
        self._closed, self._counts_from = Tally(), 0
        self._told: list[ArmFigures] = []
        self._problem = ""

    def task(self, ours: Callable[[], bool]) -> Callable[[], Awaitable[None]]:
        """What a worker does again and again, in a thread; it looks away while the experiment is not `ours`."""

        async def _look() -> None:
            if ours() and self._snapshots.loaded:
                await asyncio.to_thread(self.look_safely)
            elif not ours():
                self._begin_anew()

        return _look

    def look_safely(self) -> None:
        """Look; a failure is told, and the next look goes on: prices don't depend on it."""
        try:
            self.look()
            self._problem = ""
        except IbookError as error:
            if str(error) != self._problem:  # once, not every few seconds
                log.warning("the price experiment can't be looked at", error=str(error))
            self._problem = str(error)
        except Exception:  # whatever goes wrong here must not end the worker that learns prices
            log.exception("looking at the price experiment failed")
            self._begin_anew()

    def look(self) -> None:
        """Read on, tell the figures if they changed, end an arm that certainly loses. Raises BrokerUnavailable."""
        now, order = self._clock.now(), self._snapshots.experiment
        if order is not None and order.counts_from != self._counts_from:
            self._begin_anew()
            self._counts_from = order.counts_from
        if self._log is None:
            self._log = SlotLog(self._settings, now - REMEMBERED)
        whole = self._rewarded_until(now)
        book = self._log.read_on()
        closed = book.close(whole - CLOSED_AFTER, self._grace)
        self._closed = tally(experiment_slots(closed, self._counts_from), self._closed)
        total = tally(experiment_slots(book.settled(whole, self._grace), self._counts_from), self._closed)
        reports = report(total)
        self._tell(reports, self._log.since or now, now)
        standing = None if order else shares_of(self._settings)
        if may_judge(total, now=now, patience=self._patience, standing=standing):
            self._end_what_loses(reports, order, now)

    def _begin_anew(self) -> None:
        if self._log is not None:
            self._log.close()
        self._log, self._closed, self._told = None, Tally(), []

    def _tell(self, reports: list[ArmReport], since: datetime, now: datetime) -> None:
        order = self._snapshots.experiment
        figures = figures_of(reports, version=order.version if order else 0, since=since, now=now)
        if figures.arms == self._told:
            return
        publish_experiment(self._settings, figures)
        self._told = figures.arms
        for each in figures.arms:
            for which, value in (("value", each.uplift), ("low", each.low), ("high", each.high)):
                if value is not None:
                    metrics.EXPERIMENT_UPLIFT.labels(each.arm, which).set(value)

    def _end_what_loses(self, reports: list[ArmReport], order: PriceExperiment | None, now: datetime) -> None:
        standing = shares_of(self._settings)
        shares = order.shares if order else standing
        found = losing(reports, shares, loss=self._settings.price_experiment_loss)
        if found is None:
            return
        arm, why = found
        message = ending(order, standing, arm, now=now, by=BY, why=why)
        publish_experiment(self._settings, message)
        self._snapshots.experiment = message
        metrics.EXPERIMENT_ENDED.labels(arm).inc()
        log.warning("an arm of the price experiment was ended", arm=arm, why=why)

    def _rewarded_until(self, now: datetime) -> datetime:
        """A slot looks too good while the rewards worker has not read of those who did not buy."""
        return read_until(self._settings, "journal-to-rewards", QUOTE_JOURNAL, now)
