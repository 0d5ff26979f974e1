"""`POST /v1/quotes` and `GET /v1/events/{event_id}/price`: the slot's price, from memory."""

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ibook import metrics
from serving.access import asked_by
from serving.desk import PriceDesk
from serving.schemas import EventPrices, Problem, QuoteRequest, QuoteResponse

router = APIRouter(prefix="/v1", tags=["prices"])

_PROBLEMS: dict[int | str, dict[str, object]] = {code: {"model": Problem} for code in (404, 410, 413, 422, 503)}


# An event id may hold a slash.
@router.get(
    "/events/{event_id:path}/price", response_model=EventPrices, responses=_PROBLEMS,
    summary="Current prices of an event, for lists",
)  # fmt: skip
async def get_price(
    request: Request,
    event_id: Annotated[str, Path(min_length=1, max_length=128)],
    ticket_type: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
) -> Response:
    """The slot's price per ticket type: the same for every buyer until the slot ends. No offer is counted."""
    desk: PriceDesk = request.app.state.desk
    return Response(desk.prices(event_id, ticket_type), media_type="application/json")


@router.post("/quotes", response_model=QuoteResponse, responses=_PROBLEMS, summary="A signed price to show to a buyer")
async def post_quote(request: Request, body: QuoteRequest) -> Response:
    """Ask for it when a price is shown, not when the buyer has decided: every shown price is an offer."""
    desk: PriceDesk = request.app.state.desk
    return Response(quoted(desk, body, asked_by(request.scope)), media_type="application/json")


def quoted(desk: PriceDesk, body: QuoteRequest, key_id: str) -> bytes:
    """The answer to a request for a quote by the API key of this id. Raises HTTPException 404, 410 or 503."""
    began = time.perf_counter()
    answer = desk.quote(body, key_id)
    metrics.QUOTE_SECONDS.observe(time.perf_counter() - began)
    return answer
