"""Whether the process lives, has started, and is ready; what is worse than usual; and its metrics."""

from datetime import datetime

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import State
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ibook.price_controls import control_in_force, oldest_in_force
from ibook.pricing import slot_of
from serving.access import KeysFile
from serving.desk import PriceDesk
from serving.schemas import Health, Readiness
from serving.slot_prices import is_over

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
    snapshots, now = desk.snapshots, desk.clock.now()
    ordered = _ordered(desk, now)
    on_sale = [key for key, listing in list(snapshots.listings.items()) if not is_over(listing, now)]
    policies = [policy for event_id in on_sale if (policy := snapshots.policies.get(event_id))]
    without = len(on_sale) - len(policies)
    oldest = oldest_in_force(slot_of(now, desk.rules.slot_seconds), desk.rules)
    outdated = sum(policy.occurred_at < oldest for policy in policies)
    other_slots = sum(policy.slot_seconds != desk.rules.slot_seconds for policy in policies)
    return [
        snapshots.problem,
        "No event is listed: there is nothing to price." if snapshots.loaded and not snapshots.listings else "",
        desk.journal.problem(),
        scores_problem,
        keys.problem if keys else "",
        f"No price policy for {without} of {len(on_sale)} events: list prices." if without else "",
        f"The price policies of {outdated} events are too old: prices by rule." if outdated else "",
        f"The price policies of {other_slots} events are for slots of another length (IBOOK_SLOT_SECONDS): list prices."
        if other_slots
        else "",
        f"Prices of {ordered} are as ordered: `ibook pricing status`." if ordered else "",
    ]


def _ordered(desk: PriceDesk, now: datetime) -> str:
    """Whose prices people have frozen or rolled back, in words; empty when nobody's are."""
    controls = desk.snapshots.controls
    in_force = [key for key in list(controls) if control_in_force(controls, key, now) is controls.get(key)]
    return "all events" if "" in in_force else f"{len(in_force)} events" if in_force else ""
