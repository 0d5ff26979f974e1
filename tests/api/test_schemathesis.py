"""The API keeps what its OpenAPI document promises: Schemathesis thinks of requests, right and wrong."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.openapi.loaders import from_asgi
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import negative_data_rejection

from ibook.api_keys import new_key
from serving import scores
from tests.api import test_scores
from tests.api.test_prices import SETTINGS, Api

REQUESTS = 25
"""Per operation and kind; generated, not timed, and the same ones in every run."""
KEY, KNOWN = new_key("tester", ["admin"])

Operation = APIOperation[Any, Any, Any, Any]


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(KNOWN.line())
    settings = SETTINGS.model_copy(update={"api_keys_file": path, "api_requests_per_second": 1e6})
    api = Api(settings, test_scores.Api(test_scores.Store()).desk)
    schema = from_asgi("/openapi.json", api.client.app)
    found = list(schema.get_all_operations())
    assert all(isinstance(result, Ok) for result in found)
    return [result.ok() for result in found if isinstance(result, Ok)]


def check(operation: Operation, mode: GenerationMode) -> int:
    """Send requests of a kind and hold each answer to the document; returns how many were sent."""
    sent = 0
    # Scores answer a wrong row in its place, beside those of the good ones.
    excluded: Any = [negative_data_rejection] if operation.path == scores.PATH else []

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=REQUESTS, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def send(case: Case[Any]) -> None:
        nonlocal sent
        sent += 1
        case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, excluded_checks=excluded)

    send()
    return sent


def test_right_requests_are_answered_as_described(operations: list[Operation]) -> None:
    assert [operation.label for operation in operations if not check(operation, GenerationMode.POSITIVE)] == []


def test_wrong_requests_are_refused_as_described(operations: list[Operation]) -> None:
    refusable = [operation for operation in operations if operation.body or operation.path_parameters]
    assert {"POST /v1/quotes", "GET /v1/events/{event_id}/price"} <= {operation.label for operation in refusable}
    for operation in refusable:
        assert check(operation, GenerationMode.NEGATIVE) >= REQUESTS / 2, operation.label


def test_a_method_that_is_not_there_is_refused_with_those_that_are(operations: list[Operation]) -> None:
    api = Api()
    with api.client:
        for operation in operations:
            answer = api.client.request("DELETE", operation.path.replace("{event_id}", "gala"))
            assert answer.status_code == 405, operation.label
            assert operation.method.upper() in answer.headers["allow"]
            assert answer.json()["status"] == 405
