"""Whether the process lives, has started, and is ready; what is worse than usual; and its metrics."""

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import State
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serving.access import KeysFile
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
    """200 when all that Kafka has was read, even if no event is listed yet: the start is over."""
    state = request.app.state
    return JSONResponse(_readiness(state).model_dump(), status_code=200 if state.desk.snapshots.loaded else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics() -> Response:
    """For Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _readiness(state: State) -> Readiness:
    desk: PriceDesk = state.desk
    snapshots = desk.snapshots
    return Readiness(
        status="ready" if snapshots.loaded and snapshots.listings else "not ready",
        listings=len(snapshots.listings),
        policies=len(snapshots.policies),
        journal_waiting=desk.journal.waiting(),
        scores=state.scores.state,
        degraded=[sentence for sentence in _degraded(desk, state.scores.problem, state.keys) if sentence],
    )


def _degraded(desk: PriceDesk, scores_problem: str, keys: KeysFile | None) -> list[str]:
    """What is worse than usual, in sentences; empty ones for what is not."""
    snapshots = desk.snapshots
    outdated, ordered = desk.outdated(), desk.ordered()
    on_sale = desk.on_sale()
    without = sum(event_id not in snapshots.policies for event_id in on_sale)
    return [
        snapshots.problem,
        "No event is listed: there is nothing to price." if snapshots.loaded and not snapshots.listings else "",
        desk.journal.problem(),
        scores_problem,
        keys.problem if keys else "",
        f"No price policy for {without} of {len(on_sale)} events: list prices." if without else "",
        f"The price policies of {outdated} events are too old: prices by rule." if outdated else "",
        f"Prices of {ordered} are as ordered: `ibook pricing status`." if ordered else "",
    ]
