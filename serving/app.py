"""The price API: `create_app(settings)`, and what it is connected to while it lives."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.datastructures import State

from ibook.clock import Clock, SystemClock
from ibook.edges.kept_topics import KeptTopics
from ibook.edges.price_snapshots import SnapshotReader, Snapshots
from ibook.settings import Settings
from serving import health, page, quotes, scores
from serving.access import Access, KeysFile
from serving.degradation import Fault, Watch, degraded
from serving.description import describe
from serving.desk import PriceDesk
from serving.docs import add_docs
from serving.journal import Journal, KafkaJournal
from serving.limits import BodyLimit
from serving.problems import add_problems
from serving.sales import Sales
from serving.score_desk import ScoreDesk
from serving.score_parts import ScoreParts
from serving.short_way import ShortWay

NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False)
"""`/metrics` and our own log say it all; FastAPI's would look at every request for somebody who listens."""


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    snapshots: Snapshots | None = None,
    journal: Journal | None = None,
    score_desk: ScoreDesk | None = None,
    sales: Sales | None = None,
) -> FastAPI:
    """The API. What is not given is connected to Kafka while the app lives; nothing is opened before.

    Without a file of keys everything is allowed. Raises ConfigurationError when that file can't be read.
    """
    clock = clock or SystemClock()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # The journal first: it finds out whether another process has these files.
            quotes_to = journal if journal is not None else _open_journal(settings, clock, stack)
            known = snapshots if snapshots is not None else _follow(settings, clock, stack)
            app.state.desk = PriceDesk(settings=settings, snapshots=known, journal=quotes_to, clock=clock)
            app.state.sales = sales or Sales(settings)
            stack.callback(app.state.sales.stop)
            app.state.scores = await stack.enter_async_context(ScoreParts(settings, clock, score_desk))
            app.state.watch = Watch(partial(_degraded, app.state))
            yield

    app = FastAPI(
        title="ibook prices", version="1", lifespan=lifespan, docs_url=None, redoc_url=None, telemetry=NO_TELEMETRY
    )  # fmt: skip
    app.state.settings, app.state.clock = settings, clock
    app.include_router(quotes.router)
    if settings.scores != "off":
        app.include_router(scores.router)
    app.include_router(page.router)
    app.include_router(health.router)
    add_docs(app)
    _protect(app, settings)
    describe(app)
    return app


def _degraded(state: State) -> dict[Fault, str]:
    return degraded(state.desk, state.scores.problem, state.keys)


def _protect(app: FastAPI, settings: Settings) -> None:
    """Put before the routes what refuses: keys first, then what a body may weigh.

    Between the two stands the short way, which reads short bodies alone; what is added last comes first.
    """
    app.state.keys = KeysFile(settings.api_keys_file) if settings.api_keys_file else None
    add_problems(app)
    app.add_middleware(BodyLimit, larger={scores.PATH: scores.MAX_SCORE_BODY_BYTES})
    app.add_middleware(ShortWay)
    if app.state.keys is not None:
        app.add_middleware(Access, keys=app.state.keys, per_second=settings.api_requests_per_second)


def _follow(settings: Settings, clock: Clock, stack: AsyncExitStack) -> Snapshots:
    snapshots = Snapshots()
    path = settings.data_dir / "serving" / f"known-{settings.worker_name}.db"
    reader = SnapshotReader(settings, snapshots, kept=KeptTopics(path, settings.partitions, clock))
    reader.start()
    stack.callback(reader.stop)
    return snapshots


def _open_journal(settings: Settings, clock: Clock, stack: AsyncExitStack) -> Journal:
    journal = KafkaJournal(settings, clock)
    journal.start()
    stack.callback(journal.stop)
    return journal
