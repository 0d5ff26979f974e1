"""Whether the process lives, has started, and is ready; what is worse than usual; and its metrics."""

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import State
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serving.degradation import tell
from serving.desk import PriceDesk
from serving.schemas import Health, Readiness

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Health:
    """The process is alive."""
    return Health()


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def readyz(request: Request) -> Response:
    """200 when an event is listed, and so prices can be given; says what is worse than usual."""
    readiness = _readiness(request.app.state)
    return JSONResponse(readiness.model_dump(), status_code=200 if readiness.status == "ready" else 503)


@router.get("/startupz", response_model=Readiness, responses={503: {"model": Readiness}})
async def startupz(request: Request) -> Response:
    """200 when what Kafka has was read, or what was kept of it, even if no event is listed: the start is over."""
    state = request.app.state
    return JSONResponse(_readiness(state).model_dump(), status_code=200 if state.desk.snapshots.begun else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    tell(request.app.state.watch.faults())
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _readiness(state: State) -> Readiness:
    desk: PriceDesk = state.desk
    snapshots = desk.snapshots
    return Readiness(
        status="ready" if snapshots.begun and snapshots.listings else "not ready",
        listings=len(snapshots.listings),
        policies=len(snapshots.policies),
        journal_waiting=desk.journal.waiting(),
        scores=state.scores.state,
        degraded=list(state.watch.faults().values()),
    )
