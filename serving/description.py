"""The OpenAPI document: what FastAPI knows, and who may ask, which the middlewares decide before it."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.access import scope_of
from serving.problems import MEDIA_TYPE
from serving.schemas import Problem

_PROBLEM = "#/components/schemas/Problem"
_REFUSALS = {
    "401": "No key of ours was sent.",
    "403": "The key lacks the scope.",
    "429": "The key asks too often; `Retry-After` says for how many seconds to wait.",
}


def describe(app: FastAPI) -> None:
    """Let the app describe itself with keys, scopes and problems."""

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    made: dict[str, Any] = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = made.setdefault("components", {})
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).update(problem.pop("$defs", {}), Problem=problem)
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            _complete(operation, scope_of(method.upper(), path))
    return made


def _complete(operation: dict[str, Any], scope: str | None) -> None:
    if scope is not None:
        operation["security"] = [{"key": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds the scope `{scope}`.".strip()
        operation["responses"].update({code: {"description": why} for code, why in _REFUSALS.items()})
    if "requestBody" in operation:
        operation["responses"].setdefault("400", {"description": "The body is no text in UTF-8."})
    for code, response in operation["responses"].items():
        if _is_problem(code, response):
            response["content"] = {MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}}}


def _is_problem(code: str, response: dict[str, Any]) -> bool:
    """Errors are problems unless a route says what else they are."""
    [shape, *_] = [*(kind.get("schema", {}).get("$ref", "") for kind in response.get("content", {}).values()), ""]
    return code >= "400" and shape.rpartition("/")[2] in ("", "Problem", "HTTPValidationError")
