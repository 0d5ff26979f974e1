"""The load of `python -m bench serving` on its floor: Locust as a process, and a bare route as another."""

import json
from itertools import islice
from pathlib import Path

import pytest

from bench.load import purchases
from bench.serving import Figures, as_json, bare_route, body_of
from bench.serving_events import quote_lines, where_lines
from bench.serving_load import Load, Question, run_locust
from ibook.codec import decode
from serving.schemas import QuoteRequest
from serving.score_schemas import ScoreBody


@pytest.mark.slow
def test_locust_asks_at_a_rate_and_counts_answers_without_proof(tmp_path: Path) -> None:
    answer, requests = tmp_path / "answer", tmp_path / "requests"
    answer.write_text('{"quote_id":"q"}')
    requests.write_text("\n".join(quote_lines("run", 200)))
    right = Question(name="quote", method="POST", path="/v1/quotes", requests=requests, proof='"quote_id":"')
    wrong = Question(name="quote", method="POST", path="/v1/quotes", requests=requests, proof='"price_minor":')
    with bare_route(answer, tmp_path) as url:
        good = run_locust(url, right, 50, 4)
        lacking = run_locust(url, wrong, 50, 4)
    assert good.requests > 20
    assert good.errors == 0
    assert 0 < good.p50_ms <= good.p95_ms <= good.p99_ms
    assert good.generator_cores > 0
    assert lacking.failures == lacking.requests > 20


def test_every_request_for_a_quote_is_right_and_of_a_buyer_and_key_of_its_own() -> None:
    bodies = [QuoteRequest.model_validate_json(line.removeprefix("\t")) for line in quote_lines("run", 500)]
    assert len({body.buyer for body in bodies}) == len({body.idempotency_key for body in bodies}) == 500
    asked = {f"{body.event_id}/price?ticket_type={body.ticket_type}\t" for body in bodies}
    assert asked < set(where_lines())


def test_a_request_for_scores_is_one_line_with_its_rows() -> None:
    body = body_of(list(islice(purchases("asked", 1), 3)))
    assert b"\n" not in body
    assert len(json.loads(body)["purchases"]) == 3
    assert decode(body, ScoreBody).deadline_ms is not None


def load(p99: float, failures: int) -> Load:
    return Load(asked_per_s=1, reached_per_s=1, requests=100, failures=failures, p50_ms=1.0, p95_ms=2.0, p99_ms=p99,
                generator_cores=0.5)  # fmt: skip


def test_the_figures_are_those_of_the_highest_rate_and_errors_are_of_our_routes_alone() -> None:
    loads = {
        "at_500": {"price": load(3.0, 0), "bare_route": load(1.0, 0)},
        "at_1000": {"price": load(9.0, 2), "quote": load(8.0, 0), "scores_1": load(7.0, 0), "bare_route": load(2.0, 9)},
    }
    told = as_json(Figures(loads=loads))
    assert told["price_ms"] == {"p50": 1.0, "p95": 2.0, "p99": 9.0}
    assert told["scores_ms"] == {"p50": 1.0, "p95": 2.0, "p99": 7.0}
    assert told["bare_route_ms"] == {"p50": 1.0, "p95": 2.0, "p99": 2.0}
    assert told["errors"] == 2 / 300
