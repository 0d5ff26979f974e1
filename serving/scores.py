"""`POST /v1/fraud/scores`: verdicts in the answer, for callers who can't wait for a topic."""

import asyncio

import msgspec
from fastapi import APIRouter, HTTPException, Request
from msgspec import structs
from starlette.responses import Response

from ibook import metrics
from ibook.errors import InvalidMessage
from ibook.features import FEATURE_NAMES
from ibook.settings import Settings
from ibook.verdicts import evidence_of, verdict_of
from serving.schemas import Problem
from serving.score_desk import Busy, ScoreDesk
from serving.score_parts import ScoreParts
from serving.score_request import Answer, Asking, Decided
from serving.score_schemas import (
    MAX_ROWS,
    Explanation,
    Reason,
    RowFault,
    Score,
    ScoreBody,
    Scores,
    Unscored,
    openapi_body,
)

PATH = "/v1/fraud/scores"
MAX_SCORE_BODY_BYTES = 1 << 20
"""500 purchases of 2 KiB; an honest one has half a KiB."""
READY_SECONDS, BUSY_SECONDS = 5, 1
"""When to come back."""

_decoder = msgspec.json.Decoder(ScoreBody)
_PROBLEMS: dict[int | str, dict[str, object]] = {code: {"model": Problem} for code in (413, 422, 503)}

router = APIRouter(tags=["fraud"])


@router.post(
    PATH, response_model=Scores, responses=_PROBLEMS, openapi_extra=openapi_body(),
    summary="Verdicts of 1 to 500 purchases, in the answer",
)  # fmt: skip
async def post_scores(request: Request) -> Response:
    """The verdicts that the stream would give to these purchases, in their order, by the same features and rules.

    Nothing is published and nothing is remembered: publish a purchase all the same, after it was scored. `503` with
    `Retry-After` while model and store are made ready, or when too much waits.
    """
    loop = asyncio.get_running_loop()
    began, received_at = loop.time(), request.app.state.clock.now()
    settings: Settings = request.app.state.settings
    desk = _desk(request.app.state.scores)
    body = read_body(await request.body())
    seconds = settings.score_deadline_seconds if body.deadline_ms is None else body.deadline_ms / 1000
    left = began + min(seconds, settings.score_longest_seconds) - loop.time()
    try:
        asking = await desk.ask([bytes(row) for row in body.purchases], left, received_at)
    except Busy:
        raise _come_back("Too many purchases wait to be scored.", BUSY_SECONDS) from None
    answers = answers_of(asking, explain=body.explain)
    metrics.SCORE_SECONDS.observe(loop.time() - began)
    return Response(answers.model_dump_json(), media_type="application/json")


def read_body(payload: bytes) -> ScoreBody:
    """The request. Raises HTTPException 422 for what is no list of 1 to 500 rows."""
    try:
        body = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(422, f"The body can't be read: {error}.") from error
    if not 1 <= len(body.purchases) <= MAX_ROWS:
        raise HTTPException(422, f"1 to {MAX_ROWS} purchases are scored at once, not {len(body.purchases)}.")
    if body.deadline_ms is not None and not body.deadline_ms > 0:
        raise HTTPException(422, "deadline_ms must be more than 0.")
    return body


def answers_of(asking: Asking, *, explain: bool) -> Scores:
    """What became of each row, in their order."""
    return Scores(scores=[_answer(asking, place, answer, explain) for place, answer in enumerate(asking.answers)])


def _answer(asking: Asking, place: int, answer: Answer | None, explain: bool) -> Score | Unscored:
    if isinstance(answer, Decided):
        return _score(answer, explain)
    error = answer or InvalidMessage("deadline", "It was not scored in time: ask for fewer rows, or allow more time.")
    metrics.SCORE_ERRORS.labels(error.reason).inc()
    fault = RowFault(reason=error.reason, detail=error.detail)
    return Unscored(transaction_id=asking.transaction_of(place), error=fault)


def _score(decided: Decided, explain: bool) -> Score:
    scored, about = decided
    verdict = verdict_of(scored, about)
    return Score(
        transaction_id=verdict.transaction_id, action=verdict.action, score_band=verdict.score_band,
        posture=verdict.posture, model_version=verdict.model_version, policy_version=about.policy_version,
        decided_at=verdict.occurred_at, explanation=_explanation(decided) if explain else None,
    )  # fmt: skip


def _explanation(decided: Decided) -> Explanation:
    evidence = evidence_of(decided.scored, decided.about)
    return Explanation(
        score=evidence.score, threshold=evidence.threshold, rules=evidence.rules,
        reasons=[Reason(**structs.asdict(reason)) for reason in evidence.reasons],
        propensity=evidence.propensity, explored=evidence.explored, staleness_seconds=evidence.staleness_seconds,
        features=dict(zip(FEATURE_NAMES, evidence.features, strict=True)),
    )  # fmt: skip


def _desk(parts: ScoreParts) -> ScoreDesk:
    desk = parts.desk()
    if desk is None:
        raise _come_back(parts.problem or "Scores are being made ready.", READY_SECONDS)
    return desk


def _come_back(why: str, seconds: int) -> HTTPException:
    return HTTPException(503, why, headers={"Retry-After": str(seconds)})
