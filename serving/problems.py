"""Every error of the API has one shape, that of RFC 9457: `title`, `status`, `detail`, and a request's `errors`."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from serving.schemas import FieldProblem, Problem

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
"""Wrong fields named in one answer: a body of 64 KiB can hold thousands."""
MAX_PLACE = 200


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, errors: tuple[FieldProblem, ...] = ()
) -> Response:
    """The answer to a request that is refused or failed."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors))
    return JSONResponse(body.model_dump(), status, dict(headers or {}), media_type=MEDIA_TYPE)


def add_problems(app: FastAPI) -> None:
    """Let whatever goes wrong in the app be answered in this shape."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _wrong_request)
    app.add_exception_handler(Exception, _failed)


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, headers=error.headers)


async def _wrong_request(_: Request, error: Exception) -> Response:
    """422 with where and why. FastAPI's own answer repeats the input, and fails on NaN and lone surrogates."""
    assert isinstance(error, RequestValidationError)
    errors = tuple(
        FieldProblem(at=_place(each["loc"]), reason=str(each["msg"])) for each in error.errors()[:MAX_ERRORS]
    )
    first = errors[0]
    return problem(422, f"{first.at} is refused: {first.reason}.", errors=errors)


def _place(parts: tuple[int | str, ...]) -> str:
    """As in `body.event_id`; the name of an unknown field comes from outside and may be anything."""
    dotted = ".".join(map(str, parts))[:MAX_PLACE]
    return dotted.encode(errors="backslashreplace").decode()


async def _failed(_: Request, error: Exception) -> Response:
    """The reason is in our log, with its traceback; it is nothing for the caller."""
    return problem(500, "The request failed by a fault of ours.")
