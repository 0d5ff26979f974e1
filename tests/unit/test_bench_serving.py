"""The load of `python -m bench serving` on its floor: Locust as a process, and a bare route as another."""

from itertools import islice
from pathlib import Path

import pytest

from bench.load import purchases
from bench.serving import bare_route, body_of, run_locust
from serving.score_schemas import Score, Scores

pytestmark = pytest.mark.slow


def answer_of(n_rows: int) -> bytes:
    score = Score(
        transaction_id="t", action="approve", score_band="low", posture="normal", model_version="1", policy_version="1",
        decided_at="2026-03-01T12:00:00Z",
    )  # fmt: skip
    return Scores(scores=[score] * n_rows).model_dump_json().encode()


def test_locust_asks_for_scores_and_counts_answers_that_lack_a_verdict(tmp_path: Path) -> None:
    source = purchases("asked", 1)
    bodies, answer = tmp_path / "bodies", tmp_path / "answer"
    bodies.write_bytes(b"\n".join(body_of(list(islice(source, 2))) for _ in range(10)))
    answer.write_bytes(answer_of(2))
    with bare_route(answer, tmp_path) as url:
        good = run_locust(url, bodies, 2, 50, 2)
        lacking = run_locust(url, bodies, 3, 50, 2)
    assert good.requests > 20
    assert good.failures == 0
    assert 0 < good.p50_ms <= good.p95_ms <= good.p99_ms
    assert lacking.failures == lacking.requests > 20
