"""The price API: `create_app(settings)`, its life, its health."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from ibook.clock import Clock, SystemClock
from ibook.edges.price_snapshots import SnapshotReader, Snapshots
from ibook.settings import Settings
from serving import scores
from serving.docs import add_docs
from serving.journal import Journal, KafkaJournal
from serving.limits import BodyLimit
from serving.quotes import PriceDesk, router
from serving.schemas import Health, Readiness
from serving.score_desk import ScoreDesk
from serving.score_parts import ScoreParts


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    snapshots: Snapshots | None = None,
    journal: Journal | None = None,
    score_desk: ScoreDesk | None = None,
) -> FastAPI:
    """The API. What is not given is connected to Kafka while the app lives; nothing is opened before."""
    clock = clock or SystemClock()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.desk = PriceDesk(
                settings=settings,
                snapshots=snapshots if snapshots is not None else _follow(settings, stack),
                journal=journal if journal is not None else _open_journal(settings, stack),
                clock=clock,
            )
            app.state.scores = await stack.enter_async_context(ScoreParts(settings, clock, score_desk))
            yield

    app = FastAPI(title="ibook prices", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.settings, app.state.clock = settings, clock
    app.include_router(router)
    if settings.scores != "off":
        app.include_router(scores.router)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_middleware(BodyLimit, larger={scores.PATH: scores.MAX_SCORE_BODY_BYTES})
    _add_health(app)
    add_docs(app)
    return app


def _follow(settings: Settings, stack: AsyncExitStack) -> Snapshots:
    snapshots = Snapshots()
    reader = SnapshotReader(settings, snapshots)
    reader.start()
    stack.callback(reader.stop)
    return snapshots


def _open_journal(settings: Settings, stack: AsyncExitStack) -> Journal:
    journal = KafkaJournal(settings)
    journal.start()
    stack.callback(journal.stop)
    return journal


async def _refuse(_: Request, error: Exception) -> Response:
    """422 with where and why. FastAPI's own answer repeats the input, and fails on NaN and lone surrogates."""
    assert isinstance(error, RequestValidationError)
    problems = [{"loc": each["loc"], "msg": each["msg"], "type": each["type"]} for each in error.errors()]
    return JSONResponse({"detail": problems}, status_code=422)


def _add_health(app: FastAPI) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> Health:
        """The process is alive."""
        return Health()

    @app.get("/readyz", tags=["health"], response_model=Readiness, responses={503: {"model": Readiness}})
    async def readyz(request: Request) -> Response:
        """200 when an event is listed, and so prices can be given; says what is worse than usual."""
        readiness = _readiness(request.app.state.desk, request.app.state.scores)
        return JSONResponse(readiness.model_dump(), status_code=200 if readiness.status == "ready" else 503)

    @app.get("/startupz", tags=["health"], response_model=Readiness, responses={503: {"model": Readiness}})
    async def startupz(request: Request) -> Response:
        """200 when all that Kafka has was read, even if no event is listed yet: the start is over."""
        desk: PriceDesk = request.app.state.desk
        readiness = _readiness(desk, request.app.state.scores)
        return JSONResponse(readiness.model_dump(), status_code=200 if desk.snapshots.loaded else 503)

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _readiness(desk: PriceDesk, parts: ScoreParts) -> Readiness:
    snapshots = desk.snapshots
    without_policy = sum(event_id not in snapshots.policies for event_id in list(snapshots.listings))
    nothing = "No event is listed: there is nothing to price." if snapshots.loaded and not snapshots.listings else ""
    degraded = [problem for problem in (snapshots.problem, nothing, desk.journal.problem(), parts.problem) if problem]
    if without_policy:
        degraded.append(f"No price policy for {without_policy} of {len(snapshots.listings)} events: list prices.")
    return Readiness(
        status="ready" if snapshots.loaded and snapshots.listings else "not ready",
        listings=len(snapshots.listings),
        policies=len(snapshots.policies),
        journal_waiting=desk.journal.waiting(),
        scores=parts.state,
        degraded=degraded,
    )
